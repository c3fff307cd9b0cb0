"""Copying a database out of and into use."""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from skerry.kernel.errors import BUSY, INVALID
from skerry.kinds._shared.sqlite_state.connection import PAGE_BYTES, tell_journal


def copy_to(source: apsw.Connection, target: Path) -> None:
    """Write the database as of one commit to the new file `target`; writers go on meanwhile.

    The copy is exact, page by page (`VACUUM INTO` would renumber row ids), and stands alone: one
    file, without a log.
    """
    copy = apsw.Connection(str(target))
    try:
        with copy.backup("main", source, "main") as backup:
            while not backup.done:
                backup.step(-1)
        copy.pragma("journal_mode", "delete")
    finally:
        copy.close()
    _sync(target)


def open_export(path: Path) -> apsw.Connection:
    """Open a database that came from outside; raise INVALID unless it is whole and sound.

    Call it on a private copy: opening may roll back an unfinished transaction.
    """
    try:
        connection = apsw.Connection(str(path), apsw.SQLITE_OPEN_READWRITE)
        try:
            verdict = connection.execute("PRAGMA integrity_check(1)").get
        except BaseException:
            connection.close()
            raise
    except apsw.Error as error:
        raise INVALID(f"{path.name} is not a SQLite database.", why=str(error)) from error
    if verdict != "ok":
        connection.close()
        raise INVALID(f"{path.name} is a damaged SQLite database.", why=str(verdict))
    return connection


def replace_with(live: apsw.Connection, source: apsw.Connection) -> None:
    """Replace the whole content of `live` by that of `source`, in one transaction.

    Other processes may have `live` open; they see the old content or the new one. Raises BUSY, with
    nothing changed, if a writer does not end within the busy timeout of `live`.
    """
    if source.pragma("page_size") != PAGE_BYTES:
        source.pragma("journal_mode", "delete")
        source.pragma("page_size", PAGE_BYTES)
        source.execute("VACUUM")
    try:
        with live.backup("main", source, "main") as backup:
            while not backup.done:
                backup.step(-1)
    except apsw.BusyError as error:
        raise BUSY("The database is in use by a writer that does not end.") from error
    tell_journal(live)


def _sync(path: Path) -> None:
    """Make a new file and its name durable."""
    for each in (path, path.parent):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
