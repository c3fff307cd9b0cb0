"""Collecting content files that nobody refers to, in small steps and never under a reader.

A reader of a content of several files holds a shared lock on the first of them; a reader of a
single file has it open. Files are removed while the database's write lock is held, so that a writer
who is about to refer to one finds out that it is gone and places it again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from skerry.kinds.bucket.state import content
from skerry.kinds.bucket.state.blobs import Blobs
from skerry.kinds.bucket.state.database import Db, rows
from skerry.kinds.bucket.state.records import unpack_pieces

TRASH_STEP = 200
_PIECES_STEP = 20_000


def empty_trash(db: Db, blobs: Blobs) -> tuple[bool, bool]:
    """Remove some of the oldest deleted contents.

    Return whether more is due at once, and whether some stayed because they are being read.
    """
    seen, kept = 0, 0
    found = rows(db, "SELECT id, pieces FROM trash ORDER BY id LIMIT ?", (TRASH_STEP,))
    for row, packed in found:
        pieces = unpack_pieces(packed)
        with _exclusive(blobs.path(pieces[0].digest)) as free:
            if not free:
                kept += 1
                continue
            for digest in content.release(db, pieces):
                blobs.remove(digest)
        db.execute("DELETE FROM trash WHERE id = ?", (row,))
        seen += len(pieces)
        if seen > _PIECES_STEP:
            return True, kept > 0
    return len(found) == TRASH_STEP and kept < len(found), kept > 0


def sweep(db: Db, blobs: Blobs, folder: Path) -> int:
    """Remove the files of one folder that the database does not know; count them.

    They are left by a crash between placing a file and referring to it.
    """
    removed = 0
    for path in folder.iterdir():
        try:
            digest = bytes.fromhex(path.name)
        except ValueError:
            continue
        if not db.execute("SELECT 1 FROM blobs WHERE digest = ?", (digest,)).get:
            blobs.remove(digest)
            removed += 1
    return removed


class _exclusive(contextlib.AbstractContextManager[bool]):  # noqa: N801
    """Hold a file exclusively; false if somebody reads it; true also if it is gone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1

    def __enter__(self) -> bool:
        try:
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return True
        except BlockingIOError:
            return False
        return True

    def __exit__(self, *_: object) -> None:
        if self._file >= 0:
            os.close(self._file)
