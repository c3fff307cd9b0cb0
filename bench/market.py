"""The market: orders cleared, leases settled, and the time from an order to a running program."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from harness import Options, Report, Table, median, percentile, say, times
from workloads import MODULE

from skerry.kernel.money import Rate
from skerry.kernel.service import read_services
from skerry.market.core import messages as m
from skerry.market.core.board import Board, places
from skerry.market.core.clearing import Offer, clear, screen
from skerry.market.core.entities import Group, Provider
from skerry.market.core.market import Market
from skerry.market.core.messages import Entry, Signed, encode
from skerry.market.core.names import DeploymentId, GroupId, OrderId
from skerry.market.core.terms import Rule, Terms
from skerry.market.sdl.model import Attribute, GroupSpec, Resources, ResourceUnit, Volume
from skerry.node.dispatcher import Dispatcher
from skerry.node.node import Node
from skerry.node.node import Options as NodeOptions
from skerry.node.workload.importing import Importer
from skerry.surfaces.web import make_web

PROVIDERS = 200
COUNTRIES = ("FI", "SE", "DE", "FR", "US", "JP", "CH", "NO")
CAPACITY = m.Capacity(cpu_milli=64_000, memory_bytes=256 << 30, storage_bytes=4 << 40)
SDL = """version: "2.0"
services:
  job:
    image: host
    command: ["/bin/sleep", "600"]
profiles:
  compute:
    job:
      resources:
        cpu: {units: 0.05}
        memory: {size: 64Mi}
        storage: {size: 16Mi}
  placement:
    here:
      pricing: {job: {denom: uakt, amount: 10000}}
deployment:
  job:
    here: {profile: job, count: 1}
