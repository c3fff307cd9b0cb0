"""The binding of a database on this node: a function opens it in its own process.

A read takes microseconds. A write waits for the disk and for other writers.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apsw

from skerry.kernel.errors import BUSY, CONFLICT, DENIED, INVALID, SkerryError
from skerry.kernel.kind import Context
from skerry.kernel.usage import Meter
from skerry.kinds._shared.sqlite_state import BUSY_SECONDS
from skerry.kinds.sqlite.engine import FILE
from skerry.kinds.sqlite.failure import HranaError
from skerry.kinds.sqlite.guard import Guard, guarded
from skerry.kinds.sqlite.statement import Execution, Limits
from skerry.kinds.sqlite.surface import Args, Change, Database, Row, Transaction, pairs, row_type

CONNECTIONS_MAX = 16


class OpenTransaction(Transaction):
    """Statements on a connection of this process."""

    def __init__(
        self, connection: apsw.Connection, guard: Guard, meter: Meter, limits: Limits
    ) -> None:
        self._connection = connection
        self._guard = guard
        self._meter = meter
        self._limits = limits

    def run(self, sql: str, args: Args) -> tuple[list[Row], Change]:
        """See `Transaction.run`."""
        try:
            run = Execution(self._connection, sql, self._limits)
            self._guard.scanned = 0
            _start(run, args)
            shape = row_type(tuple(name for name, _ in run.columns))
            rows = [shape(row) for row in run]
            counts = run.counts(self._guard.scanned)
        except (apsw.Error, HranaError) as error:
            raise _problem(error) from error
        self._meter.add("queries")
        self._meter.add("rows_read", counts.rows_read)
        self._meter.add("rows_written", counts.rows_written)
        return rows, Change(counts.changes, counts.last_row_id)


class OpenDatabase(Database):
    """A database whose file is open in this process."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        config = context.config
        self._limits = Limits(config.rows_max, config.result_bytes_max)
        self._free: list[tuple[apsw.Connection, Guard]] = []
        self._slots = threading.BoundedSemaphore(CONNECTIONS_MAX)

    def run(self, sql: str, args: Args) -> tuple[list[Row], Change]:
        """See `Database.run`."""
        with self._use() as transaction:
            return transaction.run(sql, args)

    def batch(self, statements: Iterable[str | tuple[str, Args]]) -> list[list[Row]]:
        """See `Database.batch`."""
        with self.transaction() as transaction:
            return [transaction.query(sql, args) for sql, args in pairs(statements)]

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """See `Database.transaction`."""
        with self._use() as transaction:
            transaction.execute("BEGIN IMMEDIATE")
            yield transaction
            transaction.execute("COMMIT")

    @contextlib.contextmanager
    def _use(self) -> Iterator[Transaction]:
        """Lend a connection; whatever is open on it afterwards is undone."""
        if not self._slots.acquire(timeout=BUSY_SECONDS):
            raise BUSY(f"All {CONNECTIONS_MAX} connections of this function are in use.")
        try:
            connection, guard = self._free.pop() if self._free else self._connect()
            try:
                yield OpenTransaction(connection, guard, self._context.meter, self._limits)
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                if guard.dirty:
                    connection.close()
                else:
                    self._free.append((connection, guard))
        finally:
            self._slots.release()

    def _connect(self) -> tuple[apsw.Connection, Guard]:
        return guarded(
            self._context.directory / FILE,
            database_bytes_max=self._context.config.database_bytes_max,
            busy_seconds=BUSY_SECONDS,
        )

    def close(self) -> None:
        """See `Database.close`."""
        while self._free:
            self._free.pop()[0].close()


async def bind(context: Context) -> Database:
    """Return the binding; the database is made by its engine if this is its first use."""
    await context.host.ready(context.ref.name)
    return OpenDatabase(context)


def _start(run: Execution, args: Args) -> None:
    """Run up to the first row; raise INVALID for arguments that are no values of SQLite."""
    arguments: Any = dict(args) if isinstance(args, Mapping) else tuple(args)
    try:
        for _ in run.start(arguments or None, lambda: False):
            raise AssertionError("a binding waits inside SQLite")
    except KeyError as error:
        raise INVALID(f"The parameter {error.args[0]} has no value.") from error
    except (TypeError, UnicodeEncodeError) as error:
        raise INVALID("An argument is no value of SQLite.", why=str(error)) from error


def _problem(error: apsw.Error | HranaError) -> SkerryError:
    """Return what a function sees of an error of SQLite."""
    text = str(error)
    if isinstance(error, apsw.ConstraintError):
        return CONFLICT(text)
    if isinstance(error, apsw.BusyError):
        return BUSY("Another writer did not end in time.", why=text)
    if isinstance(error, apsw.AuthError):
        return DENIED("A database must not do that.", why=text)
    return INVALID(text)
