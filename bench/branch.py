"""Branching an app that holds data: seconds and bytes for each volume driver, beside `cp -a`."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
import psycopg
from harness import Options, Report, Table, clock, median, say, scratch, times

from node import Node, node
from skerry.kernel.clock import SystemClock
from skerry.kernel.errors import DENIED, SkerryError
from skerry.kinds._shared.s3 import sigv4
from skerry.node.volume import attach, create_image, detach, open_volume
from skerry.node.volume.image import mounted_device

TOML = """\
[app]
name = "bench"
[postgres.db]
idle = "1h"
[kv.cache]
idle = "1h"
[bucket.files]
idle = "1h"
"""
FILESYSTEMS = {"btrfs": "btrfs", "reflink": "xfs", "copy": "ext4"}
BULK = 5_000
ROW_BYTES = 7_500
PROBE_SECONDS = 0.003
Rest = tuple[float, float]


@dataclass(frozen=True)
class Sizes:
    """How much the app holds, and how often it is copied."""

    postgres_bytes: int
    pairs: int
    objects: int
    image_bytes: int
    branches: int
    copies: int

    @classmethod
    def of(cls, options: Options) -> Sizes:
        """Return the sizes for the options."""
        mega, giga = 1 << 20, 1 << 30
        return options.pick(
            cls(16 * mega, 2_000, 100, 2 * giga, 3, 2),
            cls(100 * mega, 10_000, 1_000, 4 * giga, 9, 3),
            cls(3 * giga // 2, 100_000, 10_000, 16 * giga, 9, 3),
        )


@dataclass
class Found:
    """What was measured for a driver under one condition."""

    seconds: list[float] = field(default_factory=list)
    copy_seconds: list[float] = field(default_factory=list)
    branch_bytes: list[float] = field(default_factory=list)
    copy_bytes: list[float] = field(default_factory=list)
    first_row: list[float] = field(default_factory=list)
    worst_ms: list[float] = field(default_factory=list)
    copy_worst_ms: list[float] = field(default_factory=list)
    rest_ms: list[float] = field(default_factory=list)


def measure(options: Options) -> Report:
    """Fill one app, put its state on each kind of volume, and branch it."""
    sizes = Sizes.of(options)
    report = Report(
        "One app with Postgres, key-value pairs and objects, all awake. *Branch* is "
        "`skerry branch create`, from the call to the answer; the plain copy is "
        "`cp -a --reflink=never` of the same directory and `sync -f`, on the same file system, in "
        "turns with it. *Bytes* is what the file system has less of afterwards. *First row* is "
        "from the call of `branch create` to a row read from the branch's Postgres. *Worst write* "
        "is the slowest of the one-row transactions that the parent answers one after the other "
        "meanwhile; at rest it is measured for as long without anything else. *Under load* two "
        "more clients write without a pause."
    )
    with scratch("branch") as place:
        home = place / "h"
        with node(home, "copy") as made:
            held = fill(made, sizes)
        report.notes.append(held)
        report.notes.append(
            "The directory also holds archived WAL and a base backup (point in time), which a "
            "branch shares: by snapshot, or by hard links."
        )
        source = next(iter(sorted((home / "volume").iterdir())))
        kept = place / "kept"
        source.rename(kept)
        results: dict[str, dict[str, Found]] = {}
        for driver in ("btrfs", "reflink", "copy"):
            with contextlib.ExitStack() as stack:
                try:
                    stack.enter_context(volume(home / "volume", driver, sizes.image_bytes))
                except SkerryError as error:
                    report.skip(f"the driver {driver}", f"{error.what} {error.why}".strip())
                    continue
                put(home / "volume", driver, source.name, kept)
                made = stack.enter_context(node(home, driver))
                results[driver] = drive(made, source, sizes)
    report.tables += tables(results)
    report.data = {
        driver: {name: vars(one) for name, one in each.items()} for driver, each in results.items()
    }
    return report


# ---- filling ------------------------------------------------------------------------------------


def fill(made: Node, sizes: Sizes) -> str:
    """Deploy the app and fill it; return what it holds, in words."""
    made.deploy({"skerry.toml": TOML})
    say(f"filling: {sizes.postgres_bytes >> 20} MiB, {sizes.pairs} pairs, {sizes.objects} objects")
    with psycopg.connect(made.connect("db", "bench")["url"], autocommit=True) as connection:
        connection.execute("create table probe (id int primary key, n int)")
        connection.execute("insert into probe values (1, 0), (2, 0), (3, 0)")
        connection.execute(
            "create table filler (id int, data text); "
            "alter table filler alter column data set storage plain"
        )
        for start in range(0, sizes.postgres_bytes, 64 << 20):
            rows = min(64 << 20, sizes.postgres_bytes - start) // 8192
            connection.execute(
                "insert into filler select i, left(repeat(md5(i::text), 235), %s) "
                "from generate_series(1, %s) i",
                (ROW_BYTES, rows),
            )
        size = connection.execute("select pg_database_size(current_database())").fetchone()
    put_pairs(made, sizes.pairs)
    put_objects(made, sizes.objects)
    assert size is not None
    return (
        f"The app holds a Postgres database of {size[0] >> 20} MiB, {sizes.pairs:,} pairs of 100 "
        f"bytes and {sizes.objects:,} objects of 4 KiB."
    )


def put_pairs(made: Node, count: int) -> None:
    """Write pairs by Cloudflare's bulk call."""
    fields = made.connect("cache", "bench")
    base = f"/client/v4/accounts/bench/storage/kv/namespaces/{fields['namespace_id']}/bulk"
    connection = http.client.HTTPConnection("127.0.0.1", made.port, timeout=120)
    with contextlib.closing(connection):
        for start in range(0, count, BULK):
            items = [
                {"key": f"key-{number:08d}", "value": f"{number:0100d}"}
                for number in range(start, min(count, start + BULK))
            ]
            headers = {"Authorization": f"Bearer {fields['token']}"}
            connection.request("PUT", base, msgspec.json.encode(items), headers)
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == 200, body


