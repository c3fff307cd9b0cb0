"""What this machine has, measured and not asked: nothing is paid for what is only claimed."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path

from skerry.market.core.messages import Capacity
from skerry.node.gpus import Gpus

BENCHMARK_SECONDS = 0.2
BENCHMARK_BLOCK_BYTES = 64 * 1024
KEPT_FREE = 10
"""Percent of memory and disk that are never offered: the node needs them itself."""


def measure(
    directory: Path,
    monotonic: Callable[[], float],
    share_percent: int = 100 - KEPT_FREE,
    gpus: Gpus | None = None,
) -> Capacity:
    """Measure the machine; takes `BENCHMARK_SECONDS` of one core. Not for an event loop."""
    found = (gpus or Gpus()).for_workloads()
    return Capacity(
        cpu_milli=int(_cores() * 1000),
        memory_bytes=_memory_bytes() * share_percent // 100,
        storage_bytes=shutil.disk_usage(directory).free * share_percent // 100,
        gpu_units=len(found),
        gpu_model=found[0].model if found else "",
        cpu_score=cpu_score(monotonic),
    )


def cpu_score(monotonic: Callable[[], float]) -> int:
    """Return the MiB that one core hashes in a second with SHA-256: the best of three runs."""
    block = bytes(BENCHMARK_BLOCK_BYTES)
    best = 0.0
    for _ in range(3):
        start, done = monotonic(), 0
        while (spent := monotonic() - start) < BENCHMARK_SECONDS / 3:
            hashlib.sha256(block).digest()
            done += BENCHMARK_BLOCK_BYTES
        best = max(best, done / spent)
    return int(best / (1 << 20))


def machine() -> str:
    """Return the machine's architecture by Akash's names."""
    name = platform.machine().lower()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(name, name)


def _cores() -> float:
    """Return the cores that this process may use: its affinity, and its cgroup's quota."""
    usable = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.exists():
        limit, _, period = quota.read_text().partition(" ")
        if limit != "max":
            usable = min(usable, int(limit) / int(period))
    return usable


def _memory_bytes() -> int:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.exists():
        text = limit.read_text().strip()
        if text != "max":
            total = min(total, int(text))
    return total
