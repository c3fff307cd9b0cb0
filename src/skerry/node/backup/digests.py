"""Digests of trees of files: what a restore is compared with, independently of the engine.

The digest of a tree is the SHA-256 over its entries in order of their paths: the path, the sort of
entry, the size and the SHA-256 of the content. Digests of files that have not changed since the
last backup are remembered, so that only what is new is read.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import apsw

WORKERS = 2
_BATCH = 512
_READ_BYTES = 1 << 20
_SCHEMA = """
CREATE TABLE IF NOT EXISTS digest (
    tree TEXT, path BLOB, size INTEGER, mtime INTEGER, sha BLOB, seen INTEGER,
    PRIMARY KEY (tree, path)
) WITHOUT ROWID
"""

OnBytes = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Tree:
    """What a tree holds: its files, their bytes, and the digest of everything."""

    files: int
    bytes: int
    digest: str


@dataclass(frozen=True, slots=True)
class _Entry:
    """One file or link of a tree."""

    path: bytes
    target: bytes
    size: int
    mtime: int
    is_link: bool


class Memory:
    """Digests of files by tree, path, size and time of change; a cache that may be lost."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = self._open()
        self._round = 0

    def _open(self) -> apsw.Connection:
        import apsw  # noqa: PLC0415 (heavy: not before the first backup)

        try:
            return self._connect()
        except apsw.Error:
            self._path.unlink(missing_ok=True)
            return self._connect()

    def _connect(self) -> apsw.Connection:
        import apsw  # noqa: PLC0415 (as above)

        database = apsw.Connection(str(self._path))
        try:
            database.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL")
            database.execute(_SCHEMA)
        except BaseException:
            database.close()
            raise
        return database

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def start(self, tree: str) -> None:
        """Begin to look at a tree: what is not looked at until `finish` is forgotten."""
        self._database.execute("BEGIN")
        found = self._database.execute("SELECT max(seen) FROM digest WHERE tree = ?", (tree,))
        self._round = int(next(iter(found))[0] or 0) + 1

    def finish(self, tree: str) -> None:
        """Forget what is no longer in the tree, and keep the rest."""
        self._database.execute(
            "DELETE FROM digest WHERE tree = ? AND seen <> ?", (tree, self._round)
        )
        self._database.execute("COMMIT")

    def abandon(self) -> None:
        """Forget what was noted since `start`."""
        self._database.execute("ROLLBACK")

    def recall(self, tree: str, entry: _Entry) -> bytes | None:
        """Return the digest of a file that is as it was."""
        found = self._database.execute(
            "UPDATE digest SET seen = ? WHERE tree = ? AND path = ? AND size = ? AND mtime = ?"
            " RETURNING sha",
            (self._round, tree, entry.path, entry.size, entry.mtime),
        ).fetchall()
        if not found:
            return None
        sha = found[0][0]
        assert isinstance(sha, bytes), "it was kept as bytes"
        return sha

    def note(self, tree: str, entry: _Entry, sha: bytes) -> None:
        """Remember a file's digest."""
        self._database.execute(
            "INSERT OR REPLACE INTO digest VALUES (?, ?, ?, ?, ?, ?)",
            (tree, entry.path, entry.size, entry.mtime, sha, self._round),
        )


def of_tree(
    root: Path, memory: Memory | None = None, name: str = "", on_bytes: OnBytes | None = None
) -> Tree:
    """Return the digest of everything below a folder. Blocks; reads what is not remembered."""
    total = hashlib.sha256()
    files = size = 0
    if memory is not None:
        memory.start(name)
    try:
        with ThreadPoolExecutor(WORKERS) as pool, closing(_entries(root)) as entries:
            while batch := list(islice(entries, _BATCH)):
                for entry, sha in _digests(batch, memory, name, pool, on_bytes):
                    total.update(b"%d:%s" % (len(entry.path), entry.path))
                    total.update(b"l" if entry.is_link else b"f")
                    total.update(entry.size.to_bytes(8, "big") + sha)
                    files, size = files + 1, size + entry.size
    except BaseException:
        if memory is not None:
            memory.abandon()
        raise
    if memory is not None:
        memory.finish(name)
    return Tree(files, size, total.hexdigest())


def _digests(
    batch: list[_Entry],
    memory: Memory | None,
    name: str,
    pool: ThreadPoolExecutor,
    on_bytes: OnBytes | None,
) -> Iterator[tuple[_Entry, bytes]]:
    """Yield entries with their digests, in order; what is not remembered is read in threads."""
    known = {
        entry.path: sha
        for entry in batch
        if memory is not None and (sha := memory.recall(name, entry)) is not None
    }
    missing = [entry for entry in batch if entry.path not in known]
    for entry, sha in zip(missing, pool.map(_read, missing), strict=True):
        known[entry.path] = sha
        if memory is not None:
            memory.note(name, entry, sha)
    for entry in batch:
        if on_bytes is not None:
            on_bytes(entry.size)
        yield entry, known[entry.path]


def _read(entry: _Entry) -> bytes:
    if entry.is_link:
        return hashlib.sha256(entry.target).digest()
    digest = hashlib.sha256()
    with open(entry.target, "rb", buffering=0) as file:  # noqa: PTH123 (a path of bytes)
        while chunk := file.read(_READ_BYTES):
            digest.update(chunk)
    return digest.digest()


def _entries(root: Path) -> Generator[_Entry, None, None]:
    """Yield files and links in order of their paths; sockets, pipes and devices are left out."""
    top = os.fsencode(root)
    for folder, names, files in os.walk(top, onerror=_refuse):
        names.sort()
        links = [name for name in names if _is_link(folder, name)]
        for name in sorted((*files, *links)):
            place = os.path.join(folder, name)  # noqa: PTH118 (paths of bytes)
            status = os.lstat(place)
            relative = os.path.relpath(place, top)
            if stat.S_ISLNK(status.st_mode):
                yield _Entry(relative, os.readlink(place), 0, status.st_mtime_ns, True)  # noqa: PTH115
            elif stat.S_ISREG(status.st_mode):
                yield _Entry(relative, place, status.st_size, status.st_mtime_ns, False)


def _is_link(folder: bytes, name: bytes) -> bool:
    return stat.S_ISLNK(os.lstat(os.path.join(folder, name)).st_mode)  # noqa: PTH118


def _refuse(error: OSError) -> None:
    raise error
