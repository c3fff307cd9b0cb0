"""Durable files: what the ledger's log and snapshots both need."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from skerry.kernel.journal import journal_of

DIRECT_BYTES = 1 << 20
"""How much of a large part goes to the disk at a time, past the page cache."""


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_durably(path: Path, parts: Iterable[bytes]) -> None:
    """Write a file that is there whole or not at all, even after a power cut."""
    partial = path.with_name(f".{path.name}.partial")
    # What a crash left may be shared with a branch, which must not see it change.
    partial.unlink(missing_ok=True)
    with partial.open("wb", buffering=0) as file:
        for part in parts:
            _write(file.fileno(), memoryview(part))
        os.fsync(file.fileno())
    partial.rename(path)
    sync_directory(path.parent)
    journal_of(path).announce(path)


def _write(file: int, part: memoryview) -> None:
    """Write a part at the end of a file: what is large and aligned not by way of the page cache.

    Nobody reads it soon, and copying it there costs more than all rules of its transfers.
    """
    at = 0
    if len(part) >= DIRECT_BYTES and os.lseek(file, 0, os.SEEK_CUR) % mmap.PAGESIZE == 0:
        with contextlib.suppress(OSError), _past_the_cache(file), _aligned() as buffer:
            # A file system that cannot do this refuses before anything is written.
            while len(part) - at >= DIRECT_BYTES:
                buffer[:] = part[at : at + DIRECT_BYTES]
                at += os.write(file, buffer)
                if at % mmap.PAGESIZE:
                    break
    while at < len(part):
        at += os.write(file, part[at:])


@contextlib.contextmanager
def _aligned() -> Iterator[memoryview]:
    """Give memory that begins with a page."""
    with mmap.mmap(-1, DIRECT_BYTES) as memory, memoryview(memory) as view:
        yield view


@contextlib.contextmanager
def _past_the_cache(file: int) -> Iterator[None]:
    """Let writes to a file go to the disk itself; raises OSError where that cannot be."""
    flags = fcntl.fcntl(file, fcntl.F_GETFL)
    fcntl.fcntl(file, fcntl.F_SETFL, flags | getattr(os, "O_DIRECT", 0))
    try:
        yield
    finally:
        fcntl.fcntl(file, fcntl.F_SETFL, flags)


def remove(path: Path) -> None:
    """Remove a file, here and where the ledger is followed; its directory is not synced."""
    path.unlink()
    journal_of(path).removed(path)
