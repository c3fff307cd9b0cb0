"""CPU time of short commands, beside a Python that does nothing and beside another cloud's CLI."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from harness import Options, Report, Table, interleave, median, peers, say, times

from node import node

BUDGETS_MS = {"skerry --version": 60, "skerry --help": 80, "skerry status": 150}


def measure(options: Options) -> Report:
    """Run each command several times in turns; report the median of user and system time."""
    report = Report(
        "CPU time (user and system) of one run of a command from a warm disk cache, median. The "
        "floor is `python -c pass` with the same interpreter."
    )
    skerry = Path(sys.executable).with_name("skerry")
    with node() as made:
        home = {**os.environ, "SKERRY_HOME": str(made.home.root)}
        ways = {
            "python -c pass": spent([sys.executable, "-c", "pass"], home),
            "skerry --version": spent([skerry, "--version"], home),
            "skerry --help": spent([skerry, "--help"], home),
            "skerry status": spent([skerry, "status"], home),
        }
        try:
            aws = peers("awscli", "awscli") / "aws"
            ways["aws --version"] = spent([aws, "--version"], home)
        except (OSError, subprocess.SubprocessError) as error:
            report.skip("aws --version", f"awscli could not be installed: {error}")
        say(f"{len(ways)} commands")
        for way in ways.values():
            way()
        found = interleave(ways, options.pick(3, 9))
    table = Table(("command", "CPU ms", "of `python -c pass`", "budget ms"))
    floor = median(found["python -c pass"])
    for name, values in found.items():
        middle = median(values)
        table.add(f"`{name}`", middle, times(middle, floor), BUDGETS_MS.get(name, "n/a"))
    report.tables.append(table)
    report.data = {"cpu_ms": found}
    return report


def spent(argv: Sequence[str | Path], environment: dict[str, str]) -> Callable[[], float]:
    """Return what runs a command and tells the CPU milliseconds that it took."""

    def run() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(argv, check=True, capture_output=True, env=environment, timeout=60)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return 1000 * (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)

    return run
