"""What a node itself holds of the machine's memory, and how it gives back what lies idle.

glibc keeps what was freed for the next who asks. A node that started, or whose branches have all
gone to sleep, does not need it: it would only count as its own. Other C libraries are left alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
from collections.abc import Callable, Iterable
from pathlib import Path

CALM_SECONDS = 10.0
"""How long after something ended it is looked whether all sleeps."""

_M_ARENA_MAX = -8

_libc = ctypes.CDLL(None)


def keep_in_one() -> None:
    """Let all threads take their memory from one arena; to be called before there are any.

    glibc gives each thread an arena of its own, up to eight for every core. A node's threads take
    turns, so that they gain nothing by it, and each arena keeps the most that any of its threads
    ever needed: what a thousand branches are copied with would be held many times over.
    """
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Give free memory back; takes a millisecond, or more where much was freed: not in the loop."""
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)


def own_bytes() -> int:
    """Return the resident memory of this process; 0 where it cannot be read."""
    try:
        fields = Path("/proc/self/statm").read_text().split()
    except FileNotFoundError:
        return 0
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def held_bytes(processes: Iterable[int]) -> int:
    """Return the memory of processes, of what several share a part each; 0 where it is not told.

    Reading it takes some milliseconds.
    """
    total = 0
    for each in processes:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


class Frugality:
    """Gives memory back some time after what needed much of it: once, however often that was."""

    def __init__(self, is_idle: Callable[[], bool]) -> None:
        self._is_idle = is_idle
        self._is_due = False
        self._timer: asyncio.TimerHandle | None = None

    def ended(self) -> None:
        """Note that a process has ended: if it was the last, much is free."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(CALM_SECONDS, self._look)

    def copied(self) -> None:
        """Note that a directory was copied: what a list of its files took is free, awake or not.

        No process needs to end for it, and many copies leave more than one.
        """
        self._is_due = True
        self.ended()

    def _look(self) -> None:
        self._timer = None
        if self._is_due or self._is_idle():
            self._is_due = False
            asyncio.get_running_loop().run_in_executor(None, give_back)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
