"""What the market holds, as its commands and pages show it."""

from __future__ import annotations

from typing import Any

from skerry.kernel.errors import SkerryError
from skerry.kernel.money import Rate, show
from skerry.market import results as r
from skerry.market.core import books as b
from skerry.market.core import prices
from skerry.market.core.award import PAID_THE_LIMIT, award
from skerry.market.core.books import Why
from skerry.market.core.clearing import SCALE
from skerry.market.core.entities import Lease, Order, Provider, Verdict
from skerry.market.core.names import DeploymentId
from skerry.market.core.states import RUNNING, BidState, OrderState
from skerry.market.link import LeaseNotice, ServiceStatus
from skerry.market.provider.agent import Agent

MILLISECOND = 1_000_000


def overview(handler: Any) -> r.Overview:
    """Return a market at a glance."""
    state, currency = handler.exchange.state, handler.currency
    held = dict(state.books.accounts())
    escrow = sum(amount for name, amount in held.items() if name.startswith("escrow/"))
    agent = handler.agent
    return r.Overview(
        address=handler.wallet.address,
        currency=currency,
        wallet=show(held.get(b.wallet(handler.wallet.address), 0), currency),
        in_escrow=show(escrow, currency),
        providers=len(state.providers),
        open_orders=len(state.open_orders),
        leases=len(state.running),
        entries=state.sequence,
        balanced=state.books.balanced(),
        provider=agent.address if agent is not None else "",
    )


async def providers(handler: Any) -> list[r.ProviderInfo]:
    """Return every provider and how it did."""
    state, now = handler.exchange.state, handler.exchange.now
    found = []
    for each in state.providers.values():
        rate = each.record.rate_ppm(now)
        gpu = f"{each.capacity.gpu_units} x {each.capacity.gpu_model}"
        found.append(
            r.ProviderInfo(
                name=each.name,
                address=each.address,
                country=each.country,
                isolation=each.isolation,
                cpu_milli=each.capacity.cpu_milli,
                memory_bytes=each.capacity.memory_bytes,
                gpu=gpu if each.capacity.gpu_units else "",
                leases=len(each.leases),
                completed="too few leases" if rate is None else f"{rate / 10_000:.1f} %",
                reputation=each.record.score(now),
                results_in_row=each.record.row,
                bond=show(state.bond(each.address), handler.currency),
                remembered="gave a bad result" if now < each.record.bad_until else "",
                way=await _way(handler, each),
            )
        )
    return found


async def _way(handler: Any, provider: Provider) -> str:
    """Return how this node speaks to a provider."""
    if handler.agent is not None and handler.agent.address == provider.address:
        return "this node"
    try:
        return str((await handler.ways.to(provider.url, provider.node)).words)
    except SkerryError as error:
        return f"none: {error.what}"


def provider(handler: Any, agent: Agent) -> r.ProviderShown:
    """Return what this machine offers and whom it serves."""
    total, free = agent.inventory.capacity, agent.inventory.free()
    return r.ProviderShown(
        address=agent.address,
        cpu_milli=total.cpu_milli,
        free_cpu_milli=free.cpu_milli,
        memory_bytes=total.memory_bytes,
        free_memory_bytes=free.memory_bytes,
        storage_bytes=total.storage_bytes,
        free_storage_bytes=free.storage_bytes,
        contacts=tuple(
            r.Contact(
                name,
                show(agent.wallets.get(name, 0), handler.currency),
                agent.contact.get(name, ""),
            )
            for name in agent.links
        ),
        leases=tuple(
            r.Served(
                lease=str(name),
                state=record.notice.state.value,
                per_hour=prices.per_hour(record.notice.price, handler.currency),
                earned=show(_earned(record.notice, agent.now), handler.currency),
                manifest=record.group is not None,
                paid_for=_span(record.notice.funded_until - agent.now),
            )
            for name, record in agent.records.leases.items()
        ),
    )


def name_of(handler: Any, address: str) -> str:
    """Return a provider's name, or its address if it has none here."""
    known = handler.exchange.state.providers.get(address)
    return known.name if known is not None else address


def bids(handler: Any, name: DeploymentId) -> list[r.BidInfo]:
    """Return how every provider answered the latest order of each group."""
    state = handler.exchange.state
    found: list[tuple[tuple[str, bool, int], r.BidInfo]] = []
    for group in state.deployments[name].groups:
        order = state.latest_order(group)
        for verdict in _verdicts(handler, order):
            bid = next((e for e in order.bids if e.provider == verdict.provider), None)
            known = state.bids[bid] if bid is not None else None
            asked = prices.per_hour(known.price, handler.currency) if known is not None else ""
            told = r.BidInfo(
                order=f"{order.id.dseq}/{order.id.gseq}/{order.id.oseq}",
                provider=name_of(handler, verdict.provider),
                state=known.state.value if known is not None else "no bid",
                asked=asked,
                counts_as=_score(verdict.score, handler.currency),
                why=verdict.reason,
                bid=str(bid) if known is not None and known.state is BidState.OPEN else "",
            )
            found.append(((told.order, verdict.score is None, verdict.score or 0), told))
    return [told for _, told in sorted(found, key=lambda each: each[0])]


def _score(score: int | None, currency: str) -> str:
    """Return a score as the price that an offer counts as; '' if it has none."""
    return "" if score is None else prices.per_hour(Rate(score, SCALE), currency)


