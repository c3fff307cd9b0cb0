"""A power cut for files: what was written and not synced may be gone, whole, in part or not at all.

`PowerCut` watches the writes of this process below one folder. At the cut, each write since the
last sync of its file is kept, undone, or kept up to some byte, by chance, in any combination; a
file whose name was never made durable may be gone. That is what a disk with a cache does, and more
than any one file system does.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

KEEP, UNDO, TEAR = "keep", "undo", "tear"


@dataclass
class _Write:
    """One write that is not durable: what lay there before, and how long the file was."""

    path: Path
    offset: int
    old: bytes
    new: bytes
    size_before: int


@dataclass
class PowerCut:
    """Notes what is not durable below a folder, until the cut."""

    folder: Path
    chance: random.Random
    _writes: list[_Write] = field(default_factory=list)
    _made: set[Path] = field(default_factory=set)
    _paths: dict[int, Path] = field(default_factory=dict)
    syncs: int = 0

    @contextlib.contextmanager
    def watching(self) -> Iterator[PowerCut]:
        """Watch the file calls of this process while the block runs."""
        calls: dict[str, Callable[..., Any]] = {
            "open": self._open,
            "pwrite": self._pwrite,
            "ftruncate": self._ftruncate,
            "fdatasync": self._sync,
            "fsync": self._sync,
            "close": self._close,
        }
        self._real = {name: getattr(os, name) for name in calls}
        with contextlib.ExitStack() as stack:
            for name, call in calls.items():
                stack.enter_context(mock.patch.object(os, name, call))
            yield self

    def _open(self, path: Any, flags: int, *more: Any, **named: Any) -> int:
        found = Path(os.fsdecode(path)) if isinstance(path, str | bytes | os.PathLike) else None
        is_new = bool(found and flags & os.O_CREAT and not found.exists())
        descriptor: int = self._real["open"](path, flags, *more, **named)
        if found is not None and found.is_relative_to(self.folder):
            self._paths[descriptor] = found
            if is_new:
                self._made.add(found)
        return descriptor

    def _close(self, descriptor: int) -> None:
        self._paths.pop(descriptor, None)
        self._real["close"](descriptor)

    def _note(self, descriptor: int, offset: int, new: bytes) -> None:
        path = self._paths.get(descriptor)
        if path is None:
            return
        whole = path.read_bytes()
        old = whole[offset : offset + len(new)] if new else whole[offset:]
        self._writes.append(_Write(path, offset, old, new, len(whole)))

    def _pwrite(self, descriptor: int, data: Any, offset: int) -> int:
        self._note(descriptor, offset, bytes(data))
        written: int = self._real["pwrite"](descriptor, data, offset)
        return written

    def _ftruncate(self, descriptor: int, length: int) -> None:
        self._note(descriptor, length, b"")
        self._real["ftruncate"](descriptor, length)

    def _sync(self, descriptor: int) -> None:
        """Count what was written to a file as durable; the disk itself need not be waited for."""
        self.syncs += 1
        path = self._paths.get(descriptor)
        if path is None:
            return
        if path.is_dir():
            self._made = {each for each in self._made if each.parent != path}
        self._writes = [each for each in self._writes if each.path != path]

    def cut(self) -> None:
        """Leave on the disk what a power cut now would leave."""
        for write in reversed(self._writes):
            fate = self.chance.choice((KEEP, UNDO, UNDO, TEAR))
            if fate == KEEP or not write.path.exists():
                continue
            kept = self.chance.randrange(len(write.new) + 1) if fate == TEAR else 0
            _undo(write, kept)
        for path in self._made:
            if self.chance.random() < 0.5:
                path.unlink(missing_ok=True)
        self._writes, self._made = [], set()


def _undo(write: _Write, kept: int) -> None:
    """Put back what a write replaced, but for its first bytes."""
    data = bytearray(write.path.read_bytes())
    end = write.offset + max(len(write.new), len(write.old))
    before = write.new[:kept] + write.old[kept:]
    data[write.offset : end] = before
    del data[max(write.size_before, write.offset + kept) :]
    write.path.write_bytes(bytes(data))
