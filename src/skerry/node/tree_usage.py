"""CPU time and memory of process trees, read from /proc where there are no cgroups."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def tree_usage(roots: Iterable[int]) -> dict[int, tuple[int, int]]:
    """Return (CPU milliseconds, resident bytes) of each process with all that descends from it.

    CPU includes children that ended and were waited for. Fields are those of proc_pid_stat(5).
    """
    wanted = set(roots)
    parents: dict[int, int] = {}
    used: dict[int, tuple[int, int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        pid = int(entry.name)
        parents[pid] = int(fields[1])
        ticks = sum(int(fields[place]) for place in (11, 12, 13, 14))
        used[pid] = (ticks * 1000 // _TICKS_PER_SECOND, int(fields[21]) * _PAGE_BYTES)
    totals = dict.fromkeys(wanted, (0, 0))
    for pid, (cpu_ms, memory_bytes) in used.items():
        root = _root(pid, parents, wanted)
        if root is not None:
            total_cpu, total_memory = totals[root]
            totals[root] = (total_cpu + cpu_ms, total_memory + memory_bytes)
    return totals


def _root(pid: int, parents: dict[int, int], wanted: set[int]) -> int | None:
    for _ in range(64):
        if pid in wanted:
            return pid
        if pid not in parents:
            return None
        pid = parents[pid]
    return None
