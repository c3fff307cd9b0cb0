"""Queries over Hrana: through the router, straight to the cell, beside a hand-written service."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import libsql
import msgspec
from harness import (
    Options,
    Report,
    Table,
    clock,
    interleave,
    median,
    running,
    say,
    scratch,
    times,
    tree,
    wait_until,
)
from load import Loaded, Request, own

from node import Node, node
from skerry.kinds._shared.http.request import request as fetch

TOML = '[app]\nname = "bench"\n[sqlite.data]\nidle = "1h"\n'
CREATE = "create table things (id integer primary key, name text, price real)"
READ = "select name, price from things where id = ?"
WRITE = "update things set price = price + 1 where id = ?"
ROWS = 1000
CONNECTIONS = 8
SERVICE = """\
import json
import sqlite3

database = sqlite3.connect("{file}", isolation_level=None, check_same_thread=False)
database.execute("pragma journal_mode = wal")
database.execute("pragma synchronous = full")


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    call = json.loads((await receive())["body"])
    rows = database.execute(call["sql"], call["args"]).fetchall()
    body = json.dumps(rows).encode()
    length = str(len(body)).encode()
    head = [(b"content-type", b"application/json"), (b"content-length", length)]
    await send({{"type": "http.response.start", "status": 200, "headers": head}})
    await send({{"type": "http.response.body", "body": body}})
"""


def measure(options: Options) -> Report:
    """Load every way in turns with one-row reads, then with durable one-row writes."""
    report = Report(
        "A pipeline of one statement on a table of 1,000 rows, over HTTP with keep-alive, "
        f"{CONNECTIONS} connections: through the node's router, and on the unix socket of the cell "
        "that serves the database. The peer is the least that one would write by hand: an ASGI app "
        "on uvicorn (uvloop, httptools) that runs `sqlite3` in its loop, without authentication, "
        "streams or limits. The floor is `sqlite3` in the caller's own process. Writes are durable "
        "everywhere (WAL, `synchronous=FULL`). CPU seconds are those of the servers."
    )
    with scratch("hrana") as folder, node() as made, contextlib.ExitStack() as stack:
        made.deploy({"skerry.toml": TOML})
        fields = made.connect("data", "bench")
        fill(fields)
        peer = stack.enter_context(service(folder))
        for name, sql in (("read", READ), ("write", WRITE)):
            table(report, options, ways(made, fields, peer, sql, options), name, folder)
        client(report, options, fields, folder)
    return report


def fill(fields: dict[str, str]) -> None:
    """Make the table in the resource."""
    statements = [
        {"sql": CREATE},
        {
            "sql": "with recursive n(i) as (select 1 union all select i + 1 from n "
            f"where i < {ROWS}) insert into things select i, 'thing ' || i, i from n"
        },
    ]
    body = {"requests": [{"type": "execute", "stmt": each} for each in statements]}
    headers = {"Authorization": f"Bearer {fields['token']}"}
    answer = fetch(f"{fields['url']}/v2/pipeline", "POST", msgspec.json.encode(body), headers)
    assert answer.status == 200 and b'"error"' not in answer.body, answer.body


@contextlib.contextmanager
def service(folder: Path) -> Iterator[tuple[int, int]]:
    """Run the hand-written service; yield its port and process."""
    file = folder / "peer.db"
    database(file).close()
    (folder / "service.py").write_text(SERVICE.format(file=file))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    argv = [sys.executable, "-m", "uvicorn", "service:app", "--port", str(port), "--no-access-log"]
    argv += ["--loop", "uvloop", "--http", "httptools"]
    with running(argv, cwd=folder) as process:
        wait_until(lambda: process.poll() is not None or listens(port), 30, "uvicorn listens")
        assert process.poll() is None, "uvicorn ended"
        yield port, process.pid


def listens(port: int) -> bool:
    """Tell whether something listens on a port."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def database(file: Path) -> sqlite3.Connection:
    """Make the same table in a file."""
    made = sqlite3.connect(file, isolation_level=None)
    made.execute("pragma journal_mode = wal")
    made.execute("pragma synchronous = full")
    made.execute(CREATE)
    rows = [(number, f"thing {number}", number) for number in range(1, ROWS + 1)]
    made.execute("begin")
    made.executemany("insert into things values (?, ?, ?)", rows)
    made.execute("commit")
    return made


