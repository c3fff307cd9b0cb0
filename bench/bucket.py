"""Objects over S3: bytes a second of large ones, small ones a second, beside moto's server."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

from harness import (
    Options,
    Report,
    Table,
    clock,
    cpu_seconds,
    interleave,
    median,
    peers,
    running,
    say,
    scratch,
    times,
    tree,
    wait_until,
)

from node import Node, node
from skerry.kernel.clock import SystemClock
from skerry.kinds._shared.s3 import sigv4

TOML = '[app]\nname = "bench"\n[bucket.files]\nidle = "1h"\n'
SMALL_BYTES = 4096
THREADS = 4
SECONDS = 3600


@dataclass(frozen=True)
class Store:
    """An S3 endpoint: where it is, how to log in, which processes serve it."""

    name: str
    netloc: str
    bucket: str
    credential: tuple[str, str]
    processes: tuple[int, ...]

    def target(self, method: str, key: str) -> str:
        """Return a presigned request target."""
        path = f"/{self.bucket}/{key}"
        now = SystemClock().now()
        return sigv4.presign(method, self.netloc, path, self.credential, now, SECONDS, ())


@dataclass(frozen=True)
class Moved:
    """What a stretch of requests did."""

    requests: int
    bytes: int
    seconds: float
    cpu_seconds: float


def measure(options: Options) -> Report:
    """Write and read large objects, then small ones, at every store in turns."""
    large = options.pick(8, 64) << 20
    small = options.pick(100, 1000)
    report = Report(
        f"Presigned requests by `http.client`, {THREADS} connections with keep-alive. Large "
        f"objects have {large >> 20} MiB, small ones {SMALL_BYTES} bytes. Skerry brings each to "
        "the disk before it answers, and verifies every signature; moto keeps objects in "
        "memory and looks at no signature. CPU seconds are those of the servers."
    )
    with scratch("bucket"), node() as made, contextlib.ExitStack() as stack:
        stores = [skerry(made)]
        try:
            stores.append(stack.enter_context(moto()))
        except (OSError, subprocess.SubprocessError) as error:
            report.skip("moto", f"it could not be installed: {error}")
        rounds = options.pick(2, 5)
        say(f"{rounds} rounds at {', '.join(each.name for each in stores)}")
        for title, size, count in (("large", large, THREADS), ("small", SMALL_BYTES, small)):
            add(report, stores, title, size, count, rounds)
    for program in ("minio", "garage", "weed"):
        if shutil.which(program) is None:
            report.notes.append(f"{program} is not installed here and was not measured.")
    return report


def skerry(made: Node) -> Store:
    """Return the bucket of an app on a node."""
    made.deploy({"skerry.toml": TOML})
    fields = made.connect("files", "bench")
    netloc = urlsplit(fields["url"]).netloc
    store = Store(
        "Skerry", netloc, fields["bucket"], (fields["access_key"], fields["secret_key"]), ()
    )
    send(store, "PUT", [("first", b"first")])
    pids = (made.pid, made.processes("bench")["engines"])
    return Store(store.name, netloc, store.bucket, store.credential, pids)


@contextlib.contextmanager
def moto() -> Iterator[Store]:
    """Run moto's server with a bucket."""
    program = peers("moto", "moto[s3,server]") / "moto_server"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    argv = [str(program), "-H", "127.0.0.1", "-p", str(port)]
    with running(argv) as process:
        store = Store("moto", f"127.0.0.1:{port}", "files", ("a" * 20, "b" * 40), ())
        wait_until(lambda: process.poll() is not None or ready(store), 60, "moto answers")
        assert process.poll() is None, "moto ended"
        yield Store(
            store.name, store.netloc, store.bucket, store.credential, tuple(tree(process.pid))
        )


def ready(store: Store) -> bool:
    """Make the bucket; tell whether that went well."""
    connection = http.client.HTTPConnection(store.netloc, timeout=30)
    try:
        connection.request("PUT", f"/{store.bucket}")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def add(
    report: Report, stores: list[Store], title: str, size: int, count: int, rounds: int
) -> None:
    """Measure one size of object and add its table."""
    body = hashlib.sha256(b"content").digest() * (size // 32)
    heads = ("MB/s", "MB/CPU s") if title == "large" else ("objects/s", "objects/CPU s")
    table = Table(
        ("request", *heads, "beside moto", "in CPU"), title=f"{title.capitalize()} objects"
    )
    for method in ("PUT", "GET"):
        ways: dict[str, Callable[[], Moved]] = {
            each.name: lambda each=each, method=method: move(each, method, body, count)  # type: ignore[misc]
            for each in stores
        }
        found = interleave(ways, rounds)
        rates = {name: [rate(one, title) for one in each] for name, each in found.items()}
        base = rates.get("moto")
        for name, each in rates.items():
            wall, cpu = median(one[0] for one in each), median(one[1] for one in each)
            theirs = [median(one[part] for one in base) if base else 0.0 for part in (0, 1)]
            table.add(f"{method}, {name}", wall, cpu, times(wall, theirs[0]), times(cpu, theirs[1]))
        report.data[f"{title} {method}"] = {
            name: [vars(one) for one in each] for name, each in found.items()
        }
    report.tables.append(table)


def rate(moved: Moved, title: str) -> tuple[float, float]:
    """Return MB or objects per second and per CPU second."""
    amount = moved.bytes / 1e6 if title == "large" else moved.requests
    return amount / moved.seconds, amount / max(0.01, moved.cpu_seconds)


def move(store: Store, method: str, body: bytes, count: int) -> Moved:
    """Write or read objects on a few connections."""
    parts = [
        [(f"{len(body)}/{number}", body if method == "PUT" else b"") for number in numbers]
        for numbers in (range(first, count, THREADS) for first in range(THREADS))
    ]
    before, start = cpu_seconds(store.processes), clock()
    with ThreadPoolExecutor(THREADS) as pool:
        got = sum(pool.map(lambda items: send(store, method, items), parts))
    seconds, cpu = clock() - start, cpu_seconds(store.processes) - before
    moved = count * len(body)
    assert method == "PUT" or got == moved, (store.name, got, moved)
    return Moved(count, moved, seconds, cpu)


def send(store: Store, method: str, items: list[tuple[str, bytes]]) -> int:
    """Send requests one after the other; return how many bytes came back."""
    got = 0
    connection = http.client.HTTPConnection(store.netloc, timeout=120)
    with contextlib.closing(connection):
        for key, body in items:
            connection.request(method, store.target(method, key), body or None)
            answer = connection.getresponse()
            while block := answer.read(1 << 20):
                got += len(block)
            assert answer.status == 200, (store.name, answer.status)
    return got