def _verdicts(handler: Any, order: Order) -> tuple[Verdict, ...]:
    """Return the verdicts of an order: as it was cleared, or as it would be now."""
    if order.state is OrderState.OPEN:
        outcome, found = award(handler.exchange.state, order, handler.exchange.now)
        return tuple(
            Verdict(each.provider, "leads", each.score) if each.provider == outcome.winner else each
            for each in found
        )
    if order.verdicts and order.winner and not any(e.reason[:3] == "won" for e in order.verdicts):
        return tuple(_chosen(each, order.winner) for each in order.verdicts)
    if order.verdicts:
        return order.verdicts
    return tuple(
        _chosen(Verdict(each.provider, "the tenant took another bid"), order.winner)
        for each in order.bids
    )


def _chosen(verdict: Verdict, winner: str) -> Verdict:
    """Return a verdict of an order whose bid the tenant chose by hand."""
    if verdict.provider == winner:
        return Verdict(winner, "won: the tenant chose it", verdict.score)
    if verdict.reason.startswith("open"):
        return Verdict(verdict.provider, "the tenant took another bid", verdict.score)
    return verdict


def cost_of(handler: Any, lease: Lease) -> int:
    """Return what a lease cost up to now, in micro-units."""
    account = handler.exchange.state.accounts[lease.id.deployment]
    payment = account.payments[str(lease.id)]
    settled: int = payment.balance + payment.withdrawn
    if lease.state in RUNNING:
        due = max(payment.due(handler.exchange.now), 0)
        settled += min(due, max(account.funds, 0))
    return settled


def lease(handler: Any, found: Lease) -> r.LeaseInfo:
    """Return a lease as it is now."""
    state, now, currency = handler.exchange.state, handler.exchange.now, handler.currency
    account = state.accounts[found.id.deployment]
    running = found.state in RUNNING
    dry = state.dry_at(found.id.deployment) if running else None
    due = sum(max(payment.due(now), 0) for payment in account.open_payments())
    return r.LeaseInfo(
        dseq=found.id.dseq,
        group=state.groups[found.id.group].spec.name,
        provider=name_of(handler, found.id.provider),
        state=found.state.value,
        per_hour=prices.per_hour(found.price, currency),
        since=found.created_at * MILLISECOND,
        cost=show(cost_of(handler, found), currency),
        left=show(max(account.funds - due, 0), currency) if running else "",
        lasts=_span(dry - now) if dry is not None else "",
        reason=f"{found.reason.value} {found.reason.words}" if found.reason else "",
        warning=handler.exchange.warning(found.id.deployment),
        lease=str(found.id),
    )


def price_note(handler: Any, found: Lease) -> str:
    """Return what a tenant may want to know of how a price came about, or ''."""
    verdicts = handler.exchange.state.orders[found.id.order].verdicts
    if not any(e.reason == PAID_THE_LIMIT for e in verdicts if e.provider == found.id.provider):
        return ""
    name = name_of(handler, found.id.provider)
    return (
        f"Nobody but {name} bid, so it is paid the file's limit: --reserve or "
        "--clearing first-score would ask for less."
    )


def _earned(notice: LeaseNotice, now: int) -> int:
    """Return what a lease earned up to now, in micro-units."""
    return notice.price.cost(max(min(now, notice.funded_until) - notice.created_at, 0))


def _span(milliseconds: int) -> str:
    seconds = max(milliseconds, 0) // 1000
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def service(handler: Any, found: Lease, status: ServiceStatus) -> r.ServiceInfo:
    """Return a service as its provider sees it."""
    return r.ServiceInfo(
        group=handler.exchange.state.groups[found.id.group].spec.name,
        service=status.name,
        provider=name_of(handler, found.id.provider),
        state=status.state,
        ready=f"{status.ready}/{status.wanted}",
        urls=status.uris,
        ports=tuple(f"{port}/{kind} at {address}" for port, address, kind in status.ports),
        detail=status.detail,
    )


def invoice(handler: Any, name: DeploymentId | None) -> r.Invoice:
    """Return the invoice of a deployment, or of all: from postings, up to the last settlement."""
    state, owner = handler.exchange.state, handler.wallet.address
    names = [name] if name is not None else [n for n in state.deployments if n.owner == owner]
    lines: list[r.InvoiceLine] = []
    sums = dict.fromkeys(Why, 0)
    postings = held = owed = 0
    for each in names:
        account = state.accounts[each]
        owed += sum(payment.unsettled for payment in account.payments.values())
        held += state.books.balance(b.escrow(str(each)))
        for posting in state.books.of(b.escrow(str(each))):
            sums[posting.why] += posting.amount
            postings += 1
        lines += [_line(handler, each_lease) for each_lease in state.leases_of(each)]
    number = f"{names[0].dseq}" if len(names) == 1 else "all"
    return r.Invoice(
        number=f"{owner[-8:]}-{number}-{state.sequence}",
        issued=handler.exchange.now * MILLISECOND,
        customer=owner,
        issuer=handler.exchange.operator,
        currency=handler.currency,
        lines=tuple(lines),
        rounding=sums[Why.ROUNDING],
        total=sums[Why.LEASE] + sums[Why.ROUNDING],
        paid_in=sums[Why.DEPOSIT],
        refunded=sums[Why.REFUND],
        in_escrow=held,
        owed=owed,
        postings=postings,
    )


def _line(handler: Any, found: Lease) -> r.InvoiceLine:
    state = handler.exchange.state
    own = b.earned(str(found.id))
    earned = sum(p.amount for p in state.books.of(own) if p.why is Why.LEASE)
    account = state.accounts[found.id.deployment]
    return r.InvoiceLine(
        dseq=found.id.dseq,
        group=state.groups[found.id.group].spec.name,
        provider=name_of(handler, found.id.provider),
        started=found.created_at,
        ended=found.closed_at or max(account.settled_at, found.created_at),
        per_hour=prices.per_hour(found.price, handler.currency),
        amount=earned,
    )


def limit_of(handler: Any, rate: Rate) -> str:
    """Return an order's limit for people."""
    return prices.per_hour(rate, handler.currency)