"""


def measure(options: Options) -> Report:
    """Measure all three."""
    report = Report(
        f"Clearing: {PROVIDERS} providers of which an order's country, sandbox and attribute leave "
        "about one in ten, all of them with a bid; the answer has the winner, what it is paid by "
        "the second score, and the reason of every other. The peer is SQLite in memory with an "
        "index, which finds the two best and gives no reasons. Settling: every lease pays from its "
        "own escrow, as one transfer of the double-entry ledger. The peer is SQLite in memory, two "
        "updates and an insert a lease in one transaction."
    )
    rates = Table(("what", "a second", "of SQLite"), title="Rates, one process")
    clearing(options, rates)
    report.tables.append(rates)
    starts = Table(
        ("sandbox", "p50 ms", "p95 ms"),
        title="From `market deploy` to a running program: bid, lease, manifest, start; one node",
    )
    for line in asyncio.run(starting(options, starts)):
        report.notes.append(line)
    report.tables.append(starts)
    return report


def board() -> tuple[Board, list[Provider]]:
    """Return a board of providers that differ."""
    chance = random.Random(7)
    found = Board()
    for number in range(PROVIDERS):
        found.put(
            Provider(
                address=f"provider-{number:03}",
                name=f"provider-{number:03}",
                url="http://127.0.0.1",
                country=chance.choice(COUNTRIES),
                isolation=("bwrap", "gvisor") if number % 2 else ("wasm", "bwrap"),
                capacity=CAPACITY,
                attributes={"tier": "a" if number % 3 else "b"},
                images=(),
                posted=m.PriceList(9000 + chance.randrange(3000), 5000, 50),
                since=0,
            )
        )
    return found, found.providers


def clearing(options: Options, rates: Table) -> None:
    """Clear orders on the board, and the same by SQL."""
    made, providers = board()
    chance = random.Random(11)
    offers = [
        Offer(
            each.address, Rate(chance.randrange(500, 1500), 1000), chance.randrange(20_000, 65_535)
        )
        for each in providers
    ]
    resources = Resources(1, 1000, 1 << 30, (Volume("default", 1 << 30),))
    groups = []
    for country in COUNTRIES:
        spec = GroupSpec(
            "g", (ResourceUnit(resources, 1, "uact", "9000"),), (Attribute("tier", "a"),)
        )
        groups.append(
            Group(GroupId("t", 1, 1), spec, Terms(countries=(country, "FI"), isolation="gvisor"), 0)
        )
    limit = Rate(2000, 1000)
    count = options.pick(2000, 20_000)

    def ours() -> None:
        for number in range(count):
            group = groups[number % len(groups)]
            filters = made.filters(group, lambda _: 0)
            left, reasons = screen(made, filters, made.everybody())
            kept = [offers[place] for place in places(left)]
            outcome = clear(Rule.SECOND_SCORE, kept, limit, 1)
            reasons |= outcome.reasons
            assert outcome.winner and len(reasons) == PROVIDERS - 1

    say(f"{count} orders on {PROVIDERS} providers")
    mine = count / clock(ours)
    theirs = count / clock(lambda: sql_orders(providers, offers, count))
    rates.add("orders cleared, with reasons", mine, times(mine, theirs))
    folded(options, rates, theirs)


def sql_orders(providers: list[Provider], offers: list[Offer], count: int) -> None:
    """Find the two best offers of each order by SQL."""
    database = sqlite3.connect(":memory:")
    database.execute("create table p (name, country, sandbox, tier, score, primary key (name))")
    database.execute("create index i on p (country, sandbox, tier)")
    rows = [
        (p.address, p.country, p.isolation[1], p.attributes["tier"], o.price.micro / o.reputation)
        for p, o in zip(providers, offers, strict=True)
    ]
    database.executemany("insert into p values (?, ?, ?, ?, ?)", rows)
    query = (
        "select name, score from p where country in (?, 'FI') and sandbox = 'gvisor' "
        "and tier = 'a' order by score limit 2"
    )
    for number in range(count):
        assert database.execute(query, (COUNTRIES[number % len(COUNTRIES)],)).fetchone()
    database.close()


def crowd(count: int) -> tuple[Market, list[DeploymentId]]:
    """Return a market with that many deployments and their open orders, at posted prices."""
    market = Market("operator")
    state = market.state
    _, providers = board()
    fold(market, m.Fund("tenant", 10**15))
    for each in providers:
        fold(market, m.Admit(each.address))
        fields = {"owner": each.address, "name": each.name, "url": each.url, "posted": each.posted}
        message = m.RegisterProvider(
            country=each.country,
            isolation=each.isolation,
            capacity=each.capacity,
            attributes=each.attributes,
            **fields,  # type: ignore[arg-type]
        )
        fold(market, message, each.address)
    resources = Resources(1, 100, 1 << 28, (Volume("default", 1 << 28),))
    spec = GroupSpec("g", (ResourceUnit(resources, 1, "uact", "9000"),), (Attribute("tier", "a"),))
    terms = Terms(clearing=Rule.POSTED, countries=("FI", "SE"))
    for _ in range(count):
        message = m.CreateDeployment("tenant", (spec,), (terms,), "0" * 64, 1_000_000)
        fold(market, message, "tenant")
    return market, list(state.deployments)


def fold(market: Market, message: m.AnyMessage, signer: str = "operator", at: int = 1000) -> None:
    """Fold one message as an entry of its own."""
    refused = market.fold(Entry(at, (Signed(signer, message),)))[0]
    assert refused is None, refused


def folded(options: Options, rates: Table, theirs: float) -> None:
    """Clear orders through the whole fold: checks, posted prices, lease, escrow, payment."""
    count = options.pick(300, 3000)
    market, names = crowd(count)

    def ours() -> None:
        for name in names:
            fold(market, m.Clear(OrderId(*name, 1, 1)), at=2000)

    say(f"{count} orders through the fold")
    mine = count / clock(ours)
    assert len(market.state.running) == count
    rates.add("orders cleared into leases by the fold", mine, times(mine, theirs))
    settled(market, names, options, rates)


def settled(market: Market, names: list[DeploymentId], options: Options, rates: Table) -> None:
    """Settle the leases that were made, again and again."""
    rounds = options.pick(2, 5)
    before = market.state.books.machine.timestamp

    def ours() -> None:
        for number in range(1, rounds + 1):
            for start in range(0, len(names), 1000):
                batch = tuple(names[start : start + 1000])
                entry = Entry(2000 + number * 60_000, (Signed("operator", m.Settle(batch)),))
                market.apply(encode(entry))

    say(f"{len(names)} leases settled {rounds} times")
    mine = rounds * len(names) / clock(ours)
    assert market.state.books.machine.timestamp > before
    assert market.state.books.balanced()
    theirs = rounds * len(names) / clock(lambda: sql_settle(len(names), rounds))
    rates.add("leases settled", mine, times(mine, theirs))


def sql_settle(count: int, rounds: int) -> None:
    """Settle leases by SQL: a double-entry posting each."""
    database = sqlite3.connect(":memory:")
    database.execute("create table a (id integer primary key, balance integer)")
    database.execute("create table t (debit, credit, amount)")
    database.executemany("insert into a values (?, 1000000)", [(n,) for n in range(2 * count)])
    for number in range(rounds):
        with database:
            for lease in range(count):
                database.execute("update a set balance = balance - ? where id = ?", (number, lease))
                database.execute(
                    "update a set balance = balance + ? where id = ?", (number, count + lease)
                )
                database.execute("insert into t values (?, ?, ?)", (lease, count + lease, number))
    database.close()


def clock(work: Callable[[], None]) -> float:
    """Return the seconds that work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Yield a folder that the users of sandboxes can pass through."""
    made = Path(tempfile.mkdtemp(prefix="skerry-bench-"))
    made.chmod(0o711)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextlib.asynccontextmanager
async def provider(home: Path) -> AsyncIterator[Node]:
    """Run a node that is market, provider and tenant."""
    services = read_services(["skerry.market", "skerry.node.workload"])
    options = NodeOptions(home=home, http_port=0, name="bench", volume_driver="copy")
    node = Node(options, {}, lambda made: make_web(Dispatcher(made)), services)
    await node.start()
    try:
        yield node
    finally:
        # Programs outlive their node, and nobody wants these.
        for each in await node.workloads.list():
            await node.workloads.remove(each.id)
        await node.stop()


async def do(node: Node, command: str, **params: Any) -> Any:
    """Carry a command of the market out."""
    dispatcher = Dispatcher(node)
    found = dispatcher.commands[f"market.{command}"]
    return await dispatcher.perform(found, msgspec.convert(params, found.params))


def module(node: Node) -> str:
    """Put a WebAssembly module that says one word into the catalogue; return the file for it."""
    from wasmtime import wat2wasm  # noqa: PLC0415 (an extra)

    path = node.home.root / "word.wasm"
    path.write_bytes(wat2wasm(MODULE.decode()))
    Importer(node.workloads.images, node.clock).archive("word", path)
    return SDL.replace('image: host\n    command: ["/bin/sleep", "600"]', "image: word")


async def gone(node: Node) -> None:
    """Wait until the program of a lease that was closed has ended: the next order is alone."""
    while await node.workloads.list():
        await asyncio.sleep(0.01)


async def starting(options: Options, starts: Table) -> list[str]:
    """Deploy one program after the other in every class that this machine has."""
    notes = []
    with folder() as made:
        async with provider(made / "h") as node:
            await do(node, "provider.start", country="FI")
            await do(node, "fund", amount="1000")
            for cls in await node.workloads.classes():
                if not cls.available:
                    notes.append(f"Not measured: {cls.name} ({cls.why}).")
                    continue
                file = module(node) if cls.name == "wasm" else SDL
                say(f"order to running program in {cls.name}")
                taken = []
                for number in range(options.pick(3, 15)):
                    start = time.perf_counter()
                    done = await do(node, "deploy", file=file, isolation=cls.name, deposit="0.5")
                    spent = 1000 * (time.perf_counter() - start)
                    assert done.feasible, done
                    if number:
                        taken.append(spent)
                    await do(node, "close", dseq=done.dseq)
                    await gone(node)
                starts.add(cls.name, median(taken), percentile(taken, 0.95))
    return [*notes, f"{os.cpu_count()} cores; every order waits for the disk's sync four times."]
