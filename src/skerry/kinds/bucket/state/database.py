"""One SQLite file, many readers, and one queue of writers whose commits are shared.

A write is a function of the connection. Those that wait are carried out in one transaction, each in
a savepoint of its own, so that one fsync acknowledges all of them. Several processes may open the
same file: SQLite's write lock is what orders them, and what `freeze` holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import apsw

from skerry.kernel.errors import BUSY, CORRUPT
from skerry.kernel.reading import leader_of, refusal
from skerry.kinds._shared.sqlite_state import WriterHold, checkpoint, connect
from skerry.kinds.bucket.state.schema import FORMAT, TABLES

T = TypeVar("T")
Db = apsw.Connection
_READERS = 4
_WAITING_MAX = 2048
_BATCH_MAX = 256


def rows(db: Db, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
    """Return all rows of a query; what is in their columns is known where the query is."""
    return db.execute(query, values).fetchall()


class Database:
    """Runs functions of a connection in threads: `read` and `write`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._open: list[Db] = []
        self._pool = ThreadPoolExecutor(_READERS, thread_name_prefix="bucket-read")
        self._queue: queue.Queue[_Write | None] = queue.Queue(_WAITING_MAX)
        self._writer = threading.Thread(target=self._write_loop, name="bucket-write", daemon=True)
        self._gate = threading.Event()
        self._gate.set()
        self._hold = WriterHold(path)
        self._writing: Db

    async def open(self) -> None:
        """Open the file, making the tables if it is new; raise CORRUPT if it is not ours."""
        self._writing = await self._in_pool(self._prepare)
        self._writer.start()

    async def close(self) -> None:
        """Finish the waiting writes and close every connection."""
        await self.thaw()
        await asyncio.to_thread(self._close)

    async def read(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run `function(connection, *arguments)` in a read transaction."""
        return await self._in_pool(self._read, function, arguments)

    async def write(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run `function(connection, *arguments)` in a transaction; durable when it returns.

        Raise BUSY if too many writes wait, and whatever the function raises, changing nothing.
        """
        return await asyncio.wrap_future(self.submit(function, *arguments))

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """As `write`, for callers without an event loop.

        Raises READ_ONLY if this is a copy that another node writes.
        """
        leader = leader_of(self._path)
        if leader:
            raise refusal(leader)
        work = _Write(lambda db: function(db, *arguments))
        try:
            self._queue.put_nowait(work)
        except queue.Full:
            raise BUSY("Too many writes are waiting.", hint="Try again.") from None
        return work.future

    async def freeze(self) -> None:
        """Hold off writers of all processes until `thaw`."""
        self._gate.clear()
        try:
            await self._in_pool(self._hold.hold)
        except BaseException:
            self._gate.set()
            raise

    async def thaw(self) -> None:
        """Let writers go on."""
        await self._in_pool(self._hold.release)
        self._gate.set()

    async def checkpoint(self) -> None:
        """Move committed pages from the write-ahead log to the file, as far as readers allow."""
        await self._in_pool(self._checkpoint)

    async def _in_pool(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    def _prepare(self) -> Db:
        """Make what is missing, and return the connection of the writer."""
        connection = connect(self._path, create=True)
        try:
            with _immediate(connection):
                version = connection.pragma("user_version")
                if version == 0:
                    connection.execute(TABLES)
                    connection.pragma("user_version", FORMAT)
                elif version != FORMAT:
                    raise CORRUPT(f"The bucket's state has format {version}, not {FORMAT}.")
        finally:
            connection.close()
        return self._connect()

    def _connect(self) -> Db:
        connection = connect(self._path)
        connection.pragma("foreign_keys", True)
        connection.pragma("cache_size", -8192)
        return connection

    def _reader(self) -> Db:
        connection: Db | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
            self._open.append(connection)
        return connection

    def _checkpoint(self) -> None:
        checkpoint(self._reader())

    def _read(self, function: Callable[..., T], arguments: tuple[Any, ...]) -> T:
        connection = self._reader()
        connection.execute("BEGIN")
        try:
            return function(connection, *arguments)
        finally:
            connection.execute("COMMIT")

    def _write_loop(self) -> None:
        connection = self._writing
        running = True
        while running:
            batch = [self._queue.get()]
            with contextlib.suppress(queue.Empty):
                while len(batch) < _BATCH_MAX and batch[-1] is not None:
                    batch.append(self._queue.get_nowait())
            running = batch[-1] is not None
            self._gate.wait()
            _carry_out(connection, [work for work in batch if work is not None])
        connection.close()

    def _close(self) -> None:
        self._gate.set()
        if self._writer.is_alive():
            self._queue.put(None)
            self._writer.join()
        self._pool.shutdown(wait=True)
        for connection in self._open:
            connection.close()


class _Write:
    __slots__ = ("action", "error", "future", "result")

    def __init__(self, action: Callable[[Db], Any]) -> None:
        self.action = action
        self.future: Future[Any] = Future()
        self.result: Any = None
        self.error: BaseException | None = None


def _carry_out(connection: Db, batch: list[_Write]) -> None:
    """Carry out writes in one transaction and tell each how it went."""
    live = [work for work in batch if work.future.set_running_or_notify_cancel()]
    if not live:
        return
    try:
        with _immediate(connection):
            for work in live:
                _one(connection, work)
    except apsw.FullError as error:
        full = BUSY("The disk is full.", hint="Free space, then try again.")
        full.__cause__ = error
        for work in live:
            work.error = full
    except Exception as error:
        for work in live:
            work.error = work.error or error
    for work in live:
        if work.error is not None:
            work.future.set_exception(work.error)
        else:
            work.future.set_result(work.result)


def _one(connection: Db, work: _Write) -> None:
    connection.execute("SAVEPOINT one")
    try:
        work.result = work.action(connection)
    except Exception as error:
        work.error = error
        if isinstance(error, apsw.FullError | apsw.IOError | apsw.CorruptError):
            raise
        connection.execute("ROLLBACK TO one")
    connection.execute("RELEASE one")


@contextlib.contextmanager
def _immediate(connection: Db) -> Any:
    try:
        connection.execute("BEGIN IMMEDIATE")
    except apsw.BusyError as error:
        raise BUSY("The bucket's state is locked by another writer.") from error
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
