"""What every driver of a volume owes: create, clone and delete branches, whatever happens.

A branch appears under its name at once and whole, or not at all: it is made under a temporary name,
flushed, and renamed. What a crash left half-made or half-deleted is removed when the volume is
opened. All calls block; the node makes them in threads. One node uses a volume at a time.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from skerry.kernel.errors import (
    ALREADY_EXISTS,
    DISK_FULL,
    INVALID,
    NOT_FOUND,
    STORE_UNREACHABLE,
)
from skerry.node.volume import encryption, extents
from skerry.node.volume.tree import Immutable, all_mutable

Progress = Callable[[int, int], None]
"""Told how many bytes of how many are cloned; it may be called from several threads."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_MAKING = ".making-"
_DELETING = ".deleting-"
_BRANCH_MODE = 0o711


class Volume(ABC):
    """Branches in one directory.

    `atomic`: a clone is of one instant, even if the source is written to meanwhile.
    `shares_blocks`: a clone takes no room until it or its source changes.
    """

    driver: ClassVar[str]
    atomic: ClassVar[bool]
    shares_blocks: ClassVar[bool]

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for prefix in (_MAKING, _DELETING):
            for left in directory.glob(f"{prefix}*"):
                self._discard(left)

    def path(self, name: str) -> Path:
        """Return where the branch lies, or would lie. Raises INVALID."""
        if not _NAME.fullmatch(name):
            raise INVALID(f"{name!r} cannot name a branch directory.")
        return self.directory / name

    def names(self) -> list[str]:
        """Return the branches that are there."""
        return sorted(each.name for each in self.directory.iterdir() if _NAME.fullmatch(each.name))

    def create(self, name: str, key: bytes | None = None) -> Path:
        """Make an empty branch, encrypted under the key of an identifier if one is given.

        Raises ALREADY_EXISTS, DISK_FULL.
        """
        with self._making(name) as unfinished:
            self._make(unfinished)
            unfinished.chmod(_BRANCH_MODE)
            if key is not None:
                encryption.protect(unfinished, key)
        return self.path(name)

    def clone(
        self,
        source: str,
        target: str,
        *,
        immutable: Immutable = all_mutable,
        progress: Progress | None = None,
        copied: Callable[[], None] | None = None,
        key: bytes | None = None,
    ) -> Path:
        """Make `target` a copy of `source`; when it returns, the copy survives a loss of power.

        `immutable` tells which directories hold files that never change; a driver that copies file
        by file shares those by hard link. `copied` is called as soon as the source may change
        again, before the copy is flushed. A copy is encrypted under the key of the identifier that
        is given, else under that of its source. Raises NOT_FOUND, ALREADY_EXISTS, DISK_FULL, and
        STORE_UNREACHABLE while a key is locked.
        """
        origin = self._existing(source)
        with self._making(target) as unfinished:
            self._copy(origin, unfinished, immutable, progress or _silent, key)
            if copied is not None:
                copied()
            self._flush(unfinished)
        return self.path(target)

    def delete(self, name: str) -> None:
        """Remove a branch; its clones and its source stay as they are. Raises NOT_FOUND."""
        doomed = self.directory / f"{_DELETING}{name}"
        if doomed.exists():
            self._discard(doomed)
        self._existing(name).rename(doomed)
        fsync_directory(self.directory)
        self._discard(doomed)

    def sync(self) -> None:
        """Bring all that was written to the disk."""
        os.sync()

    def exclusive_bytes(self, name: str) -> int:
        """Return about how many bytes deleting the branch would free; it reads every extent."""
        return extents.exclusive_bytes(self._existing(name))

    @abstractmethod
    def _make(self, path: Path) -> None:
        """Make an empty branch directory."""

    @abstractmethod
    def _copy(
        self,
        source: Path,
        path: Path,
        immutable: Immutable,
        progress: Progress,
        key: bytes | None = None,
    ) -> None:
        """Copy a branch directory, under a key of its own if one is given."""

    @abstractmethod
    def _flush(self, path: Path) -> None:
        """Bring a copied branch to the disk."""

    def _discard(self, path: Path) -> None:
        """Remove a directory that is no branch any more."""
        remove_tree(path)

    def _existing(self, name: str) -> Path:
        path = self.path(name)
        if not path.is_dir():
            raise NOT_FOUND(f"There is no branch directory {name} in {self.directory}.")
        return path

    @contextmanager
    def _making(self, name: str) -> Iterator[Path]:
        """Yield a temporary path, which gets its name if the block succeeds and else disappears."""
        path = self.path(name)
        if path.exists():
            raise ALREADY_EXISTS(f"There is a branch directory {name} in {self.directory} already.")
        unfinished = self.directory / f"{_MAKING}{name}"
        try:
            yield unfinished
            unfinished.rename(path)
            fsync_directory(self.directory)
        except BaseException as error:
            if unfinished.exists():
                self._discard(unfinished)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                free = shutil.disk_usage(self.directory).free
                raise DISK_FULL(
                    f"The volume {self.directory} has no room for the branch {name}.",
                    why=f"{free // 2**20} MiB are free; nothing was left behind.",
                    hint="Delete branches that nobody needs, or enlarge the volume.",
                ) from error
            if isinstance(error, OSError) and error.errno == errno.ENOKEY:
                raise STORE_UNREACHABLE(
                    "The state is encrypted, and its key is locked.", hint="skerry keys unlock"
                ) from error
            raise


def fsync_directory(path: Path) -> None:
    """Bring names that were made, renamed or removed in a directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_tree(path: Path) -> None:
    """Remove a directory, also where an ordinary user made folders of it read-only."""
    try:
        shutil.rmtree(path)
    except PermissionError:
        for folder, names, _ in os.walk(path):
            for each in (folder, *(os.path.join(folder, name) for name in names)):  # noqa: PTH118
                if not os.path.islink(each):  # noqa: PTH114
                    os.chmod(each, 0o700)  # noqa: PTH101
        shutil.rmtree(path)


def _silent(_done: int, _total: int) -> None:
    """Report to nobody."""
