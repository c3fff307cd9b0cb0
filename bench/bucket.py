"""PUT and GET through the S3 wire, beside moto's server, as ratios of one run.

    python bench/bucket.py [--moto PYTHON] [--seconds 4]

PYTHON is an interpreter that has `moto[server]`; without one, only our figures are printed. Both
servers get the same presigned requests from the same client over loopback, one after the other.
moto keeps objects in memory and checks no signature; ours verifies each and is durable.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from skerry.kinds._shared.s3 import sigv4

KEYS = ("SKRY0123456789ABCDEF", "secret")
SERVE = """
import asyncio, sys, uvicorn, uvloop
from pathlib import Path
from skerry.kernel.clock import SystemClock
from skerry.kernel.keys import Keys
from skerry.kernel.kind import Context
from skerry.kernel.names import ResourceRef
from skerry.kernel.usage import NoMeter
from skerry.kinds.bucket.engine import BucketEngine
from skerry.kinds.bucket.wire.application import make
root = Path(sys.argv[1])
(root / "state").mkdir(); (root / "run").mkdir()
engine = BucketEngine(Context(
    ref=ResourceRef("bench", "main", "bucket", "media"), id="0123456789abcdef",
    directory=root / "state", run=root / "run", code=root, config=None,
    keys=Keys(b"a", b"b"), meter=NoMeter(), clock=SystemClock(), host=None))
async def main():
    await engine.start()
    print(engine.account.owner.access_key, engine.account.owner.secret, flush=True)
    config = uvicorn.Config(make(engine), port=int(sys.argv[2]), log_level="error",
                            lifespan="off", http="httptools")
    await uvicorn.Server(config).serve()
uvloop.run(main())
"""


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Target:
    """A server that is measured."""

    def __init__(self, name: str, process: subprocess.Popen[str], port: int) -> None:
        self.name = name
        self.process = process
        self.port = port
        self.keys = KEYS
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"{name} did not start")

    def path(self, method: str, key: str) -> str:
        """Return a presigned path."""
        return sigv4.presign(
            method, f"127.0.0.1:{self.port}", f"/media{key}", self.keys, time.time_ns(), 3600
        )


def request(connection: http.client.HTTPConnection, method: str, path: str, body: bytes) -> bytes:
    """Send one request and return the answer's body."""
    connection.request(method, path, body=body if method == "PUT" else None)
    answer = connection.getresponse()
    data = answer.read()
    if answer.status >= 300:
        raise RuntimeError(f"{answer.status}: {data[:300]!r}")
    return data


def throughput(target: Target, method: str, size: int, seconds: float, threads: int) -> float:
    """Return requests per second of some threads, each with a connection and keys of its own."""
    counts = [0] * threads
    body = os.urandom(size)
    deadline = time.monotonic() + seconds

    def work(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", target.port)
        paths = [target.path(method, f"/{size}/{number}/{each}") for each in range(16)]
        while time.monotonic() < deadline:
            data = request(connection, method, paths[counts[number] % 16], body)
            assert method == "PUT" or len(data) == size
            counts[number] += 1
        connection.close()

    started = time.monotonic()
    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    return sum(counts) / (time.monotonic() - started)


def measure(target: Target, seconds: float) -> dict[str, float]:
    """Return the figures of one server."""
    found: dict[str, float] = {}
    for size, threads, name in ((1024, 8, "1 KiB"), (65536, 8, "64 KiB"), (32 << 20, 1, "32 MiB")):
        for method in ("PUT", "GET"):
            if method == "GET":
                fill(target, size, threads)
            rate = statistics.median(
                throughput(target, method, size, seconds / 2, threads) for _ in range(2)
            )
            big = size > 1 << 20
            found[f"{method} {name} {'MB/s' if big else 'per s'}"] = (
                rate * size / 1e6 if big else rate
            )
    return found


def fill(target: Target, size: int, threads: int) -> None:
    """Make sure that every key that is got exists."""
    connection = http.client.HTTPConnection("127.0.0.1", target.port)
    for number in range(threads):
        for each in range(16):
            path = target.path("PUT", f"/{size}/{number}/{each}")
            request(connection, "PUT", path, os.urandom(size))
    connection.close()


def start_ours(folder: Path) -> Target:
    """Start our server with its state in a folder."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(folder), str(port)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    access_key, secret = process.stdout.readline().split()
    target = Target("skerry", process, port)
    target.keys = (access_key, secret)
    return target


def start_moto(python: str) -> Target:
    """Start moto's server."""
    port = free_port()
    process = subprocess.Popen(
        [python, "-m", "moto.server", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    target = Target("moto", process, port)
    connection = http.client.HTTPConnection("127.0.0.1", port)
    request(connection, "PUT", target.path("PUT", ""), b"")
    connection.close()
    return target


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description="PUT and GET beside moto's server.")
    parser.add_argument("--moto", default="")
    parser.add_argument("--seconds", type=float, default=4.0)
    arguments = parser.parse_args()
    starts: list[Callable[[Path], Target]] = [start_ours]
    if arguments.moto:
        starts.append(lambda _: start_moto(arguments.moto))
    results: dict[str, dict[str, float]] = {}
    for start in starts:
        with tempfile.TemporaryDirectory(prefix="skerry-bench-") as folder:
            target = start(Path(folder))
            try:
                results[target.name] = measure(target, arguments.seconds)
            finally:
                target.process.terminate()
                target.process.wait(10)
    for name, ours in results["skerry"].items():
        line: dict[str, object] = {"what": name, "skerry": round(ours, 1)}
        if "moto" in results:
            line |= {"moto": round(results["moto"][name], 1)}
            line |= {"ratio": round(ours / results["moto"][name], 2)}
        print(json.dumps(line))


if __name__ == "__main__":
    main()
