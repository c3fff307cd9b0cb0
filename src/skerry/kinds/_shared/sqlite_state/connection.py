"""Opening a SQLite file so that what it acknowledges is durable."""

from __future__ import annotations

import contextlib
from pathlib import Path

import apsw

from skerry.kernel.errors import CORRUPT, NOT_FOUND

BUSY_SECONDS = 30.0
"""How long a writer waits for another one; a freeze is shorter."""

PAGE_BYTES = 4096


def connect(
    path: Path,
    *,
    create: bool = False,
    readonly: bool = False,
    busy_seconds: float = BUSY_SECONDS,
    mmap_bytes: int = 0,
    cached_statements: int = 100,
) -> apsw.Connection:
    """Open the database at `path`; raise NOT_FOUND without one, CORRUPT if it is not a database.

    The connection may be used by any thread, by one at a time. A file left by `kill -9`, or cloned
    from another branch while it was in use, is recovered here.
    """
    flags = apsw.SQLITE_OPEN_READONLY if readonly else apsw.SQLITE_OPEN_READWRITE
    if create:
        flags |= apsw.SQLITE_OPEN_CREATE
    try:
        connection = apsw.Connection(str(path), flags, statementcachesize=cached_statements)
    except apsw.CantOpenError as error:
        raise NOT_FOUND(f"There is no database {path.name}.", why=str(error)) from error
    try:
        connection.set_busy_timeout(round(busy_seconds * 1000))
        if create:
            connection.pragma("page_size", PAGE_BYTES)
        if not readonly and connection.pragma("journal_mode") != "wal":
            connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "full")
        if mmap_bytes:
            connection.pragma("mmap_size", mmap_bytes)
    except (apsw.NotADBError, apsw.CorruptError) as error:
        connection.close()
        raise CORRUPT(f"{path.name} is not a sound SQLite database.", why=str(error)) from error
    except BaseException:
        connection.close()
        raise
    return connection


def checkpoint(connection: apsw.Connection) -> None:
    """Move the log into the database file, as far as that disturbs no reader or writer.

    Where another connection is doing just that, in any process, there is nothing left to do.
    """
    with contextlib.suppress(apsw.BusyError):
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)


def disk_bytes(path: Path) -> int:
    """Return the bytes on disk of the database at `path` and of its log."""
    files = (path, path.with_name(f"{path.name}-wal"))
    return sum(file.stat().st_size for file in files if file.exists())
