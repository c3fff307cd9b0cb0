"""The pages of memory that a forked process is about to write, copied before it needs them.

A forked process shares every page with its parent until one of the two writes to it. That first
write is a fault and a copy, and hundreds of them are most of what a process of a cell spends until
it serves. The next process will write to the same pages, because it has the same addresses and runs
the same code; so one that is forked ahead of need copies what an earlier one wrote.

Source: proc_pid_pagemap(5), bits 56 (mapped once only) and 63 (present); madvise(2),
MADV_POPULATE_WRITE (Linux 5.14).
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path

PAGES_MAX = 4096
"""Whoever wrote to more pages than this has done more than to begin."""

_LOOKED_AT_MAX = 1 << 17
"""512 MiB; what lies above is left to the first write."""
_ENTRY_BYTES = 8
_OWN = 1 << 63 | 1 << 56
_POPULATE_WRITE = 23

Span = tuple[int, int]
"""An address and a length in bytes."""


def written_by(pid: int) -> list[Span]:
    """Return which pages of this process a forked one has written to: those it has for itself.

    Nothing is returned for one that has ended, that may not be looked at, or that wrote very much.
    """
    if sys.platform != "linux":
        return []
    try:
        pages = list(_written(pid))
    except (OSError, EOFError):
        return []
    return _spans(pages) if len(pages) <= PAGES_MAX else []


def copy_ahead(spans: list[Span]) -> None:
    """Make pages this process's own; a kernel that cannot leaves them to the first write."""
    if not spans:
        return
    madvise = ctypes.CDLL(None).madvise
    for address, length in spans:
        madvise(ctypes.c_void_p(address), ctypes.c_size_t(length), _POPULATE_WRITE)


def _written(pid: int) -> Iterator[int]:
    left = _LOOKED_AT_MAX
    with Path(f"/proc/{pid}/pagemap").open("rb", buffering=0) as map_file:
        for start, end in _regions():
            first, count = start // mmap.PAGESIZE, (end - start) // mmap.PAGESIZE
            left -= count
            if left < 0:
                return
            map_file.seek(first * _ENTRY_BYTES)
            entries = array("Q", map_file.read(count * _ENTRY_BYTES))
            yield from (first + at for at, entry in enumerate(entries) if entry & _OWN == _OWN)


def _regions() -> Iterator[Span]:
    """Yield where this process has memory of its own to write to, as begin and end."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, rights = line.split(maxsplit=2)[:2]
        if rights == "rw-p":
            start, _, end = span.partition("-")
            yield int(start, 16), int(end, 16)


def _spans(pages: list[int]) -> list[Span]:
    """Join neighbours of an ascending list of page numbers."""
    spans: list[Span] = []
    for page in pages:
        address = page * mmap.PAGESIZE
        if spans and sum(spans[-1]) == address:
            spans[-1] = (spans[-1][0], spans[-1][1] + mmap.PAGESIZE)
        else:
            spans.append((address, mmap.PAGESIZE))
    return spans
