"""Postgres through the node's port, beside the server itself and beside PgBouncer."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
from harness import (
    Options,
    Report,
    Table,
    clock,
    cpu_seconds,
    interleave,
    median,
    percentile,
    running,
    say,
    scratch,
    times,
    tree,
    wait_until,
)

from node import Node, node, user_of
from skerry.kinds.postgres import install

STAY_SECONDS = 0.5
"""How long a branch is awake before it sleeps again, at the least."""

TOML = '[app]\nname = "bench"\n[postgres.db]\nidle = "1h"\n'
POOLS = ("session", "transaction")
_TPS = re.compile(r"^tps = ([\d.]+)", re.MULTILINE)
_LATENCY = re.compile(r"^latency average = ([\d.]+) ms", re.MULTILINE)
_FAILED = re.compile(r"number of failed transactions: (\d+)")


@dataclass(frozen=True)
class Way:
    """A way to the server: pgbench's connection, and the processes that relay."""

    name: str
    host: str
    port: int
    database: str
    relay: tuple[int, ...] = ()
    prepared: bool = True


@dataclass(frozen=True)
class Run:
    """What pgbench said, and the CPU microseconds of the relay for a transaction."""

    tps: float
    latency_ms: float
    relay_us: float


def measure(options: Options) -> Report:
    """Measure transactions a second on every way, and how long waking takes."""
    report = Report(
        "pgbench of the PostgreSQL wheel against one server: directly on its unix socket, through "
        "the node's Postgres port, and through PgBouncer on the same machine (both without TLS). "
        "Ratios are medians over rounds in which the ways take turns."
    )
    with node() as made:
        made.deploy({"skerry.toml": TOML})
        fields = made.connect("db", "bench")
        program = Path(install.find("", 18).program("pgbench"))
        with contextlib.ExitStack() as stack:
            stack.enter_context(holding(fields["url"]))
            ways = [
                Way("direct", str(socket_folder(made)), 5432, "app"),
                Way("node", fields["host"], int(fields["port"]), fields["database"], (made.pid,)),
                Way(
                    "node, pooler",
                    fields["host"],
                    int(fields["port"]),
                    f"{fields['database']}-pooler",
                    (made.pid,),
                ),
            ]
            for pool in POOLS:
                found = stack.enter_context(pgbouncer(made, fields, pool, report))
                ways += [found] if found else []
            bench = Bench(program, fields["user"], fields["password"], options)
            bench.prepare(ways[1])
            throughput(report, bench, ways, options)
        waking(report, made, fields, options)
    return report


@contextlib.contextmanager
def holding(url: str) -> Iterator[None]:
    """Hold a session in a transaction, so that the server stays awake between rounds."""
    with psycopg.connect(url) as connection:
        connection.execute("select 1")
        yield
        connection.rollback()


def socket_folder(made: Node) -> Path:
    """Return where the branch's server has its socket."""
    resource = made.connect("db", "bench")
    found = [each.parent for each in made.home.run.glob("*/.s.PGSQL.5432")]
    assert len(found) == 1, (resource["endpoint"], found)
    return found[0]


@contextlib.contextmanager
def pgbouncer(
    made: Node, fields: dict[str, str], pool: str, report: Report
) -> Iterator[Way | None]:
    """Run PgBouncer in front of the branch's server, as the user of its processes."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        report.skip(f"PgBouncer ({pool})", "it is not installed: apt-get install pgbouncer")
        yield None
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = socket_folder(made)
    with scratch("pgbouncer") as place:
        users, settings = place / "users.txt", place / "pgbouncer.ini"
        users.write_text(f'"{fields["user"]}" "{fields["password"]}"\n')
        settings.write_text(
            f"[databases]\napp = host={folder} port=5432 dbname=app\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {users}\npool_mode = {pool}\n"
            "max_client_conn = 100\ndefault_pool_size = 20\nignore_startup_parameters = options\n"
            "log_connections = 0\nlog_disconnections = 0\n"
        )
        user = user_of(made.processes("bench")["engines"])
        for each in (place, users, settings):
            os.chown(each, user, user) if os.geteuid() == 0 else None
        as_user = user if os.geteuid() == 0 else None
        with running([program, settings], user=as_user) as process:
            wait_until(lambda: process.poll() is not None or listens(port), 10, "PgBouncer listens")
            assert process.poll() is None, "PgBouncer ended"
            version = subprocess.run([program, "-V"], capture_output=True, text=True, check=True)
            name = f"{version.stdout.split()[0]} {version.stdout.split()[1]}, {pool}"
            prepared = pool == "session"
            yield Way(name, "127.0.0.1", port, "app", tuple(tree(process.pid)), prepared)


def listens(port: int) -> bool:
    """Tell whether something listens on a port."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@dataclass(frozen=True)
