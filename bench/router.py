"""Requests through the router to a function, beside servers of the same app without a router."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from branch import volume
from harness import (
    Options,
    Report,
    Table,
    clock,
    cpu_seconds,
    interleave,
    median,
    peers,
    percentile,
    resident_bytes,
    running,
    say,
    scratch,
    times,
    tree,
    wait_until,
)
from load import Loaded, Request, best

from node import Node, node
from skerry.kernel.errors import SkerryError

APP = """\
HEAD = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/plain"), (b"content-length", b"6")],
}
BODY = {"type": "http.response.body", "body": b"hello\\n"}


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send(HEAD)
        await send(BODY)
"""
TOML = '[app]\nname = "bench"\n[functions.web]\nentry = "web:app"\nidle = "10m"\n'
KEPT = TOML + "[kv.counts]\n[sqlite.search]\n[bucket.files]\n"
FOUR = KEPT + "[postgres.db]\n"
FOUR_IMAGE_BYTES = 8 << 30
CONNECTIONS = 16


def measure(options: Options) -> Report:
    """Measure throughput per CPU second, cold starts, and what sleeping branches cost."""
    report = Report(
        "The same ASGI app (six bytes) as a function behind the router, and served alone by "
        f"uvicorn (uvloop, httptools) and granian, each with one worker. {CONNECTIONS} connections "
        "with keep-alive; the CPU seconds are those of the servers, from /proc, not of the client."
    )
    with scratch("app") as folder, node() as made:
        (folder / "web.py").write_text(APP)
        made.deploy({"skerry.toml": TOML, "web.py": APP})
        throughput(report, options, made, folder)
        cold_start(report, options, made, folder)
    asleep(report, options)
    made_asleep(report, options)
    return report


def throughput(report: Report, options: Options, made: Node, folder: Path) -> None:
    """Load all servers in turns."""
    seconds, rounds = options.pick(2, 4), options.pick(2, 7)
    with contextlib.ExitStack() as stack:
        ways = {"Skerry": skerry(made, seconds)}
        for name, argv in servers(report).items():
            port, pid = stack.enter_context(serving(argv, folder))
            ways[name] = other(port, pid, seconds)
        say(f"throughput: {rounds} rounds of {seconds} s for {', '.join(ways)}")
        found = interleave(ways, rounds)
    table = Table(
        ("server", "requests/CPU s", "CPU µs/request", "requests/s", "p50 ms", "p99 ms", "ours is")
    )  # fmt: skip
    ours = median(each.per_cpu_second() for each in found["Skerry"])
    for name, each in found.items():
        rate = median(one.per_cpu_second() for one in each)
        table.add(
            name,
            rate,
            median(one.cpu_us() for one in each),
            median(one.per_second for one in each),
            median(one.p50_ms for one in each),
            median(one.p99_ms for one in each),
            times(ours, rate) if name != "Skerry" else "1",
        )
    report.tables.append(table)
    parts = {name: median(one.cpu_us(name) for one in found["Skerry"]) for name in ("node", "web")}
    report.notes.append(
        f"Of Skerry's CPU time, the router takes {parts['node']:.0f} µs a request and the "
        f"function's own process {parts['web']:.0f} µs."
    )
    report.data["throughput"] = {name: [vars(one) for one in each] for name, each in found.items()}


def skerry(made: Node, seconds: int) -> Callable[[], Loaded]:
    """Return what loads the function through the router."""
    host = f"bench.localhost:{made.port}"
    made.get(f"http://{host}/")
    request = Request(made.port, host)
    processes = {"node": [made.pid], "web": [made.processes("bench")["web"]]}
    return lambda: best(request.socket)(request, processes, CONNECTIONS, seconds)


def other(port: int, pid: int, seconds: int) -> Callable[[], Loaded]:
    """Return what loads a server of its own."""
    request = Request(port, f"127.0.0.1:{port}")
    return lambda: best(port)(request, {"server": tree(pid)}, CONNECTIONS, seconds)


def servers(report: Report) -> dict[str, list[str]]:
    """Return the command lines of the peers, with `{port}` for the port."""
    uvicorn = [sys.executable, "-m", "uvicorn", "web:app", "--port", "{port}", "--no-access-log"]
    found = {"uvicorn": [*uvicorn, "--loop", "uvloop", "--http", "httptools"]}
    try:
        program = str(peers("granian", "granian[uvloop]") / "granian")
        found["granian"] = [
            program, "web:app", "--interface", "asgi", "--port", "{port}", "--workers", "1",
            "--loop", "uvloop", "--http", "1", "--no-ws", "--log-level", "warning",
        ]  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        report.skip("granian", f"it could not be installed: {error}")
    return found


@contextlib.contextmanager
def serving(argv: list[str], folder: Path) -> Iterator[tuple[int, int]]:
    """Run a server on a free port; yield the port and its process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [each.format(port=port) for each in argv]
    with running(words, cwd=folder) as process:
        wait_until(lambda: process.poll() is not None or answers(port), 30, argv[0])
        assert process.poll() is None, f"{argv[0]} ended"
        yield port, process.pid


