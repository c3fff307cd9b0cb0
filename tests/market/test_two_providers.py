"""Two providers and a tenant, each on a node of its own: bids, scores, leases, lost contact."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.market.nodes import SDL, ask, do, market_of, running

from skerry.kernel.errors import SkerryError
from skerry.kernel.policy import Fact
from skerry.market.core import books as b
from skerry.market.identity.tokens import Leases, lease_token, message_token
from skerry.market.results import BidInfo
from skerry.market.service import Logs
from skerry.node.node import Node
from skerry.testing.nodes import deploy, open_directory

pytestmark = pytest.mark.slow


@dataclass
class Three:
    """A tenant's node, which keeps the market, and two providers' nodes."""

    tenant: Node
    finn: Node
    dora: Node
    homes: Path

    def address(self, node: Node) -> str:
        return market_of(node).provider_wallet.address


def counted(bid: BidInfo) -> Decimal:
    """Return the amount of the price that a bid counts as."""
    amount, unit = bid.counts_as.split(" ")
    assert unit == "EUR/h"
    return Decimal(amount)


@contextlib.asynccontextmanager
async def three() -> AsyncIterator[Three]:
    with open_directory() as homes:
        async with (
            running(homes / "t", "tenant") as tenant,
            running(homes / "f", "finn") as finn,
            running(homes / "d", "dora") as dora,
        ):
            found = Three(tenant, finn, dora, homes)
            await do(tenant, "fund", amount="50")
            for node in (finn, dora):
                await do(tenant, "admit", address=found.address(node))
            await offer(finn, tenant, country="FI", cpu_price="2")
            await offer(dora, tenant, country="DE", cpu_price="4")
            yield found


async def offer(node: Node, market: Node, country: str, cpu_price: str) -> None:
    prices = {"cpu_price": cpu_price, "memory_price": "0"}
    await do(node, "provider.start", country=country, market=[market.url], **prices)


async def until(done: object, what: str) -> None:
    """Wait until a function says so."""
    for _ in range(200):
        found = done()  # type: ignore[operator]
        if found if not asyncio.iscoroutine(found) else await found:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(what)


async def answer(node: Node, url: str) -> str:
    parts = urlsplit(url)
    for _ in range(100):
        status, text = await ask(node, "GET", parts.path or "/", host=parts.netloc)
        if status == 200:
            return text
        await asyncio.sleep(0.1)
    raise AssertionError(text)


async def test_the_better_score_wins_and_is_paid_what_ties_the_other() -> None:
    async with three() as all_three:
        tenant, finn = all_three.tenant, all_three.finn
        deployed = await do(tenant, "deploy", file=SDL)
        assert deployed.feasible, deployed
        (lease,) = deployed.leases
        assert lease.provider == "finn"
        bids = {each.provider: each for each in await do(tenant, "bids")}
        assert bids["finn"].why == "won: paid what ties the next"
        assert bids["dora"].why == "score: it was worse"
        assert counted(bids["finn"]) < counted(bids["dora"])
        state = market_of(tenant).exchange.state
        (found,) = state.leases.values()
        asked = {str(each.id.provider): each.price for each in state.bids.values()}
        dear = asked[all_three.address(all_three.dora)]
        assert abs(found.price.micro / found.price.per - dear.micro / dear.per) < 1e-8
        assert "Directory listing" in await answer(finn, deployed.urls[0])
        await _keep_serving_whatever_is_asked(finn, tenant)
        (service,) = await do(tenant, "status", dseq=1)
        assert service.ready == "1/1"
        ran = await do(tenant, "exec", dseq=1, command=["cat"], stdin="through two nodes")
        assert (ran.exit_code, ran.output) == (0, "through two nodes")
        lines = [line.text async for line in market_of(tenant).stream_logs(Logs(1))]
        assert any("GET /" in line for line in lines), lines
        exchange = market_of(tenant).exchange
        began = exchange.now
        await until(lambda: exchange.now - began >= 1000, "a second of the market's own time")
        done = await do(finn, "provider.withdraw")
        assert "Withdrew from 1 lease; the wallet at http://" in done.message
        await do(tenant, "close", dseq=1)
        invoice = await do(tenant, "invoice", dseq=1)
        assert invoice.adds_up
        assert invoice.total > 0
        books = state.books
        assert books.balanced()
        assert books.balance(b.wallet(all_three.address(finn))) > 5_000_000
        await until(lambda: not market_of(finn).agent.records.leases, "the lease ended")  # type: ignore[union-attr]
        assert await finn.workloads.list() == []


async def _keep_serving_whatever_is_asked(provider: Node, market: Node) -> None:
    """Offer elsewhere, where no market is, and by another name: the lease is served on."""
    for markets, why in (
        (["local"], "is served"),
        (["http://127.0.0.1:9"], "does not answer"),
        ([market.url, "http://127.0.0.1:9"], "does not answer"),
    ):
        with pytest.raises(SkerryError, match=why):
            await do(provider, "provider.start", country="FI", market=markets)
    again = market.url.replace("127.0.0.1", "localhost")
    prices = {"cpu_price": "2", "memory_price": "0"}
    await do(provider, "provider.start", country="FI", market=[again], **prices)
    agent = market_of(provider).agent
    assert agent is not None
    await until(lambda: [e.market for e in agent.records.leases.values()] == [again], "it moved")


async def test_policy_and_reasons() -> None:
    async with three() as all_three:
        tenant = all_three.tenant
        deployed = await do(tenant, "deploy", file=SDL, country=["DE"])
        assert deployed.leases[0].provider == "dora"
        bids = {each.provider: each for each in await do(tenant, "bids")}
        assert "country is not DE" in bids["finn"].why
        missing = SDL.replace("image: host", "image: nginx")
        dry = await do(tenant, "deploy", file=missing, dry_run=True)
        assert not dry.feasible
        assert all("nginx is not in" in "".join(each.reasons) for each in dry.obstacles)
        assert "an image of its catalogue: host" in dry.nearest
        huge = SDL.replace("memory: {size: 128Mi}", "memory: {size: 900Ti}")
        nobody = await do(tenant, "deploy", file=huge, wait=3)
        assert not nobody.feasible
        assert all("of memory asked" in "".join(each.reasons) for each in nobody.obstacles)
        assert len(nobody.obstacles) == 2


async def test_a_lease_outlives_its_market_and_is_reconciled() -> None:
    async with three() as all_three:
        tenant, finn = all_three.tenant, all_three.finn
        deployed = await do(tenant, "deploy", file=SDL, country=["FI"])
        url = deployed.urls[0]
        await answer(finn, url)
        agent = market_of(finn).agent
        assert agent is not None
        port = tenant.http_port
        await tenant.stop()
        await until(lambda: any(agent.contact.values()), "the provider notices")
        assert "Directory listing" in await answer(finn, url)
        assert len(agent.records.leases) == 1
        shown = await do(finn, "provider.show")
        assert shown.contacts[0].trouble
        assert shown.leases[0].paid_for.endswith(("d", "h"))
        async with running(all_three.homes / "t", "tenant", port) as again:
            await until(lambda: not any(agent.contact.values()), "the market is back")
            assert len(agent.records.leases) == 1
            (service,) = await do(again, "status", dseq=1)
            assert service.ready == "1/1"
            await do(again, "close", dseq=1)
            await until(lambda: not agent.records.leases, "the provider takes it in")
            assert await finn.workloads.list() == []
            assert (await do(again, "invoice", dseq=1)).adds_up


async def test_strangers_forgers_and_replays_change_nothing() -> None:
    async with three() as all_three:
        tenant, finn = all_three.tenant, all_three.finn
        handler, provider = market_of(tenant), market_of(finn)
        await do(tenant, "deploy", file=SDL, country=["FI"])
        before = handler.exchange.state.sequence
        body = b'{"message":"withdraw","lease":["x",1,1,1,"y",0]}'
        path = "/market/v1/messages"

        async def post(token: str, data: bytes = body) -> tuple[int, str]:
            head = {"Authorization": f"Bearer {token}"}
            return await ask(tenant, "POST", path, json.loads(data), **head)

        assert (await ask(tenant, "POST", path, {}))[0] == 401
        assert (await post("a.b.c"))[0] == 401
        market = handler.exchange.operator
        encoded = json.dumps(json.loads(body)).encode()
        good = message_token(provider.provider_wallet, finn.clock, finn.entropy, market, encoded)
        status, text = await post(good)
        assert (status, json.loads(text)["code"]) == (404, "NOT_FOUND")
        status, text = await post(good)
        assert (status, json.loads(text)["what"]) == (403, "This request came before.")
        other = message_token(
            provider.provider_wallet, finn.clock, finn.entropy, "akash1x", encoded
        )
        assert (await post(other))[0] == 401
        lease = next(iter(handler.exchange.state.leases))
        link = market_of(all_three.dora).link(tenant.url)
        from skerry.market.core.messages import Withdraw

        with pytest.raises(SkerryError) as caught:
            await link.submit(Withdraw(lease))
        assert caught.value.code == "DENIED"
        assert handler.exchange.state.sequence == before
        gateway = f"/market/provider/lease/{lease.dseq}/{lease.gseq}/{lease.oseq}"
        assert (await ask(finn, "GET", f"{gateway}/status"))[0] == 401
        stranger = lease_token(provider.wallet, finn.clock)
        head = {"Authorization": f"Bearer {stranger}"}
        assert (await ask(finn, "GET", f"{gateway}/status", **head))[0] == 404
        only_logs = lease_token(handler.wallet, tenant.clock, Leases("scoped", ["logs"]))
        head = {"Authorization": f"Bearer {only_logs}"}
        assert (await ask(finn, "GET", f"{gateway}/status", **head))[0] == 403
        owner = lease_token(handler.wallet, tenant.clock)
        head = {"Authorization": f"Bearer {owner}"}
        status, text = await ask(finn, "GET", f"{gateway}/status", **head)
        assert status == 200
        assert json.loads(text)["services"]["web"]["total"] == 1
        status, text = await ask(
            finn, "PUT", f"/market/provider/deployment/{lease.dseq}/manifest", [], **head
        )
        assert status == 422
        assert "not the one" in text


async def test_the_policy_of_an_app_refuses_with_its_reason() -> None:
    with open_directory() as homes:
        async with (
            running(homes / "t", "tenant") as tenant,
            running(homes / "a", "austin") as austin,
            running(homes / "d", "dora") as dora,
        ):
            await do(tenant, "fund", amount="20")
            for node, country in ((austin, "US"), (dora, "DE")):
                address = market_of(node).provider_wallet.address
                await do(tenant, "admit", address=address)
                await do(node, "provider.start", country=country, market=[tenant.url])
            text = '[app]\nname = "shop"\n\n[policy]\njurisdiction = ["EU"]\n'
            with pytest.raises(SkerryError, match="no app"):
                await do(tenant, "deploy", file=SDL, for_app="shop")
            tenant.placement.state([Fact("node/tenant", "country", "FI")])
            await deploy(tenant, {"skerry.toml": text})
            deployed = await do(tenant, "deploy", file=SDL, for_app="shop")
            assert deployed.leases[0].provider == "dora"
            bids = {each.provider: each for each in await do(tenant, "bids")}
            assert bids["austin"].why.startswith("policy: jurisdiction"), bids["austin"].why
