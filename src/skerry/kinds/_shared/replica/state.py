"""The replica of state that is made of plain files and SQLite databases.

A database changes through its write-ahead log alone, for which `sqlite_state` sees: the log is
copied byte by byte, and folded into the copied database where the other one starts it over.
"""

from __future__ import annotations

import contextlib
import os
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from skerry.kernel.disk import sync_filesystem
from skerry.kernel.errors import CONFLICT, INVALID
from skerry.kernel.replica import LATER, REMOVE, WRITE, Change, Mark, Replica
from skerry.kinds._shared.replica.inside import open_inside
from skerry.kinds._shared.replica.write_ahead import (
    HEADER_BYTES,
    LogReader,
    fold,
    last_commit,
)

LOG = "-wal"
INDEX = "-shm"
BLOCK_BYTES = 1 << 20
FILES_MAX = 10_000
"""Of how many files it is remembered how far they were read; others are sent from their start."""


_MANY_FILES = 32
"""From so many on, writing out the whole file system is cheaper than file by file."""


class StateReplica(Replica):
    """Copies files as they grow, and SQLite's logs as they come round.

    `folder` is the only one whose marks count, if a kind names one.
    """

    folder = ""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._ends: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._logs: dict[str, LogReader] = {}
        self._unsynced: set[str] = set()
        self._new: set[Path] = set()
        self._known = {
            path.relative_to(directory).as_posix()
            for path in self._top.rglob(f"*{LOG}")
            if path.is_file() and not path.is_symlink()
        } | self._databases()

    def changes(self, path: str, *, replaced: bool = False) -> Iterator[Change]:
        """See `Replica.changes`."""
        if path.endswith(INDEX):
            return
        try:
            file = open_inside(self.directory, path, os.O_RDONLY)
        except (FileNotFoundError, NotADirectoryError):
            self._ends.pop(path, None)
            yield Change(path, REMOVE)
            return
        try:
            if path.endswith(LOG):
                yield from self._log_changes(path, file)
            else:
                yield from self._file_changes(path, file, replaced=replaced)
        finally:
            os.close(file)

    def _file_changes(self, path: str, file: int, *, replaced: bool) -> Iterator[Change]:
        status = os.fstat(file)
        inode, begin = self._ends.get(path, (status.st_ino, 0))
        end = status.st_size
        if replaced or begin > end or inode != status.st_ino:
            # What took the place of a file under its name is another file.
            begin = 0
        for at in range(begin, max(end, begin + 1), BLOCK_BYTES):
            size = min(BLOCK_BYTES, end - at)
            ends = at + size >= end
            if end - begin > BLOCK_BYTES:
                yield Change(path, LATER, at, ends=ends, size=size)
            else:
                yield Change(path, WRITE, at, os.pread(file, size, at), ends=ends)
        self._ends[path] = status.st_ino, end
        self._ends.move_to_end(path)
        if len(self._ends) > FILES_MAX:
            self._ends.popitem(last=False)

    def load(self, change: Change) -> Change:
        """See `Replica.load`."""
        if change.what != LATER:
            return change
        try:
            file = open_inside(self.directory, change.path, os.O_RDONLY)
        except (FileNotFoundError, NotADirectoryError):
            return Change(change.path, REMOVE)
        try:
            data = os.pread(file, change.size, change.offset)
        finally:
            os.close(file)
        return Change(change.path, WRITE, change.offset, data, ends=change.ends)

    def _log_changes(self, path: str, file: int) -> Iterator[Change]:
        database = path.removesuffix(LOG)
        if path not in self._known and database not in self._known:
            yield from self.changes(database, replaced=True)
        self._known |= {path, database}
        reader = self._logs.setdefault(path, LogReader())
        for at, data in reader.read(file):
            yield Change(path, WRITE, at, data)

    def apply(self, change: Change) -> None:
        """See `Replica.apply`."""
        if change.what == REMOVE:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.close(open_inside(self.directory, change.path, os.O_RDONLY))
                (self.directory / change.path).unlink()
            return
        if change.what != WRITE:
            raise INVALID(f"A change cannot {change.what[:40]!r}.")
        place = self.directory / change.path
        if not place.exists():
            self._new.add(place.parent)
        if change.path.endswith(LOG):
            self._check_database(change.path)
        file = open_inside(self.directory, change.path, os.O_RDWR | os.O_CREAT, make=True)
        try:
            if change.path.endswith(LOG):
                self._start_over(change, file)
            _write(file, change.data, change.offset)
            if change.ends:
                os.ftruncate(file, change.offset + len(change.data))
        finally:
            os.close(file)
        self._unsynced.add(change.path)

    def _check_database(self, path: str) -> None:
        """Raise CONFLICT if a log came whose database did not."""
        database = self.directory / path.removesuffix(LOG)
        if not database.exists() or not database.stat().st_size:
            raise CONFLICT(f"The copy of {database.name} is not there.")

    def _start_over(self, change: Change, file: int) -> None:
        """Fold the log into its database if what comes is the beginning of another one.

        Raises CONFLICT if what came before is not there.
        """
        size = os.fstat(file).st_size
        if change.offset > size:
            raise CONFLICT(f"The copy of {change.path} lacks what came before.")
        if change.offset or not size or os.pread(file, HEADER_BYTES, 0) == change.data[:32]:
            return
        database = open_inside(self.directory, change.path.removesuffix(LOG), os.O_RDWR)
        try:
            fold(file, database)
        finally:
            os.close(database)
        os.ftruncate(file, 0)

    def sync(self) -> None:
        """See `Replica.sync`; many files at once are brought there by one call."""
        if len(self._unsynced) > _MANY_FILES:
            sync_filesystem(self.directory)
            self._unsynced.clear()
            self._new.clear()
            return
        for path in self._unsynced:
            with contextlib.suppress(FileNotFoundError):
                file = open_inside(self.directory, path, os.O_RDONLY)
                try:
                    os.fsync(file)
                finally:
                    os.close(file)
        for folder in self._new:
            file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                os.fsync(file)
            finally:
                os.close(file)
        self._unsynced.clear()
        self._new.clear()

    def marks(self) -> dict[str, Mark]:
        """See `Replica.marks`; a database counts by its log alone."""
        found = {}
        databases = self._databases()
        for path in sorted(self._top.rglob("*")):
            name = path.relative_to(self.directory).as_posix()
            if path.is_symlink() or not path.is_file() or name.endswith(INDEX):
                continue
            if name in databases:
                continue
            if name.endswith(LOG):
                found[name] = self._log_mark(name)
            else:
                found[name] = Mark(path.stat().st_size)
        return found

    @property
    def _top(self) -> Path:
        return self.directory / self.folder

    def _databases(self) -> set[str]:
        """Return the paths of SQLite databases."""
        found = set()
        for path in self._top.rglob("*"):
            if path.is_symlink() or not path.is_file() or path.name.endswith((LOG, INDEX)):
                continue
            with path.open("rb") as file:
                if file.read(16) == b"SQLite format 3\0":
                    found.add(path.relative_to(self.directory).as_posix())
        return found

    def _log_mark(self, path: str) -> Mark:
        file = open_inside(self.directory, path, os.O_RDONLY)
        try:
            start, end = last_commit(file)
        finally:
            os.close(file)
        return Mark(end, start)


def _write(file: int, data: bytes, offset: int) -> None:
    left = memoryview(data)
    while left:
        done = os.pwrite(file, left, offset)
        left, offset = left[done:], offset + done
