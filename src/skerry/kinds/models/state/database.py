"""The SQLite file of a models resource, and the one thread that writes it in batches.

Jobs that wait together are committed together, so that many calls share one `fsync`; each has a
savepoint of its own, so that one that fails takes nothing else with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import apsw

from skerry.kernel.errors import BUSY, ENGINE_FAILED
from skerry.kinds._shared.sqlite_state import connect, writing

FILE = "models.sqlite"
WAITING_MAX = 10_000
BATCH_MAX = 500
LATER_SECONDS = 0.05
"""How long a job that nobody waits for may wait for others to share its `fsync`."""

_log = logging.getLogger(__name__)

T = TypeVar("T")
Job = Callable[[apsw.Connection], Any]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS keys (
  number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, created INTEGER NOT NULL,
  revoked INTEGER, limits TEXT NOT NULL, note TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS used (
  key INTEGER NOT NULL, quota TEXT NOT NULL, window INTEGER NOT NULL, amount INTEGER NOT NULL,
  PRIMARY KEY (key, quota)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS aliases (name TEXT PRIMARY KEY, targets TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS calls (
  id INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL, key INTEGER NOT NULL,
  asked TEXT NOT NULL, model TEXT NOT NULL, provider TEXT NOT NULL, status INTEGER NOT NULL,
  micro_eur INTEGER NOT NULL, details TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS cache (
  digest BLOB PRIMARY KEY, expires INTEGER NOT NULL, bytes INTEGER NOT NULL, origin TEXT NOT NULL,
  body BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS cache_expires ON cache (expires);
CREATE TABLE IF NOT EXISTS responses (
  id TEXT PRIMARY KEY, key INTEGER NOT NULL, time INTEGER NOT NULL, body BLOB NOT NULL,
  history BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS responses_time ON responses (time);
"""


def open_database(directory: Path) -> apsw.Connection:
    """Open the file, making it if there is none. Blocks."""
    connection = connect(directory / FILE, create=True)
    with writing(connection):
        for statement in _SCHEMA.split(";\n"):
            connection.execute(statement)
    return connection


class Database:
    """The file as the engine uses it: everything runs in one thread, in the order it was given."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._jobs: deque[tuple[Job, asyncio.Future[Any] | None]] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._awaited = False
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread | None = None

    async def open(self) -> None:
        """Open the file and start the thread."""
        self._loop = asyncio.get_running_loop()
        connection = await asyncio.to_thread(open_database, self._directory)
        self._thread = threading.Thread(
            target=self._run, args=(connection,), name="models-state", daemon=True
        )
        self._thread.start()

    async def close(self) -> None:
        """Carry out what waits, then close the file."""
        if self._thread is not None:
            with self._wake:
                self._closing = True
                self._wake.notify()
            await asyncio.to_thread(self._thread.join)
            self._thread = None

    async def do(self, job: Callable[[apsw.Connection], T]) -> T:
        """Carry out a job and return its result once it is durable."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._put(job, future)
        return await future

    def later(self, job: Job) -> None:
        """Have a job carried out soon; nobody waits. Raises BUSY if too many wait already."""
        self._put(job, None)

    @property
    def is_open(self) -> bool:
        """Whether jobs are carried out."""
        return self._thread is not None

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return len(self._jobs)

    def _put(self, job: Job, future: asyncio.Future[Any] | None) -> None:
        if self._thread is None or self._closing:
            raise BUSY("The gateway is stopping.")
        if len(self._jobs) >= WAITING_MAX:
            raise BUSY("Too many writes wait for the disk.")
        with self._wake:
            self._jobs.append((job, future))
            self._awaited = self._awaited or future is not None
            if future is not None or len(self._jobs) == 1:
                self._wake.notify()

    def _run(self, connection: apsw.Connection) -> None:
        while True:
            with self._wake:
                while not self._jobs and not self._closing:
                    self._wake.wait()
                self._wake.wait_for(lambda: self._awaited or self._closing, LATER_SECONDS)
                batch = [self._jobs.popleft() for _ in range(min(len(self._jobs), BATCH_MAX))]
                self._awaited = any(future is not None for _, future in self._jobs)
            if not batch:
                break
            self._batch(connection, batch)
        connection.close()

    def _batch(
        self, connection: apsw.Connection, batch: list[tuple[Job, asyncio.Future[Any] | None]]
    ) -> None:
        results: list[tuple[asyncio.Future[Any], Any, BaseException | None]] = []
        try:
            with writing(connection):
                for job, future in batch:
                    result, failure = _one(connection, job)
                    if future is not None:
                        results.append((future, result, failure))
                    elif failure is not None:
                        _log.error("a write failed: %s", failure)
        except apsw.Error as error:
            failed = ENGINE_FAILED("The gateway's state could not be written.", why=str(error))
            results = [(future, None, failed) for _, future in batch if future is not None]
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(_deliver, results)


def _one(connection: apsw.Connection, job: Job) -> tuple[Any, BaseException | None]:
    connection.execute("SAVEPOINT job")
    try:
        result = job(connection)
    except Exception as error:  # whoever waits for the job is told
        connection.execute("ROLLBACK TO job")
        connection.execute("RELEASE job")
        return None, error
    connection.execute("RELEASE job")
    return result, None


def _deliver(results: list[tuple[asyncio.Future[Any], Any, BaseException | None]]) -> None:
    for future, result, failure in results:
        if future.done():
            continue
        if failure is None:
            future.set_result(result)
        else:
            future.set_exception(failure)