def put_objects(made: Node, count: int) -> None:
    """Write objects by presigned requests, a few at a time."""
    fields = made.connect("files", "bench")
    url = urlsplit(fields["url"])
    credential = (fields["access_key"], fields["secret_key"])

    def work(numbers: range) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", made.port, timeout=120)
        with contextlib.closing(connection):
            for number in numbers:
                path = f"/{fields['bucket']}/{quote(f'folder-{number % 50}/object-{number}')}"
                now = SystemClock().now()
                target = sigv4.presign("PUT", url.netloc, path, credential, now, 60, ())
                connection.request("PUT", target, number.to_bytes(8) * 512, {"Host": url.netloc})
                answer = connection.getresponse()
                body = answer.read()
                assert answer.status == 200, body

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [range(first, count, 8) for first in range(8)]))


# ---- volumes ------------------------------------------------------------------------------------


@contextlib.contextmanager
def volume(place: Path, driver: str, size_bytes: int) -> Iterator[None]:
    """Make an empty volume of a driver at a place, and take it away at the end."""
    place.mkdir(exist_ok=True)
    image = place.with_name(f"{driver}.img")
    make = plain_image if driver == "copy" else create_image
    make(image, size_bytes, FILESYSTEMS[driver])
    try:
        (mount if driver == "copy" else attach)(image, place)
        try:
            yield
        finally:
            unmount(place)
    finally:
        image.unlink()


def plain_image(image: Path, size_bytes: int, filesystem: str) -> None:
    """Make an image of a file system that cannot clone, which Skerry itself offers to nobody."""
    if os.geteuid() != 0:
        raise DENIED("Only root can make and mount an image.")
    with image.open("wb") as file:
        file.truncate(size_bytes)
    subprocess.run([f"/sbin/mkfs.{filesystem}", "-q", str(image)], check=True)


def mount(image: Path, place: Path) -> None:
    """Mount it as Skerry mounts its own."""
    subprocess.run(["mount", "-o", "loop,noatime,discard", str(image), str(place)], check=True)
    device = mounted_device(place.resolve())
    subprocess.run(["losetup", "--direct-io=on", str(device)], check=False, capture_output=True)


def unmount(place: Path) -> None:
    """Detach a volume; processes that have just ended may hold it for a moment."""
    for last in (False, False, False, True):
        try:
            detach(place)
            return
        except SkerryError:
            if last:
                raise
            time.sleep(1)


def put(place: Path, driver: str, name: str, kept: Path) -> None:
    """Lay the filled state into a volume."""
    made = open_volume(place, driver)
    branch = made.create(name)
    subprocess.run(["cp", "-a", f"{kept}/.", str(branch)], check=True)
    subprocess.run(["sync", "-f", str(place)], check=True)


def used(place: Path) -> int:
    """Return the bytes in use on a file system, everything written out."""
    subprocess.run(["sync", "-f", str(place)], check=True)
    found = os.statvfs(place)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


# ---- measuring ----------------------------------------------------------------------------------


def drive(made: Node, source: Path, sizes: Sizes) -> dict[str, Found]:
    """Measure one driver, idle and under write load."""
    made.call("branch.wake", app="bench", branch="main")
    url = made.connect("db", "bench")["url"]
    driver = made.status()["volume"]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("select 1")
        found = {"idle": series(made, source, url, sizes, driver)}
        with writers(url):
            time.sleep(1)
            found["under load"] = series(made, source, url, sizes, f"{driver} under load")
    return found