class Bench:
    """pgbench and how to log in."""

    program: Path
    user: str
    password: str
    options: Options

    def prepare(self, way: Way) -> None:
        """Make pgbench's tables."""
        scale = self.options.pick(1, 10)
        say(f"pgbench -i at scale {scale}")
        self._run(way, "-i", "-q", "-s", str(scale), seconds=300)

    def measure(self, way: Way, words: tuple[str, ...], seconds: int) -> Run:
        """Run one stretch of load."""
        before = cpu_seconds(way.relay)
        text = self._run(way, *words, "-n", "-T", str(seconds), seconds=seconds + 60)
        spent = cpu_seconds(way.relay) - before
        tps, latency, failed = _TPS.search(text), _LATENCY.search(text), _FAILED.search(text)
        assert tps and latency and (not failed or failed[1] == "0"), text
        return Run(float(tps[1]), float(latency[1]), 1e6 * spent / (float(tps[1]) * seconds))

    def _run(self, way: Way, *words: str, seconds: float) -> str:
        argv = [str(self.program), "-h", way.host, "-p", str(way.port), "-U", self.user, *words]
        environment = {**os.environ, "PGPASSWORD": self.password, "PGSSLMODE": "disable"}
        done = subprocess.run(
            [*argv, way.database],
            check=False,
            capture_output=True,
            text=True,
            env=environment,
            timeout=seconds,
        )
        if done.returncode != 0:
            raise RuntimeError(f"pgbench through {way.name}: {done.stderr[-800:]}")
        return done.stdout


def throughput(report: Report, bench: Bench, ways: list[Way], options: Options) -> None:
    """Run every load on every way in turns; compare each with PgBouncer and with no relay."""
    seconds, rounds = options.pick(1, 3), options.pick(2, 6)
    table = Table(
        ("load", "direct TPS", "node TPS", "node / direct", "node / PgBouncer (session)",
         "node, pooler / PgBouncer (transaction)", "node ms", "PgBouncer ms",
         "CPU µs/transaction: node", "PgBouncer", "node, pooler", "PgBouncer (transaction)")
    )  # fmt: skip
    cells: dict[str, dict[str, list[dict[str, float]]]] = {}
    for name, words, prepared in loads():
        usable = [way for way in ways if way.prepared or not prepared]
        say(f"{name}: {rounds} rounds of {seconds} s on {len(usable)} ways")
        runs: dict[str, Callable[[], Run]] = {
            way.name: lambda way=way, words=words: bench.measure(way, words, seconds)  # type: ignore[misc]
            for way in usable
        }
        found = interleave(runs, rounds)
        cells[name] = {way: [vars(one) for one in each] for way, each in found.items()}
        table.add(name, *row(found))
    report.tables.append(table)
    report.data["pgbench"] = cells
    report.notes.append(
        "PgBouncer 1.18 has no prepared statements in transaction mode; n/a where it cannot run."
    )


def loads() -> Iterator[tuple[str, tuple[str, ...], bool]]:
    """Yield the loads: their names, pgbench's words, whether statements are prepared."""
    for script, flags in (("select", ("-S",)), ("TPC-B", ())):
        for clients in (1, 8):
            for mode in ("simple", "prepared"):
                words = (*flags, "-c", str(clients), "-j", "1", "-M", mode)
                yield f"{script}, {clients} clients, {mode}", words, mode == "prepared"


def row(found: dict[str, list[Run]]) -> Iterator[object]:
    """Yield the cells of a load."""
    tps = {name: median(run.tps for run in runs) for name, runs in found.items()}
    pools = {pool: next((name for name in found if name.endswith(pool)), None) for pool in POOLS}
    yield tps["direct"]
    yield tps["node"]
    yield paired(found, "node", "direct")
    session, transaction = (pools[pool] for pool in POOLS)
    yield paired(found, "node", session) if session else "n/a"
    yield paired(found, "node, pooler", transaction) if transaction else "n/a"
    yield median(run.latency_ms for run in found["node"])
    yield median(run.latency_ms for run in found[session]) if session else "n/a"
    for name in ("node", session, "node, pooler", transaction):
        yield median(run.relay_us for run in found[name]) if name else "n/a"


def paired(found: dict[str, list[Run]], ours: str, theirs: str) -> str:
    """Return the median of the ratios of runs that were neighbours in time."""
    pairs = zip(found[ours], found[theirs], strict=True)
    return times(median(one.tps / other.tps for one, other in pairs), 1.0)


def waking(report: Report, made: Node, fields: dict[str, str], options: Options) -> None:
    """Measure from `connect` to the first row while the branch sleeps, TLS and log-in included."""
    count = options.pick(4, 30)
    say(f"{count} wakes")

    def first_row(mode: str) -> float:
        start = clock()
        with psycopg.connect(fields["url"], sslmode=mode) as connection:
            assert connection.execute("select 42").fetchone() == (42,)
            took = 1e3 * (clock() - start)
            assert connection.pgconn.ssl_in_use == (mode == "require")
        return took

    def asleep(mode: str) -> Callable[[], float]:
        def run() -> float:
            time.sleep(STAY_SECONDS)
            made.sleep("bench")
            return first_row(mode)

        return run

    def server() -> float:
        """Make the server sleep but not its engine process, as after the idle time of Postgres."""
        first_row("disable")
        return first_row("require")

    found = interleave(
        {
            "asleep, TLS": asleep("require"),
            "asleep, no TLS": asleep("disable"),
            "awake, TLS": server,
        },
        count,
    )
    table = Table(("from connect to first row", "p50 ms", "p95 ms", "worst ms", "beside awake"))
    awake = median(found["awake, TLS"])
    for name, values in found.items():
        middle = median(values)
        worst = (percentile(values, 0.95), max(values))
        table.add(name, middle, *worst, times(middle, awake))
    report.tables.append(table)
    report.data["wake_ms"] = found
