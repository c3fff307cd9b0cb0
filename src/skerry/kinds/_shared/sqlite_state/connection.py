"""Opening a SQLite file so that what it acknowledges is durable."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import apsw

from skerry.kernel.errors import CORRUPT, NOT_FOUND

BUSY_SECONDS = 30.0
"""How long a writer waits for another one; a freeze is shorter."""

PAGE_BYTES = 4096

_SWITCH_SECONDS = 0.005
"""How long to wait before trying again to switch a new file to a write-ahead log."""


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
        if not readonly:
            _log_ahead(connection, busy_seconds, create=create)
        connection.set_busy_timeout(round(busy_seconds * 1000))
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


def _log_ahead(connection: apsw.Connection, busy_seconds: float, *, create: bool) -> None:
    """Switch to a write-ahead log, unless the file has one.

    Processes that switch a new file at once each hold the lock that another one waits for, and
    SQLite refuses one of them whatever its busy timeout is. So nobody waits while holding a lock:
    each tries, lets go, and tries again.
    """
    deadline = time.monotonic() + busy_seconds
    connection.set_busy_timeout(0)
    while True:
        try:
            if create:
                connection.pragma("page_size", PAGE_BYTES)
            if connection.pragma("journal_mode") != "wal":
                connection.pragma("journal_mode", "wal")
            return
        except apsw.BusyError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(_SWITCH_SECONDS)


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