def series(made: Node, source: Path, url: str, sizes: Sizes, title: str) -> Found:
    """Branch and copy in turns."""
    found = Found()
    count = sizes.copies if title.startswith("copy") else sizes.branches
    say(f"{title}: {count} branches, {sizes.copies} copies")
    for number in range(count):
        before = used(source.parent)
        _, worst = probed(url, lambda: made.call("branch.create", app="bench", name="next"))
        found.seconds.append(worst[1])
        found.worst_ms.append(worst[0])
        start = clock()
        with psycopg.connect(made.connect("db", "bench", "next")["url"]) as connection:
            assert connection.execute("select count(*) from probe").fetchone() == (3,)
        found.first_row.append(worst[1] + clock() - start)
        made.sleep("bench", "next")
        found.branch_bytes.append(used(source.parent) - before)
        made.call("branch.delete", app="bench", name="next")
        found.rest_ms.append(at_rest(url, max(0.2, worst[1])))
        if number < sizes.copies:
            copy(source, url, found)
    return found


def at_rest(url: str, seconds: float) -> float:
    """Return the worst milliseconds of the probe while nothing else is done."""
    return probed(url, lambda: time.sleep(seconds))[1][0]


def copy(source: Path, url: str, found: Found) -> None:
    """Copy the directory as `cp -a` does, and bring it to the disk."""
    target = source.with_name(".plain-copy")
    before = used(source.parent)

    def run() -> None:
        # Files of the servers that write meanwhile may vanish, which cp reports and survives.
        argv = ["cp", "-a", "--reflink=never", str(source), str(target)]
        subprocess.run(argv, check=False, stderr=subprocess.DEVNULL)
        subprocess.run(["sync", "-f", str(target)], check=True)

    _, (worst, seconds) = probed(url, run)
    found.copy_seconds.append(seconds)
    found.copy_worst_ms.append(worst)
    found.copy_bytes.append(used(source.parent) - before)
    shutil.rmtree(target)


def probed(url: str, work: Callable[[], Any]) -> tuple[Any, Rest]:
    """Do something while one-row transactions follow each other; return it, with (worst ms, s)."""
    over, ready = threading.Event(), threading.Event()
    worst = [0.0]

    def probe() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("update probe set n = n + 1 where id = 1")
            ready.set()
            while not over.is_set():
                start = clock()
                connection.execute("update probe set n = n + 1 where id = 1")
                worst[0] = max(worst[0], 1e3 * (clock() - start))
                time.sleep(PROBE_SECONDS)

    with ThreadPoolExecutor(1) as pool:
        probing = pool.submit(probe)
        try:
            assert ready.wait(60), probing.exception(0)
            start = clock()
            result = work()
            seconds = clock() - start
        finally:
            over.set()
        probing.result(120)
    return result, (worst[0], seconds)


@contextlib.contextmanager
def writers(url: str) -> Iterator[None]:
    """Write rows from two threads until the block ends."""
    over = threading.Event()

    def work(number: int) -> int:
        count = 0
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("create table if not exists written (id int, data text)")
            while not over.is_set():
                connection.execute(
                    "insert into written select %s, repeat('x', 100) from generate_series(1, 20)",
                    (number,),
                )
                count += 1
        return count

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table if not exists written (id int, data text)")
    with ThreadPoolExecutor(2) as pool:
        working = [pool.submit(work, number) for number in (2, 3)]
        try:
            yield
        finally:
            over.set()
        assert all(each.result(120) for each in working)


# ---- the tables ---------------------------------------------------------------------------------


def tables(results: dict[str, dict[str, Found]]) -> Iterator[Table]:
    """Yield the tables of all drivers."""
    speed = Table(
        ("driver", "branch s", "plain copy s", "branch / copy", "first row s"), title="Time"
    )
    room = Table(("driver", "branch MiB", "plain copy MiB", "branch / copy"), title="Room")
    late = Table(
        ("driver", "worst write at rest ms", "while branching ms", "while copying ms"),
        title="The parent meanwhile",
    )
    for driver, each in results.items():
        for condition, found in each.items():
            name = f"{driver}, {condition}"
            branch, plain = median(found.seconds), median(found.copy_seconds)
            first = median(found.first_row)
            speed.add(name, branch, plain, times(branch, plain), first)
            sizes = median(found.branch_bytes) / 2**20, median(found.copy_bytes) / 2**20
            room.add(name, *sizes, times(*sizes))
            late.add(
                name,
                f"{median(found.rest_ms):.1f} (worst {max(found.rest_ms):.1f})",
                f"{median(found.worst_ms):.1f} (worst {max(found.worst_ms):.1f})",
                f"{median(found.copy_worst_ms):.1f} (worst {max(found.copy_worst_ms):.1f})",
            )
    yield from (speed, room, late)
