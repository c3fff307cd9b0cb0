"""The market's pages of the console."""

from __future__ import annotations

from typing import Any

from skerry.kernel.errors import INVALID


def _dseq(visit: Any) -> int:
    text = visit.word("dseq")
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise INVALID(f"{text[:40]!r} is no deployment.")
    return int(text)


async def market(visit: Any) -> dict[str, Any]:
    """Return what the front page shows: orders, leases, and where the money is."""
    handler = visit.node.handler("market")
    overview = await visit.ask("market.overview")
    leases = await visit.ask("market.leases", all=True)
    books = await visit.ask("market.books")
    state = handler.exchange.state
    deployments = [
        {
            "dseq": each.id.dseq,
            "name": each.name,
            "state": each.state.value,
            "reason": each.reason.words,
            "warning": handler.exchange.warning(each.id),
        }
        for each in reversed(list(state.deployments.values()))
        if each.id.owner == handler.wallet.address
    ][:50]
    return {
        "overview": overview,
        "leases": list(reversed(leases))[:50],
        "flows": _flows(books),
        "deployments": deployments,
        "cli": ["skerry market overview", "skerry market leases", "skerry market books"],
    }


def _flows(books: list[Any]) -> list[dict[str, Any]]:
    """Return what accounts of each sort hold together."""
    sorts = {
        "wallet": "in wallets",
        "escrow": "in escrow",
        "lease": "earned, not withdrawn",
        "bid": "deposits of bids",
        "bond": "bonds",
        "dust": "rounding",
        "slashed": "forfeited",
        "bank": "owed by the bank",
    }
    found: dict[str, int] = {}
    for each in books:
        sort = each.account.partition("/")[0]
        found[sort] = found.get(sort, 0) + each.micro
    return [{"what": text, "micro": found[sort]} for sort, text in sorts.items() if sort in found]


async def deployment(visit: Any) -> dict[str, Any]:
    """Return what the page of a deployment shows: bids, scores, leases, services."""
    dseq = _dseq(visit)
    handler = visit.node.handler("market")
    name = handler.deployment(dseq)
    leases = [e for e in await visit.ask("market.leases", all=True) if e.dseq == dseq]
    statuses = []
    for lease in handler.exchange.state.leases_of(name):
        found = await handler.tenant.status_or_none(lease)
        statuses += list((found or {}).values())
    return {
        "dseq": dseq,
        "deployment": handler.exchange.state.deployments[name],
        "bids": await visit.ask("market.bids", dseq=dseq),
        "leases": leases,
        "services": statuses,
        "warning": handler.exchange.warning(name),
        "cli": [f"skerry market bids {dseq}", f"skerry market status {dseq}"],
    }


async def invoice(visit: Any) -> dict[str, Any]:
    """Return what the page of an invoice shows."""
    dseq = _dseq(visit)
    found = await visit.ask("market.invoice", dseq=dseq)
    return {"invoice": found, "dseq": dseq, "cli": [f"skerry market invoice {dseq}"]}


async def providers(visit: Any) -> dict[str, Any]:
    """Return what the page of providers shows, and what this machine earns."""
    handler = visit.node.handler("market")
    shown = None if handler.agent is None else await visit.ask("market.provider.show")
    return {
        "providers": await visit.ask("market.providers"),
        "shown": shown,
        "cli": ["skerry market providers", "skerry market provider show"],
    }