def ways(
    made: Node, fields: dict[str, str], peer: tuple[int, int], sql: str, options: Options
) -> dict[str, Callable[[], Loaded]]:
    """Return what loads each way."""
    seconds = options.pick(1, 4)
    engines = made.processes("bench")["engines"]
    sockets = list((made.home.run / fields["id"]).glob("*.sock"))
    assert len(sockets) == 1, sockets
    stmt = {"sql": sql, "args": [{"type": "integer", "value": "42"}]}
    pipeline = {"requests": [{"type": "execute", "stmt": stmt}, {"type": "close"}]}
    head = (("Authorization", f"Bearer {fields['token']}"), ("Content-Type", "application/json"))
    body, bare = msgspec.json.encode(pipeline), msgspec.json.encode({"sql": sql, "args": [42]})
    host = f"127.0.0.1:{made.port}"
    router = Request(made.port, host, "/v2/pipeline", "POST", head, body)
    direct = Request(str(sockets[0]), host, "/v2/pipeline", "POST", head, body)
    by_hand = Request(peer[0], host, "/", "POST", head[1:], bare)
    node_and_cell = {"node": [made.pid], "cell": [engines]}
    return {
        "Hrana through the router": lambda: own(router, node_and_cell, CONNECTIONS, seconds),
        "Hrana on the cell's socket": lambda: own(
            direct, {"cell": [engines]}, CONNECTIONS, seconds
        ),
        "hand-written service": lambda: own(
            by_hand, {"service": tree(peer[1])}, CONNECTIONS, seconds
        ),
    }


def table(
    report: Report,
    options: Options,
    found_ways: dict[str, Callable[[], Loaded]],
    name: str,
    folder: Path,
) -> None:
    """Measure and add the table of one kind of query."""
    rounds = options.pick(2, 5)
    say(f"{name}s: {rounds} rounds on {len(found_ways)} ways")
    found = interleave(found_ways, rounds)
    floor = in_process(folder / f"{name}.db", READ if name == "read" else WRITE, options)
    result = Table(
        ("way", "queries/CPU s", "CPU µs/query", "queries/s", "p50 ms", "p99 ms", "beside by hand"),
        title=f"One-row {name}s",
    )
    base = median(one.per_cpu_second() for one in found["hand-written service"])
    for way, each in found.items():
        rate = median(one.per_cpu_second() for one in each)
        result.add(
            way, rate,
            median(one.cpu_us() for one in each),
            median(one.per_second for one in each),
            median(one.p50_ms for one in each),
            median(one.p99_ms for one in each),
            times(rate, base),
        )  # fmt: skip
    cells = (1 / floor[0], 1e6 * floor[0], 1 / floor[1], "n/a", "n/a", times(1 / floor[0], base))
    result.add("sqlite3 in process", *cells)
    report.tables.append(result)
    through = found["Hrana through the router"]
    parts = [median(one.cpu_us(part) for one in through) for part in ("node", "cell")]
    report.notes.append(
        f"Of a {name} through the router, the node takes {parts[0]:.0f} µs of CPU and the cell "
        f"{parts[1]:.0f} µs."
    )
    report.data[name] = {way: [vars(one) for one in each] for way, each in found.items()}


def in_process(file: Path, sql: str, options: Options) -> tuple[float, float]:
    """Return CPU seconds and seconds for a query of the standard library in this process."""
    count = options.pick(500, 3000)
    with contextlib.closing(database(file)) as made:
        start, cpu = clock(), time.thread_time()
        for number in range(count):
            made.execute(sql, (number % ROWS + 1,)).fetchall()
        return (time.thread_time() - cpu) / count, (clock() - start) / count


def client(report: Report, options: Options, fields: dict[str, str], folder: Path) -> None:
    """Compare the official Python client against the node with the same client on a file."""
    count = options.pick(50, 300)
    say(f"{count} queries of the libsql client")
    local = folder / "client.db"
    database(local).close()

    def queries(connection: Any) -> Callable[[], float]:
        def run() -> float:
            start = clock()
            for number in range(count):
                rows = connection.execute(READ, (number % ROWS + 1,)).fetchall()
                assert [row[0] for row in rows] == [f"thing {number % ROWS + 1}"]
            return 1e6 * (clock() - start) / count

        return run

    remote = libsql.connect(fields["url"], auth_token=fields["token"])
    file = libsql.connect(str(local))
    found = interleave(
        {"libsql client to the node": queries(remote), "libsql client on a file": queries(file)},
        options.pick(2, 5),
    )
    result = Table(("one client, one read after the other", "µs/query"), title="Official client")
    for name, values in found.items():
        result.add(name, median(values))
    report.tables.append(result)
    report.data["client_us"] = found
