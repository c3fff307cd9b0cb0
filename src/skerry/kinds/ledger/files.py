"""Durable files: what the ledger's log and snapshots both need."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from skerry.kernel.journal import journal_of


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
    with partial.open("wb") as file:
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    sync_directory(path.parent)
    journal_of(path).announce(path)


def remove(path: Path) -> None:
    """Remove a file, here and where the ledger is followed; its directory is not synced."""
    path.unlink()
    journal_of(path).removed(path)
