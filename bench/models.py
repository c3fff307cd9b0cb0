"""Models: what the gateway adds to a call, and streams per core, beside a direct call."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import msgspec
from harness import (
    Options,
    Report,
    Table,
    interleave,
    median,
    resident_bytes,
    running,
    say,
    scratch,
    times,
    wait_until,
)
from load import Loaded, Request, own

from node import Node, node

PARTS = 64
CONNECTIONS = 8
BODY = {"model": "one/m", "messages": [{"role": "user", "content": "What is a skerry? " * 20}]}
TOML = """
[app]
name = "bench"
[policy]
jurisdiction = ["SE"]
[models.ai]
idle = "1h"
[models.ai.providers.one]
base_url = "http://127.0.0.1:{port}/v1"
country = "SE"
prices = {{ m = {{ input = 1.0, output = 2.0 }} }}
"""
PROVIDER = """\
import asyncio, json

PART = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": {"content": " word"}, "finish_reason": None}]}
LAST = {**PART, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
USAGE = {"prompt_tokens": 100, "completion_tokens": 64, "total_tokens": 164}
WHOLE = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": USAGE,
         "choices": [{"index": 0, "message": {"role": "assistant", "content": "word " * 64},
                      "finish_reason": "stop"}]}
PIECE, LAST, WHOLE = (json.dumps(each).encode() for each in (PART, LAST, WHOLE))
COUNTED = json.dumps({**PART, "choices": [], "usage": USAGE}).encode()


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    asked = json.loads((await receive())["body"])
    streams = asked.get("stream")
    kind = b"text/event-stream" if streams else b"application/json"
    head = [(b"content-type", kind)]
    if not streams:
        head.append((b"content-length", str(len(WHOLE)).encode()))
    await send({"type": "http.response.start", "status": 200, "headers": head})
    if not streams:
        await send({"type": "http.response.body", "body": WHOLE})
        return
    for _ in range(PARTS):
        if asked.get("seed") == 7:
            await asyncio.sleep(0.25)
        data = b"data: " + PIECE + b"\\n\\n"
        await send({"type": "http.response.body", "body": data, "more_body": True})
    for data in (LAST, COUNTED, b"[DONE]"):
        data = b"data: " + data + b"\\n\\n"
        await send({"type": "http.response.body", "body": data, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
"""


def measure(options: Options) -> Report:
    """Call directly, on the cell's socket, and through the router, in turns."""
    report = Report(
        "A provider that answers at once (an ASGI app on uvicorn, in a process of its own), "
        "called directly, through the gateway on its cell's socket, and through the node's router "
        "as clients call it. The gateway checks the key, asks the policy, meters and logs. "
        f"A stream has {PARTS} parts, each an event of its own. CPU seconds are those of the "
        "gateway and the router, for the direct call those of the provider."
    )
    with scratch("models") as folder, contextlib.ExitStack() as stack:
        home = folder / "h"
        home.mkdir()
        home.chmod(0o711)
        (home / "config.toml").write_text('country = "SE"\n')
        made = stack.enter_context(node(home))
        peer = stack.enter_context(provider(folder))
        made.deploy({"skerry.toml": TOML.format(port=peer[0])})
        fields = made.connect("ai", "bench")
        made.call("branch.wake", app="bench")
        latency(report, options, made, fields, peer)
        singly(report, options, made, fields)
        streams(report, options, made, fields, peer)
        many(report, options, made, fields)
        imports(report, options)
    return report


@contextlib.contextmanager
def provider(folder: Path) -> Iterator[tuple[int, int]]:
    """Run the provider; yield its port and process."""
    (folder / "provider.py").write_text(f"PARTS = {PARTS}\n{PROVIDER}")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    argv = [sys.executable, "-m", "uvicorn", "provider:app", "--port", str(port)]
    argv += ["--no-access-log", "--loop", "uvloop", "--http", "httptools"]
    with running(argv, cwd=folder) as process:
        wait_until(lambda: listens(port), 30, "the provider listens")
        yield port, process.pid


def listens(port: int) -> bool:
    """Tell whether something listens on a port."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def ways(
    made: Node,
    fields: dict[str, str],
    peer: tuple[int, int],
    *,
    stream: bool,
    connections: int,
    seconds: float,
) -> dict[str, Callable[[], Loaded]]:
    """Return what loads each way."""
    engines = made.processes("bench")["engines"]
    (cell,) = (made.home.run / fields["id"]).glob("*.sock")
    body = msgspec.json.encode({**BODY, "stream": stream})
    bare = msgspec.json.encode({**BODY, "model": "m", "stream": stream})
    head = (("Authorization", f"Bearer {fields['token']}"), ("Content-Type", "application/json"))
    host, path = f"127.0.0.1:{made.port}", "/v1/chat/completions"
    routed = Request(made.port, host, path, "POST", head, body)
    on_cell = Request(str(cell), host, path, "POST", head, body)
    direct = Request(peer[0], host, path, "POST", head[1:], bare)
    both = {"node": [made.pid], "cell": [engines]}
    return {
        "direct": lambda: own(direct, {"provider": [peer[1]]}, connections, seconds),
        "gateway": lambda: own(on_cell, {"cell": [engines]}, connections, seconds),
        "gateway through the router": lambda: own(routed, both, connections, seconds),
    }


def latency(
    report: Report, options: Options, made: Node, fields: dict[str, str], peer: tuple[int, int]
) -> None:
    """One call after the other: what each way adds."""
    rounds, seconds = options.pick(2, 5), options.pick(1, 3)
    say(f"latency: {rounds} rounds")
    found = interleave(
        ways(made, fields, peer, stream=False, connections=1, seconds=seconds), rounds
    )
    table = Table(
        ("way", "CPU µs/call", "p50 ms", "p99 ms", "added p50 ms", "added p99 ms"),
        title="One call",
    )
    base50 = median(one.p50_ms for one in found["direct"])
    base99 = median(one.p99_ms for one in found["direct"])
    for way, each in found.items():
        p50, p99 = (median(getattr(one, name) for one in each) for name in ("p50_ms", "p99_ms"))
        table.add(way, median(one.cpu_us() for one in each), p50, p99, p50 - base50, p99 - base99)
    report.tables.append(table)


def singly(report: Report, options: Options, made: Node, fields: dict[str, str]) -> None:
    """CPU of each call by itself: what it costs, however long others keep the processor."""
    calls = options.pick(200, 3000)
    say(f"CPU of {calls} single calls")
    pids = {"gateway": made.processes("bench")["engines"], "router": made.pid}
    clocks = {name: cpu_clock(pid) for name, pid in pids.items()}
    body = msgspec.json.encode(BODY)
    head = {"Authorization": f"Bearer {fields['token']}", "Content-Type": "application/json"}
    read: list[dict[str, int]] = []
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", made.port)) as connection:
        for _ in range(calls + 1):
            read.append({name: time.clock_gettime_ns(each) for name, each in clocks.items()})
            connection.request("POST", "/v1/chat/completions", body, head)
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            answer.read()
    table = Table(("process", "p50 ms", "p99 ms"), title="CPU of single calls, one after the other")
    for names in (("gateway",), ("router",), ("gateway", "router")):
        spent = sorted(
            sum(later[name] - former[name] for name in names) / 1e6
            for former, later in itertools.pairwise(read)
        )
        table.add(" and ".join(names), spent[len(spent) // 2], spent[len(spent) * 99 // 100])
    report.tables.append(table)


def cpu_clock(pid: int) -> int:
    """Return the clock of a process's CPU time (clock_getcpuclockid(3) on Linux)."""
    return (~pid << 3) | 2


def streams(
    report: Report, options: Options, made: Node, fields: dict[str, str], peer: tuple[int, int]
) -> None:
    """Streams as fast as they go: how many a core passes on."""
    rounds, seconds = options.pick(2, 5), options.pick(1, 3)
    say(f"streams: {rounds} rounds")
    found = interleave(
        ways(made, fields, peer, stream=True, connections=CONNECTIONS, seconds=seconds), rounds
    )
    table = Table(
        ("way", "streams/CPU s", "parts/CPU s", "streams/s", "p50 ms", "p99 ms", "beside direct"),
        title=f"Streams, {CONNECTIONS} at once",
    )
    base = median(one.per_cpu_second() for one in found["direct"])
    for way, each in found.items():
        rate = median(one.per_cpu_second() for one in each)
        table.add(
            way, rate, rate * PARTS,
            median(one.per_second for one in each),
            median(one.p50_ms for one in each),
            median(one.p99_ms for one in each),
            times(rate, base),
        )  # fmt: skip
    report.tables.append(table)


def many(report: Report, options: Options, made: Node, fields: dict[str, str]) -> None:
    """Many slow streams at once: memory of each in the gateway's process."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = options.pick(100, 1000, 3000)
    say(f"{count} streams at once")
    pid = made.processes("bench")["engines"]
    before = resident_bytes([pid])
    peak = asyncio.run(_hold(made, fields, count, pid))
    grown = peak - before
    report.notes.append(
        f"{count} streams of {PARTS * 0.25:.0f} s at once: all ended whole; the gateway's process "
        f"grew by {grown / 2**20:.0f} MiB, {grown / count / 1024:.0f} KiB a stream."
    )
    report.data["kib_per_stream"] = grown / count / 1024


async def _hold(made: Node, fields: dict[str, str], count: int, pid: int) -> int:
    body = {**BODY, "stream": True, "seed": 7}
    headers = {"Authorization": f"Bearer {fields['token']}"}
    url = f"http://127.0.0.1:{made.port}/v1/chat/completions"
    peak = 0

    async def one(session: aiohttp.ClientSession, number: int) -> None:
        await asyncio.sleep(number * 0.002)
        async with session.post(url, json=body, headers=headers) as answer:
            data = await answer.read()
        assert data.endswith(b"data: [DONE]\n\n"), data[-200:]

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, resident_bytes([pid]))
            await asyncio.sleep(0.2)

    timeout = aiohttp.ClientTimeout(total=300)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        watcher = asyncio.create_task(watch())
        await asyncio.gather(*(one(session, number) for number in range(count)))
        watcher.cancel()
    return peak


def imports(report: Report, options: Options) -> None:
    """How long the gateway's code takes to import, beside the official client."""
    table = Table(("module", "CPU s"), title="Import")
    for module in ("skerry.kinds.models.wire.application", "openai"):
        code = (
            f"import time; a = time.process_time(); import {module}; print(time.process_time() - a)"
        )
        took = [
            float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True,
                                 text=True).stdout)
            for _ in range(options.pick(2, 5))
        ]  # fmt: skip
        table.add(module, median(took))
        time.sleep(0.1)
    report.tables.append(table)
