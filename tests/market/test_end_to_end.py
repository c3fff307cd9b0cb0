"""From a file to a program that answers, and to an invoice that adds up: on real nodes."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit

import pytest
from tests.market.nodes import SDL, ask, do, market_of, running

from skerry.market.core import books as b
from skerry.node.node import Node
from skerry.testing.nodes import open_directory

pytestmark = pytest.mark.slow


async def answer(node: Node, path: str, host: str) -> str:
    """Return what a service answers, once its program listens."""
    for _ in range(100):
        status, text = await ask(node, "GET", path, host=host)
        if status == 200:
            return text
        await asyncio.sleep(0.1)
    raise AssertionError(text)


async def test_one_node_is_market_provider_and_tenant() -> None:
    with open_directory() as made:
        async with running(made / "h") as node:
            started = await do(node, "provider.start", country="FI")
            assert started.cpu_milli > 0
            assert started.cpu_score > 0
            await do(node, "fund", amount="20")
            dry = await do(node, "deploy", file=SDL, dry_run=True)
            assert dry.feasible, dry
            deployed = await do(node, "deploy", file=SDL)
            assert deployed.feasible, deployed
            (note,) = deployed.notes
            assert "paid the file's limit" in note
            (url,) = deployed.urls
            parts = urlsplit(url)
            assert "Directory listing" in await answer(node, parts.path or "/", parts.netloc)
            (bid,) = await do(node, "bids")
            assert bid.why == "won: paid the limit, as nobody else bid"
            (service,) = await do(node, "status", dseq=1)
            assert (service.state, service.ready) == ("running", "1/1")
            ran = await do(
                node, "exec", dseq=1, command=["/bin/sh", "-c", "echo $GREETING; exit 3"]
            )
            assert (ran.exit_code, ran.output) == (3, "hello\n")
            await asyncio.sleep(1)
            await do(node, "provider.withdraw")
            closed = await do(node, "close", dseq=1)
            assert "closed" in closed.message
            invoice = await do(node, "invoice", dseq=1)
            assert invoice.adds_up
            assert invoice.total > 0
            assert invoice.in_escrow == 0
            books = market_of(node).exchange.state.books
            assert books.balanced()
            earned = books.balance(b.wallet(market_of(node).provider_wallet.address))
            assert earned == 5_000_000 + invoice.total - invoice.rounding
            for _ in range(100):
                if not await node.workloads.list():
                    break
                await asyncio.sleep(0.1)
            assert await node.workloads.list() == []


async def test_every_surface_shows_the_market() -> None:
    with open_directory() as made:
        async with running(made / "h") as node:
            token = {"Authorization": f"Bearer {node.home.token()}"}
            status, text = await ask(node, "POST", "/v1/market.overview", {}, **token)
            assert status == 200
            assert json.loads(text)["balanced"] is True
            status, text = await ask(node, "POST", "/v1/market.deploy", {"file": "x: 1"}, **token)
            assert status == 400
            assert "x: this field is not known" in json.loads(text)["what"]
