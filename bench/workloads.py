"""From an order to a running process, in every class of isolation, beside a plain subprocess."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from harness import Options, Report, Table, clock, interleave, median, percentile, say, times

from skerry.kernel.clock import SystemClock, SystemEntropy
from skerry.node.home import Home
from skerry.node.sandbox.cgroup import detect
from skerry.node.workload import Restart, WorkloadSpec
from skerry.node.workload.importing import Importer
from skerry.node.workload.spec import MIB
from skerry.node.workload.supervisor import Workloads

ABOUT = (
    "A program that says one word. *Running* is when `run` has returned: the order is durable, "
    "its disk is made, its limits are set and its process runs. *First word* is when the word was "
    "read. The peer is Python's own `subprocess` without any isolation, in turns in the same run. "
    "For `wasm` the program is a module that was compiled when it was imported."
)
AIM_MS = 100.0
MODULE = b"""
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 8) "word\\n")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 8))
    (i32.store (i32.const 4) (i32.const 5))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 20)))))
"""
Times = tuple[float, float]


def measure(options: Options) -> Report:
    """Measure every class that this machine has."""
    report = Report(ABOUT)
    rounds = options.pick(5, 40, 200)
    with tempfile.TemporaryDirectory(prefix="skerry-bench-") as folder, asyncio.Runner() as runner:
        Path(folder).chmod(0o711)
        workloads = runner.run(_open(Path(folder) / "home"))
        try:
            ways: dict[str, Callable[[], Times]] = {"subprocess": _plain}
            for name in _classes(runner, workloads, report):
                ways[name] = partial(_one, runner, workloads, name)
                # The first order also starts the process that keepers come from.
                ways[name]()
            say(f"{rounds} orders of {', '.join(ways)}")
            found = interleave(ways, rounds)
        finally:
            runner.run(_close(workloads))
    table = Table(("class", "running p50 ms", "first word p50 ms", "p95 ms", "to subprocess"))
    plain = median(first for _, first in found["subprocess"])
    for name, pairs in found.items():
        ran, first = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        table.add(
            name,
            median(ran),
            median(first),
            percentile(first, 0.95),
            times(median(first), plain),
        )
    report.tables.append(table)
    if "bwrap" in found:
        reached = median(ran for ran, _ in found["bwrap"])
        verdict = "is reached" if reached < AIM_MS else "is missed"
        report.notes.append(f"The aim of {AIM_MS:.0f} ms for bwrap {verdict}: {reached:.0f} ms.")
    report.data = {"milliseconds": found}
    return report


async def _open(root: Path) -> Workloads:
    home = Home(root)
    home.create(SystemEntropy())
    workloads = Workloads(home=home, cgroups=detect(), clock=SystemClock(), entropy=SystemEntropy())
    await workloads.start()
    return workloads


async def _close(workloads: Workloads) -> None:
    for each in await workloads.list():
        await workloads.remove(each.id)
    await workloads.stop()


def _classes(runner: asyncio.Runner, workloads: Workloads, report: Report) -> list[str]:
    found = []
    for each in runner.run(workloads.classes()):
        if each.available:
            found.append(each.name)
        else:
            report.skip(f"class {each.name}", each.why)
    if "wasm" in found:
        from wasmtime import wat2wasm  # noqa: PLC0415 (an extra)

        path = workloads.images.root.with_name("word.wasm")
        path.write_bytes(wat2wasm(MODULE.decode()))
        Importer(workloads.images, SystemClock()).archive("word", path)
    return found


def _one(runner: asyncio.Runner, workloads: Workloads, isolation: str) -> Times:
    return runner.run(_order(workloads, isolation))


_numbers = itertools.count()


async def _order(workloads: Workloads, isolation: str) -> Times:
    """Order one program; return the milliseconds until it ran, and until its word was read."""
    is_module = isolation == "wasm"
    spec = WorkloadSpec(
        image="word" if is_module else "host",
        command=() if is_module else ("/bin/echo", "word"),
        isolation=isolation,
        memory_bytes=64 * MIB,
        disk_bytes=16 * MIB,
        restart=Restart.NEVER,
    )
    name = f"bench-{next(_numbers)}"
    began, began_at = clock(), time.time_ns()
    await workloads.run(spec, name)
    ran = (clock() - began) * 1000
    first = 0.0
    while not first:
        async for line in workloads.logs(name):
            first = (line.time - began_at) / 1e6
            break
        await asyncio.sleep(0.002)
    await workloads.remove(name)
    return ran, first


def _plain() -> Times:
    """Start the same program without any isolation."""
    began = clock()
    with subprocess.Popen(["/bin/echo", "word"], stdout=subprocess.PIPE) as process:
        ran = (clock() - began) * 1000
        assert process.stdout is not None
        assert process.stdout.readline() == b"word\n"
        first = (clock() - began) * 1000
    return ran, first
