"""Counters in shared memory: a process adds, the node reads, and `kill -9` loses nothing.

A counter file holds one unsigned 64-bit integer (native order) for every unit of its resource's
kind, in the order of the manifest. Its name tells who counted what: `meter-<process>-<resource
id>`.
"""

from __future__ import annotations

import mmap
import os
import stat
import struct
from collections.abc import Sequence
from pathlib import Path

_WORD = struct.Struct("=Q")
PREFIX = "meter-"
COUNT_MAX = 1 << 50
"""More than any process counts; sums of such counters stay well within 64 bits."""


class FileMeter:
    """A `Meter` whose counters live in a file."""

    def __init__(self, path: Path, units: Sequence[str]) -> None:
        size = max(len(units), 1) * _WORD.size
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, size)
            self._memory = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        self._words = memoryview(self._memory).cast("Q")
        self._places = {unit: place for place, unit in enumerate(units)}

    def add(self, unit: str, amount: int = 1) -> None:
        """See `Meter.add`."""
        self._words[self._places[unit]] += amount


def file_name(process: str, resource_id: str) -> str:
    """Return the name of the counter file of a process for a resource."""
    return f"{PREFIX}{process}-{resource_id}"


def parse_file_name(name: str) -> tuple[str, str] | None:
    """Return (process, resource id) of a counter file's name."""
    parts = name.removeprefix(PREFIX).split("-")
    return (parts[0], parts[1]) if name.startswith(PREFIX) and len(parts) == 2 else None


def read_counters(path: Path, units: Sequence[str]) -> dict[str, int]:
    """Return the counters of a file; a shorter file reads as zeros.

    The process that counts can put anything in the place of its file: what is no plain file, or
    counts more than any process can, raises OSError, and nothing here waits or reads on for ever.
    """
    size = len(units) * _WORD.size
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path.name} is no plain file")
        data = os.read(descriptor, size)
    finally:
        os.close(descriptor)
    data += bytes(size - len(data))
    counters = dict(zip(units, (word for (word,) in _WORD.iter_unpack(data)), strict=True))
    if any(count > COUNT_MAX for count in counters.values()):
        raise OSError(f"{path.name} counts more than is possible")
    return counters
