"""Content files: written once under a temporary name, then linked to the name of their SHA-256.

A file under `blobs` never changes, so branches may share it by hard link. It is durable, and so is
its directory entry, before the database refers to it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
from pathlib import Path

from skerry.kernel.clock import SystemEntropy
from skerry.kernel.errors import BUSY
from skerry.kernel.journal import journal_of

BLOBS = "blobs"
INCOMING = "incoming"


class Incoming:
    """A content file while it is written; `place` or `discard` ends it."""

    def __init__(self, folder: Path) -> None:
        self._path, self._file = _create(folder)
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes; raise BUSY if the disk is full."""
        self._hash.update(data)
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise BUSY("The disk is full.", hint="Free space, then try again.") from error
            raise
        self.size += len(data)

    def sync(self) -> bytes:
        """Make the bytes durable and return their digest."""
        os.fsync(self._file)
        return self._hash.digest()

    def discard(self) -> None:
        """Remove the temporary file; harmless if it is gone."""
        if self._file >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = -1

    @property
    def path(self) -> Path:
        """The temporary name."""
        return self._path


def _create(folder: Path) -> tuple[Path, int]:
    """Make a file and lock it; again, if a sweep took it before it was locked."""
    while True:
        path = folder / SystemEntropy().bytes(16).hex()
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file).st_nlink:
            return path, file
        os.close(file)


class Blobs:
    """The content files of one resource."""

    def __init__(self, directory: Path) -> None:
        self._blobs = directory / BLOBS
        self._incoming = directory / INCOMING

    def prepare(self) -> None:
        """Make the folders."""
        self._blobs.mkdir(exist_ok=True)
        self._incoming.mkdir(exist_ok=True)

    def path(self, digest: bytes) -> Path:
        """Return where the content of that digest lies."""
        name = digest.hex()
        return self._blobs / name[:2] / name

    def receive(self) -> Incoming:
        """Start a content file."""
        return Incoming(self._incoming)

    def place(self, incoming: Incoming, digest: bytes) -> None:
        """Give a synced file its name for good; it may have been there already."""
        target = self.path(digest)
        try:
            self._link(incoming.path, target)
        except FileNotFoundError:
            target.parent.mkdir(exist_ok=True)
            _sync(self._blobs)
            self._link(incoming.path, target)
        _sync(target.parent)
        journal_of(target).announce(target)

    def present(self, digest: bytes) -> bool:
        """Tell whether the content is there."""
        return self.path(digest).exists()

    def open(self, digest: bytes) -> int:
        """Open a content for reading; raise FileNotFoundError."""
        return os.open(self.path(digest), os.O_RDONLY | os.O_CLOEXEC)

    def remove(self, digest: bytes) -> None:
        """Remove a content that nothing refers to; the caller holds the database's write lock."""
        path = self.path(digest)
        path.unlink(missing_ok=True)
        journal_of(path).removed(path)

    def folders(self) -> list[Path]:
        """Return the folders that hold contents."""
        return sorted(each for each in self._blobs.iterdir() if each.is_dir())

    def sweep_incoming(self) -> int:
        """Remove temporary files whose writer is gone, in whatever process it was; count them."""
        removed = 0
        for path in self._incoming.iterdir():
            with contextlib.suppress(FileNotFoundError, BlockingIOError):
                file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink(missing_ok=True)
                    removed += 1
                finally:
                    os.close(file)
        return removed

    @staticmethod
    def _link(source: Path, target: Path) -> None:
        with contextlib.suppress(FileExistsError):
            os.link(source, target)


def _sync(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