def answers(port: int) -> bool:
    """Tell whether a server answers."""
    try:
        return fetch(port, "127.0.0.1") == b"hello\n"
    except (OSError, http.client.HTTPException):
        return False


def fetch(port: int, host: str) -> bytes:
    """Fetch the page on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/", headers={"Host": host})
        return connection.getresponse().read()
    finally:
        connection.close()


def cold_start(report: Report, options: Options, made: Node, folder: Path) -> None:
    """Measure from the request to its answer while everything sleeps."""
    count = options.pick(5, 30)
    port = made.port
    argv = servers(report)["uvicorn"]
    say(f"{count} cold starts")

    def cold() -> float:
        made.sleep("bench")
        start = clock()
        assert fetch(port, "bench.localhost") == b"hello\n"
        return 1e3 * (clock() - start)

    def warm() -> float:
        start = clock()
        fetch(port, "bench.localhost")
        return 1e3 * (clock() - start)

    def process() -> float:
        start = clock()
        with serving(argv, folder):
            return 1e3 * (clock() - start)

    found = {
        "a sleeping function": [cold() for _ in range(count)],
        "the same, awake": [warm() for _ in range(count)],
        "`uvicorn web:app` started anew": [process() for _ in range(max(3, count // 3))],
    }
    table = Table(("from request to answer", "p50 ms", "p95 ms", "beside uvicorn"))
    base = median(found["`uvicorn web:app` started anew"])
    for name, values in found.items():
        middle = median(values)
        table.add(name, middle, percentile(values, 0.95), times(middle, base))
    report.tables.append(table)
    report.data["cold_start_ms"] = found


def asleep(report: Report, options: Options) -> None:
    """Measure the memory and CPU of a node while more and more branches sleep on it.

    Each has a function and three resources, and has been used before it sleeps.
    """
    steps = options.pick((0, 10, 30), (0, 100, 1000))
    idle_seconds = options.pick(2, 20)
    table = Table(
        ("sleeping branches", "node MiB (RSS)", "with zygote MiB (PSS)", "CPU ms/s idle", "start s")
    )
    found = []
    with scratch("asleep") as folder:
        with node(folder / "h") as made:
            made.deploy({"skerry.toml": KEPT, "web.py": APP})
            for count in steps:
                say(f"{count} sleeping branches")
                for number in range(len(made.call("branch.list", app="bench")), count + 1):
                    made.call("branch.create", app="bench", name=f"b{number}")
                    made.call("branch.wake", app="bench", branch=f"b{number}")
                    made.sleep("bench", f"b{number}")
                found.append(rest(made, idle_seconds))
        with node(folder / "h") as made:
            again = made.started_seconds
            anew = rest(made, idle_seconds)
    for count, each in zip(steps, found, strict=True):
        table.add(count, each["rss"], each["pss"], each["cpu"], "n/a")
    table.add(f"{steps[-1]}, node started anew", anew["rss"], anew["pss"], anew["cpu"], again)
    report.tables.append(table)
    report.data["asleep"] = [*found, anew]


def made_asleep(report: Report, options: Options) -> None:
    """Measure what copying leaves in a node: branches of four kinds that nobody ever wakes.

    Each is a thousand files and more, most of them Postgres's, on a file system that shares blocks.
    """
    steps = options.pick((0, 10, 30), (0, 100, 500, 1000))
    found = []
    with scratch("copied") as folder, contextlib.ExitStack() as stack:
        home = folder / "h"
        home.mkdir(mode=0o711)
        try:
            stack.enter_context(volume(home / "volume", "reflink", FOUR_IMAGE_BYTES))
        except SkerryError as error:
            report.skip("branches of four kinds", f"{error.what} {error.why}".strip())
            return
        with node(home, "reflink") as made:
            made.deploy({"skerry.toml": FOUR, "web.py": APP})
            made.call("branch.wake", app="bench", branch="main")
            made.sleep("bench")
            for before, count in zip((0, *steps), steps, strict=False):
                say(f"{count} branches of four kinds")
                for number in range(before, count):
                    made.call("branch.create", app="bench", name=f"b{number}")
                found.append(rest(made, options.pick(12, 20)))
        with node(home, "reflink") as made:
            again, anew = made.started_seconds, rest(made, options.pick(2, 20))
    table = Table(
        ("branches of four kinds, never woken", "node MiB (RSS)", "CPU ms/s idle", "start s")
    )
    for count, each in zip(steps, found, strict=True):
        table.add(count, each["rss"], each["cpu"], "n/a")
    table.add(f"{steps[-1]}, node started anew", anew["rss"], anew["cpu"], again)
    report.tables.append(table)
    report.data["made_asleep"] = [*found, anew]


def rest(made: Node, seconds: float) -> dict[str, float]:
    """Return the MiB of a node, and its CPU milliseconds a second while nothing happens."""
    for each in made.status()["awake"]:
        made.sleep(each["app"], each["branch"])
    time.sleep(1.0)
    pids = tree(made.pid)
    before = cpu_seconds(pids)
    time.sleep(seconds)
    cpu = 1e3 * (cpu_seconds(pids) - before) / seconds
    rss = made.status()["memory_bytes"] / 2**20
    return {"rss": rss, "pss": resident_bytes(pids) / 2**20, "cpu": cpu}
