"""Load over HTTP: by wrk where it is installed, by a small client of our own elsewhere."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import cast

import httptools
import uvloop
from harness import clock, cpu_seconds

_DONE = re.compile(r"^\s*(\d+) requests in ", re.MULTILINE)
_LATENCY = re.compile(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s)", re.MULTILINE)
_BAD = re.compile(r"Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True)
class Loaded:
    """What a stretch of load did: requests, seconds, latencies, CPU seconds by name of process."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu: dict[str, float]

    @property
    def per_second(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds

    def per_cpu_second(self, *names: str) -> float:
        """Requests per CPU second of the named processes, or of all of them."""
        return self.requests / sum(self.cpu[name] for name in names or self.cpu)

    def cpu_us(self, *names: str) -> float:
        """CPU microseconds for a request."""
        return 1e6 / self.per_cpu_second(*names)


@dataclass(frozen=True)
class Request:
    """The one request that is sent again and again; `socket` is a port or a unix socket's path."""

    socket: int | str
    host: str
    path: str = "/"
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def encode(self) -> bytes:
        """Return its bytes."""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {self.host}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.body:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body


def has_wrk() -> bool:
    """Tell whether wrk is installed."""
    return shutil.which("wrk") is not None


def wrk(
    request: Request, processes: Mapping[str, Iterable[int]], connections: int, seconds: int
) -> Loaded:
    """Load a port by wrk; raise RuntimeError if an answer was not a good one."""
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    argv += ["-H", f"Host: {request.host}", f"http://127.0.0.1:{request.socket}{request.path}"]
    before = spent(processes)
    start = clock()
    done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=seconds + 30)
    took, after = clock() - start, spent(processes)
    if bad := _BAD.search(done.stdout):
        raise RuntimeError(f"wrk: {bad[0]}")
    count = _DONE.search(done.stdout)
    assert count is not None, done.stdout
    found = _LATENCY.findall(done.stdout)
    late = {part: 1e3 * float(number) * _SECONDS[unit] for part, number, unit in found}
    cpu = {name: after[name] - before[name] for name in processes}
    return Loaded(int(count[1]), took, late["50"], late["99"], cpu)


def spent(processes: Mapping[str, Iterable[int]]) -> dict[str, float]:
    """Return the CPU seconds of groups of processes."""
    return {name: cpu_seconds(pids) for name, pids in processes.items()}


def own(
    request: Request, processes: Mapping[str, Iterable[int]], connections: int, seconds: float
) -> Loaded:
    """Load a port or a unix socket by connections that each wait for their answers."""
    before = spent(processes)
    latencies = uvloop.run(_load(request, connections, seconds))
    after = spent(processes)
    latencies.sort()
    cpu = {name: after[name] - before[name] for name in processes}
    middle, late = latencies[len(latencies) // 2], latencies[int(len(latencies) * 0.99)]
    return Loaded(len(latencies), seconds, middle * 1e3, late * 1e3, cpu)


def best(socket: int | str) -> Callable[..., Loaded]:
    """Return the best generator of load for a socket."""
    return wrk if isinstance(socket, int) and has_wrk() else own


async def _load(request: Request, connections: int, seconds: float) -> list[float]:
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    data, deadline = request.encode(), clock() + seconds
    clients = []
    for _ in range(connections):
        make = lambda: _Client(data, deadline, latencies, loop.create_future())  # noqa: E731
        if isinstance(request.socket, int):
            _, client = await loop.create_connection(make, "127.0.0.1", request.socket)
        else:
            _, client = await loop.create_unix_connection(make, request.socket)
        clients.append(client)
    async with asyncio.timeout(seconds + 30):
        await asyncio.gather(*(client.over for client in clients))
    return latencies


class _Client(asyncio.Protocol):
    """Sends a request, waits for its answer, sends it again, until the time is over."""

    def __init__(
        self, data: bytes, deadline: float, latencies: list[float], over: asyncio.Future[None]
    ) -> None:
        self._data, self._deadline, self._latencies, self.over = data, deadline, latencies, over

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._next()

    def _next(self) -> None:
        self._start = clock()
        if self._start >= self._deadline:
            self._transport.close()
            return
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(self._data)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 300:
            self._fail(RuntimeError(f"HTTP {status}"))
            return
        self._latencies.append(clock() - self._start)
        self._next()

    def _fail(self, error: Exception) -> None:
        if not self.over.done():
            self.over.set_exception(error)
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done():
            early = clock() < self._deadline
            if exc is not None or early:
                self.over.set_exception(exc or ConnectionResetError("the server hung up"))
            else:
                self.over.set_result(None)
