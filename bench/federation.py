"""The federation: decisions, acknowledged appends on most nodes, and leases, beside etcd."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from app_failover import app_outages
from deciding import decisions
from harness import Options, Report, Table, median, percentile, say, times
from moving import move
from patroni_failover import patroni_outages

from skerry.federation.bus.bus import Bus, BusRegister, Place
from skerry.federation.bus.etcd import EtcdRegister
from skerry.federation.bus.plan import Neighbour
from skerry.federation.bus.register import STREAM
from skerry.federation.bus.stream_log import StreamLog
from skerry.federation.identity import Identity
from skerry.federation.peers import Door
from skerry.kernel.clock import BootClock, SystemClock, SystemEntropy
from skerry.kernel.errors import SkerryError
from skerry.kernel.lease import Lease, RegisterLeases
from skerry.node.log_file import LogFile
from skerry.testing.leasing import Story, play

NAMES = ("se-1", "fi-1", "de-1")
LEASE_SECONDS = 60.0
BODY = bytes(200)
SETTLE_SECONDS = 60.0


def measure(options: Options) -> Report:
    """Measure all of it."""
    report = Report(
        "Three nodes of one jurisdiction on one machine: three nats-servers (R3, `sync_interval: "
        "always`, mutual TLS between them) beside three etcd members (Debian's, plain HTTP, its "
        "JSON gateway), in turns in the same run. *Append* is one entry of 200 bytes of a log; "
        "*renew* is one compare-and-set of a lease. *Outage* is from `kill -9` of the leader to "
        "the next renewal that is acknowledged; every renewal writes how many were acknowledged "
        "before, and what is read afterwards must be the last of them. Both are asked by this "
        "project's own clients: a request is given up after 2 s, which is most of etcd's outage, "
        "and etcd gets a new connection for each, which is part of its time. *App* is one with "
        "two standbys (`--survive node`) on three nodes that share leases on the bus: the node "
        "that serves it is killed under a writer; the outage is to the next answer to a write, of "
        "which a lease of four seconds is the most. *Patroni* runs three members of PostgreSQL 18 "
        "on that etcd, with a synchronous standby and the shortest time to live that it takes; "
        "the writer is asyncpg with all three hosts in its DSN, and member and server are killed. "
        "*A decision* is one of the decision point that a node asks, under every term there is and "
        "a rule in Cedar, with its reasons; beside it the bare call of cedarpy on the same rules "
        "and place, everything parsed before. `python bench/run.py policy` has other engines."
    )
    writes = Table(("what", "p50 ms", "p95 ms", "beside"), title="Acknowledged writes")
    outages = Table(("what", "outage s, median", "worst", "rounds", "acknowledged", "lost"))
    outages.title = "The leader is killed"
    asyncio.run(_measure(options, report, writes, outages))
    app_outages(options, writes, outages)
    report.tables.append(move(options))
    report.tables = [decisions(options), writes, outages, *report.tables, _histories(options)]
    return report


async def _measure(options: Options, report: Report, writes: Table, outages: Table) -> None:
    with tempfile.TemporaryDirectory(prefix="skerry-bench-") as made:
        top = Path(made)
        async with contextlib.AsyncExitStack() as stack:
            buses = await stack.enter_async_context(_cluster(top))
            etcd = None
            if shutil.which("etcd"):
                etcd = await stack.enter_async_context(_etcd(top))
            else:
                report.skip("etcd", "apt-get install etcd-server")
            await _writes(options, top, buses, etcd, writes)
            await _outages(options, buses, etcd, outages)
            if etcd is not None:
                top.chmod(0o711)
                await asyncio.to_thread(patroni_outages, options, etcd.urls, top, report, outages)
            pids = [bus.server.pid for bus in buses.values() if bus.server and bus.server.pid]
            resident = [_resident(pid) for pid in pids]
            report.notes.append(f"Memory of a nats-server afterwards: {max(resident)} MiB at most.")


# ---- writes -------------------------------------------------------------------------------------


async def _writes(
    options: Options, top: Path, buses: dict[str, Bus], etcd: Etcd | None, table: Table
) -> None:
    count, rounds = options.pick(60, 300), options.pick(1, 4)
    clock = SystemClock()
    folder = top / "local"
    folder.mkdir()
    local = LogFile(folder, clock, lambda _: None)
    log = StreamLog(buses["se-1"].settled_inside, "log.bench", clock)
    ways: dict[str, Callable[[], Awaitable[object]]] = {
        "append, this node alone": lambda: local.append(BODY),
        "append, JetStream on three": lambda: log.append(BODY),
        "renew, JetStream": await _renewing(RegisterLeases(BusRegister(buses["se-1"]), clock)),
    }
    if etcd is not None:
        leases = RegisterLeases(EtcdRegister(etcd.urls), clock)
        ways["renew, etcd"] = await _renewing(leases)
    found: dict[str, list[float]] = {name: [] for name in ways}
    say(f"{count * rounds} writes of each sort")
    for number in range(rounds):
        for name in list(ways) if number % 2 == 0 else reversed(list(ways)):
            for _ in range(count):
                began = time.perf_counter()
                await ways[name]()
                found[name].append((time.perf_counter() - began) * 1000)
    await local.close()
    peers = {
        "append, JetStream on three": "append, this node alone",
        "renew, JetStream": "renew, etcd",
    }
    for name, taken in found.items():
        peer = peers.get(name)
        beside = times(median(taken), median(found[peer])) if peer in found else ""
        table.add(
            name, median(taken), percentile(taken, 0.95), f"{beside} of {peer}" if beside else ""
        )


async def _renewing(leases: RegisterLeases) -> Callable[[], Awaitable[object]]:
    lease = await leases.acquire("bench", "se-1", LEASE_SECONDS)

    async def renew() -> None:
        nonlocal lease
        lease = await leases.renew(lease, LEASE_SECONDS)

    return renew


# ---- outages ------------------------------------------------------------------------------------


async def _outages(
    options: Options, buses: dict[str, Bus], etcd: Etcd | None, table: Table
) -> None:
    rounds = options.pick(1, 4)
    found: dict[str, list[tuple[float, int, int]]] = {"JetStream": [], "etcd": []}
    for number in range(rounds):
        say(f"leaders killed, round {number + 1} of {rounds}")
        found["JetStream"].append(await _kill_nats(buses))
        if etcd is not None:
            found["etcd"].append(await _kill_etcd(etcd))
    for name, outcome in found.items():
        if outcome:
            seconds = [each[0] for each in outcome]
            acknowledged, lost = (sum(each[n] for each in outcome) for n in (1, 2))
            table.add(f"lease on {name}", median(seconds), max(seconds), rounds, acknowledged, lost)


async def _kill_nats(buses: dict[str, Bus]) -> tuple[float, int, int]:
    await _until(lambda: _current(buses))
    info = await buses["se-1"].inside().api(f"STREAM.INFO.{STREAM.name}")
    leader = info["cluster"]["leader"]
    writer = next(name for name in NAMES if name != leader)
    leases = RegisterLeases(BusRegister(buses[writer]), BootClock())
    victim = buses[leader].server
    assert victim is not None and victim.pid is not None
    pid = victim.pid
    return await _outage(leases, lambda: os.kill(pid, signal.SIGKILL))


async def _kill_etcd(etcd: Etcd) -> tuple[float, int, int]:
    leader = await etcd.leader()
    urls = [url for url in etcd.urls if url != leader]
    leases = RegisterLeases(EtcdRegister(urls), BootClock())
    found = await _outage(leases, etcd.processes[leader].kill)
    await etcd.start(leader)
    return found


async def _outage(leases: RegisterLeases, kill: Callable[[], None]) -> tuple[float, int, int]:
    """Renew without a pause, kill the leader; return the outage, what was acknowledged and lost."""
    lease: Lease = await leases.acquire("outage", "writer", LEASE_SECONDS)
    acknowledged, killed_at, back_at = 0, 0.0, 0.0
    deadline = time.monotonic() + SETTLE_SECONDS
    while acknowledged < 400 and time.monotonic() < deadline:
        if acknowledged == 200 and not killed_at:
            kill()
            killed_at = time.perf_counter()
        try:
            lease = await leases.renew(lease, LEASE_SECONDS, (str(acknowledged + 1),))
        except SkerryError as error:
            if not killed_at:
                raise
            if not error.problem.temporary and error.code != "CONFLICT":
                raise
            await asyncio.sleep(0.01)
            continue
        acknowledged += 1
        if killed_at and not back_at:
            back_at = time.perf_counter()
    found = await leases.current("outage")
    assert found is not None
    return back_at - killed_at, acknowledged, acknowledged - int(found.replicas[0])


# ---- what is beside -----------------------------------------------------------------------------


def _histories(options: Options) -> Table:
    """Play seeded histories: nothing may be lost, and no two nodes may serve at one moment."""
    seeds = options.pick(100, 1_000, 50_000)
    table = Table(("histories", "virtual hours", "times taken", "histories a second"))
    table.title = "Seeded histories of three nodes: drift, crashes, partitions, messages held up"
    say(f"{seeds} histories")
    began, taken = time.perf_counter(), 0
    for seed in range(seeds):
        taken += play(Story(seed, seconds=60))
    seconds = time.perf_counter() - began
    table.add(f"{seeds:,}", seeds * 60 / 3600, f"{taken:,}", seeds / seconds)
    return table


@contextlib.asynccontextmanager
async def _cluster(top: Path) -> AsyncIterator[dict[str, Bus]]:
    clock, neighbours, buses = SystemClock(), {}, {}
    for name in NAMES:
        folder = top / name
        folder.mkdir()
        identity = Identity.load(folder / "identity.pem", name, clock)
        door = Door("127.0.0.1", _port(), _port())
        neighbours[name] = Neighbour(
            identity.id, name, "EU", identity.public_key, identity.authority().decode(), door
        )
        buses[name] = Bus(
            Place(name, "EU", "127.0.0.1", door),
            identity,
            clock,
            SystemEntropy(),
            folder / "bus",
            lambda name=name: [each for other, each in neighbours.items() if other != name],
        )
    await asyncio.gather(*(bus.start() for bus in buses.values()))
    try:
        await _until(lambda: _current(buses))
        yield buses
    finally:
        await asyncio.gather(*(bus.stop() for bus in buses.values()))


async def _current(buses: dict[str, Bus]) -> bool:
    """Tell whether every server is up and every copy has caught up."""
    if not all(bus.settled for bus in buses.values()):
        return False
    try:
        info = await buses["se-1"].inside().api(f"STREAM.INFO.{STREAM.name}")
    except SkerryError:
        return False
    copies = info["cluster"].get("replicas") or ()
    return len(copies) == len(NAMES) - 1 and all(each["current"] for each in copies)


class Etcd:
    """Three members of an etcd."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self._peers = {f"http://127.0.0.1:{_port()}": f"http://127.0.0.1:{_port()}" for _ in NAMES}
        self.urls = list(self._peers)
        self.processes: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, url: str) -> None:
        """Start a member and wait for it."""
        cluster = ",".join(f"m{n}={peer}" for n, peer in enumerate(self._peers.values()))
        number = self.urls.index(url)
        self.processes[url] = await asyncio.create_subprocess_exec(
            *("etcd", "--name", f"m{number}", "--data-dir", str(self._top / f"etcd{number}")),
            *("--listen-client-urls", url, "--advertise-client-urls", url),
            *("--listen-peer-urls", self._peers[url]),
            *("--initial-advertise-peer-urls", self._peers[url]),
            *("--initial-cluster", cluster),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )

    async def ready(self) -> bool:
        """Tell whether every member answers."""
        try:
            for url in self.urls:
                await EtcdRegister([url]).read("x")
        except SkerryError:
            return False
        return True

    async def leader(self) -> str:
        """Return the address of the leader."""
        await _until(self.ready)
        for url in self.urls:
            found = await asyncio.to_thread(_status, url)
            if found["leader"] == found["header"]["member_id"]:
                return url
        raise RuntimeError("etcd has no leader")


@contextlib.asynccontextmanager
async def _etcd(top: Path) -> AsyncIterator[Etcd]:
    etcd = Etcd(top)
    try:
        for url in etcd.urls:
            await etcd.start(url)
        await _until(etcd.ready)
        yield etcd
    finally:
        for process in etcd.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _status(url: str) -> dict[str, dict[str, str]]:
    request = urllib.request.Request(f"{url}/v3/maintenance/status", b"{}", method="POST")
    with urllib.request.urlopen(request, timeout=5) as answer:
        found: dict[str, dict[str, str]] = json.load(answer)
    return found


async def _until(check: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SETTLE_SECONDS):
        while not await check():
            await asyncio.sleep(0.1)


def _port() -> int:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return int(chosen.getsockname()[1])


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") >> 20
