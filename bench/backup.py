"""Backing a bucket up to a local store: MB/s beside plain restic on the same files."""

from __future__ import annotations

import http.client
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from harness import (
    TICK,
    Options,
    Report,
    Table,
    clock,
    interleave,
    median,
    say,
    scratch,
    stat,
    times,
)

from node import Node, node
from skerry.kernel.clock import SystemClock
from skerry.kinds._shared.s3 import sigv4

TOML = """\
[app]
name = "bench"

[bucket.files]
idle = "1h"
"""
OBJECT_BYTES = 8 << 20
AIM = 0.95
_PACK = ("--pack-size", "64")


class Spent(NamedTuple):
    """What something took, in seconds of the wall and of CPU."""

    wall: float
    cpu: float


def measure(options: Options) -> Report:
    """Measure the first backup, one of which nothing has changed, and a proven restore."""
    report = Report(
        "A bucket of objects of 8 MiB, half of it random and half lines of JSON, to a repository "
        "in a local folder. Ours is `skerry backup now`: freeze, clone, digests of every file, "
        "policy, restic, record. Theirs is restic alone on the same files with packs of the same "
        "size. Each first backup goes to an empty repository; making it is left out of both. "
        "CPU is that of the node and restic, or of restic alone: the ratio to trust on a machine "
        "that others use too."
    )
    if shutil.which("restic") is None:
        report.skip("everything", "restic is not installed: apt-get install restic")
        return report
    objects = options.pick(16, 64, 640)
    rounds = options.pick(1, 3, 1)
    with scratch("backup") as place, node(place / "home") as running:
        running.deploy({"skerry.toml": TOML})
        say(f"filling {objects} objects")
        fill(running, objects)
        state = only_branch(place / "home") / "files"
        size = tree_bytes(state)
        found = interleave(
            {
                "ours": lambda: ours(running, place),
                "theirs": lambda: theirs(state, place),
            },
            rounds,
        )
        report.data = {"bytes": size, "seconds": found}
        report.tables.append(table(size, found))
        verdicts = []
        for what, measured in (("by the wall", "wall"), ("by CPU", "cpu")):
            mine = median(getattr(each["first"], measured) for each in found["ours"])
            other = median(getattr(each["first"], measured) for each in found["theirs"])
            met = "met" if other / mine >= AIM else "not met"
            verdicts.append(f"{met} {what} ({other / mine:.2f})")
        aim = f"The aim, {AIM} of plain restic's rate for a first backup, is "
        report.notes.append(f"{aim}{', '.join(verdicts)}.")
    return report


def table(size: int, found: dict[str, list[dict[str, Spent]]]) -> Table:
    """Return rates and times, medians over the rounds."""
    made = Table(("", "Skerry", "restic alone", "ratio of rates", "CPU s", "CPU s alone", "ratio"))
    for name, label in (
        ("first", f"first backup of {size / 1e6:.0f} MB, MB/s"),
        ("again", "backup of the same again, s"),
        ("restore", "restore, MB/s (ours: a drill, compared, started, counted)"),
        ("rebuild", "a whole node onto a new machine, MB/s (theirs: the restore above)"),
    ):
        mine = median(each[name].wall for each in found["ours"])
        other = median(each[name].wall for each in found["theirs"])
        cpu = median(each[name].cpu for each in found["ours"])
        cpu_other = median(each[name].cpu for each in found["theirs"])
        rates = (mine, other) if name == "again" else (size / 1e6 / mine, size / 1e6 / other)
        ratio = times(cpu_other, cpu)
        made.add(label, *rates, times(other, mine), cpu, cpu_other, ratio)
    return made


def ours(running: Node, place: Path) -> dict[str, Spent]:
    """Measure one round of ours into a store of its own."""
    store = place / f"ours-{os.urandom(4).hex()}"
    running.call("backup.to", url=str(store))

    def node_cpu() -> float:
        return with_children(running.pid)

    found = {
        "first": spent(lambda: running.call("backup.now", app="bench"), node_cpu),
        "again": spent(lambda: running.call("backup.now", app="bench"), node_cpu),
        "restore": spent(lambda: running.call("backup.drill", app="bench"), node_cpu),
    }
    running.call("backup.now")
    key = place / "key"
    key.write_text(running.call("backup.key")["key"])
    fresh = place / "fresh"
    words = ["restore", "--onto-new-node", "--key", str(key), "--home", str(fresh)]
    found["rebuild"] = spent(lambda: skerry(*words), own_children)
    shutil.rmtree(store)
    shutil.rmtree(fresh)
    return found


def theirs(state: Path, place: Path) -> dict[str, Spent]:
    """Measure one round of restic alone."""
    store, target = place / f"theirs-{os.urandom(4).hex()}", place / "restored"
    save, load = ("backup", "--json", str(state)), ("restore", "latest", "--target", str(target))
    restic(store, place, "init")
    found = {
        "first": spent(lambda: restic(store, place, *save), own_children),
        "again": spent(lambda: restic(store, place, *save), own_children),
        "restore": spent(lambda: restic(store, place, *load), own_children),
    }
    shutil.rmtree(store)
    shutil.rmtree(target)
    found["rebuild"] = found["restore"]
    return found


def skerry(*words: str) -> None:
    """Run the command line."""
    program = Path(sys.executable).parent / "skerry"
    subprocess.run([program, *words], check=True, capture_output=True)


def restic(store: Path, place: Path, *words: str) -> None:
    """Run restic with a cache of its own."""
    env = {
        **os.environ,
        "RESTIC_PASSWORD": "bench",
        "RESTIC_REPOSITORY": str(store),
        "RESTIC_CACHE_DIR": str(place / "cache"),
        "RESTIC_PROGRESS_FPS": "2",
    }
    subprocess.run(["restic", *_PACK, *words], env=env, check=True, stdout=subprocess.DEVNULL)


def spent(work: Callable[[], Any], cpu: Callable[[], float]) -> Spent:
    """Return what something took, with the CPU seconds that a clock of CPU tells."""
    start, used = clock(), cpu()
    work()
    return Spent(clock() - start, cpu() - used)


def with_children(pid: int) -> float:
    """Return the CPU seconds of a process and of its children that have ended (proc(5))."""
    return sum(map(int, stat(pid)[11:15])) / TICK


def own_children() -> float:
    """Return the CPU seconds of the programs that were run here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def fill(running: Node, objects: int) -> None:
    """Put objects through S3, each signed in its URL."""
    door = running.connect("files", "bench")
    url = urlsplit(door["url"])
    host = url.netloc
    for number in range(objects):
        body = os.urandom(OBJECT_BYTES) if number % 2 else lines(number)
        credential = (door["access_key"], door["secret_key"])
        path = sigv4.presign(
            "PUT",
            host,
            f"{url.path}/{door['bucket']}/{number}",
            credential,
            SystemClock().now(),
            600,
        )
        connection = http.client.HTTPConnection(host, timeout=60)
        connection.request("PUT", path, body)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
        connection.close()


def lines(seed: int) -> bytes:
    """Return lines of JSON as a machine would log them."""
    start = seed * 10**6
    row = '{"at": %d, "host": "m%d", "load": %.2f}\n'
    count = OBJECT_BYTES // 36
    made = "".join(row % (start + at, at % 97, at % 1013 / 100) for at in range(count))
    return made.encode()[:OBJECT_BYTES]


def only_branch(home: Path) -> Path:
    """Return the directory of the only branch."""
    (found,) = [each for each in (home / "volume").iterdir() if each.name.isalnum()]
    return found


def tree_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())
