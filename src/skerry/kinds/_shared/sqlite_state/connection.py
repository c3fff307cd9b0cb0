"""Opening a SQLite file so that what it acknowledges is durable."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path

import apsw

from skerry.kernel.errors import CORRUPT, DISK_FULL, NOT_FOUND, SkerryError
from skerry.kernel.journal import journal_of
from skerry.kernel.reading import leader_of

BUSY_SECONDS = 30.0
"""How long a writer waits for another one; a freeze is shorter."""

PAGE_BYTES = 4096

CHECKPOINT_FRAMES = 1000
"""After so many frames the log of a replicated database is moved into its file."""

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

    Raises DISK_FULL if even that takes more room than there is. A copy that another node writes can
    only be read, but for whoever is to `create` what is missing of it, and may do no more.

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
        _sync_fully(connection)
        if not readonly and journal_of(path).replicated:
            _replicate(connection)
        if leader_of(path) and not create:
            connection.pragma("query_only", "on")
        if mmap_bytes:
            connection.pragma("mmap_size", mmap_bytes)
    except apsw.Error as error:
        connection.close()
        told = _told(path, error)
        if told is None:
            raise
        raise told from error
    except BaseException:
        connection.close()
        raise
    return connection


def _sync_fully(connection: apsw.Connection) -> None:
    connection.pragma("synchronous", "full")
    if sys.platform == "darwin":
        # Else what is synced may stay in the drive's own memory.
        connection.pragma("fullfsync", "on")


def _told(path: Path, error: apsw.Error) -> SkerryError | None:
    """Return the error that tells why a database cannot be opened, if it is a known one."""
    if isinstance(error, apsw.NotADBError | apsw.CorruptError):
        return CORRUPT(f"{path.name} is not a sound SQLite database.", why=str(error))
    in_index = getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE
    if in_index or isinstance(error, apsw.FullError):
        return DISK_FULL(
            f"There is no room on the disk to open {path.name}.",
            why="Even reading takes 32 KiB, for the index of the write-ahead log.",
            hint="skerry doctor",
        )
    return None


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
    path = Path(connection.filename)
    if journal_of(path).replicated:
        _checkpoint_replicated(path)
        return
    with contextlib.suppress(apsw.BusyError):
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)


def tell_journal(connection: apsw.Connection) -> None:
    """Tell the journal of a commit that SQLite's own hook does not tell of: a restored backup's."""
    path = Path(connection.filename)
    journal_of(path).wrote(log_of(path))


def log_of(path: Path) -> Path:
    """Return where the write-ahead log of a database lies."""
    return path.with_name(f"{path.name}-wal")


def _replicate(connection: apsw.Connection) -> None:
    """Tell the journal of every commit before whoever asked for it hears of it.

    The log is what is copied, so nobody may start it over before it was read: SQLite's own
    checkpoints, by size and when the last connection is closed, are off. (The hook takes the place
    of the first.)
    """
    path = Path(connection.filename)
    log = log_of(path)
    journal = journal_of(path)

    def committed(_: apsw.Connection, __: str, frames: int) -> int:
        journal.wrote(log)
        if frames >= CHECKPOINT_FRAMES:
            _checkpoint_replicated(path)
        return apsw.SQLITE_OK

    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.set_wal_hook(committed)


def _checkpoint_replicated(path: Path) -> None:
    """Move the log into the file while no writer can start it over before the journal has it."""
    with contextlib.closing(apsw.Connection(str(path), apsw.SQLITE_OPEN_READWRITE)) as holding:
        holding.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        try:
            holding.execute("BEGIN IMMEDIATE")
        except apsw.BusyError:
            return
        with contextlib.closing(apsw.Connection(str(path), apsw.SQLITE_OPEN_READWRITE)) as moving:
            moving.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            with contextlib.suppress(apsw.BusyError):
                moving.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        journal_of(path).announce(log_of(path))
        holding.execute("ROLLBACK")


def disk_bytes(path: Path) -> int:
    """Return the bytes on disk of the database at `path` and of its log."""
    files = (path, path.with_name(f"{path.name}-wal"))
    return sum(file.stat().st_size for file in files if file.exists())
