"""What a function receives as `env.<name>`: the database itself, opened in its own process.

    rows = env.search.query("select title, views from pages where id = ?", [7])
    rows[0].title, rows[0]["views"]

    with env.search.transaction() as database:
        database.execute("insert into pages (title) values (?)", ["Storm"])

Calls are plain and quick (microseconds for a read). A write waits for the disk and for other
writers, so asynchronous code that minds uses the same calls under `env.search.aio`.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apsw

from skerry.kernel.errors import BUSY, CONFLICT, DENIED, INVALID, SkerryError
from skerry.kernel.kind import Context
from skerry.kernel.usage import Meter
from skerry.kinds._shared.sqlite_state import BUSY_SECONDS
from skerry.kinds.sqlite.engine import FILE
from skerry.kinds.sqlite.guard import Guard, guarded
from skerry.kinds.sqlite.hrana import HranaError, SQLValue
from skerry.kinds.sqlite.statement import Execution, Limits

CONNECTIONS_MAX = 16

Args = Sequence[SQLValue] | Mapping[str, SQLValue]


class Row(tuple[SQLValue, ...]):
    """A row: a tuple whose values also have the names of their columns."""

    __slots__ = ()
    _names: Mapping[str, int] = {}

    def __getitem__(self, key: Any) -> Any:
        return tuple.__getitem__(self, self._names[key] if isinstance(key, str) else key)

    def __getattr__(self, name: str) -> Any:
        try:
            return tuple.__getitem__(self, self._names[name])
        except KeyError:
            raise AttributeError(f"the row has no column {name!r}") from None

    def keys(self) -> list[str]:
        """Return the names of the columns, so that `dict(row)` works."""
        return list(self._names)

    def as_dict(self) -> dict[str, SQLValue]:
        """Return the values by their columns' names."""
        return {name: tuple.__getitem__(self, place) for name, place in self._names.items()}


@dataclass(frozen=True, slots=True)
class Change:
    """What a statement changed: rows, and the id of the row that it inserted last."""

    rows: int
    last_row_id: int | None


class Transaction:
    """Statements on one connection; all of them count, or none."""

    def __init__(
        self, connection: apsw.Connection, guard: Guard, meter: Meter, limits: Limits
    ) -> None:
        self._connection = connection
        self._guard = guard
        self._meter = meter
        self._limits = limits

    def query(self, sql: str, args: Args = ()) -> list[Row]:
        """Run one statement and return its rows."""
        return self._run(sql, args)[0]

    def first(self, sql: str, args: Args = ()) -> Row | None:
        """Run one statement and return its first row, or None."""
        rows = self._run(sql, args)[0]
        return rows[0] if rows else None

    def execute(self, sql: str, args: Args = ()) -> Change:
        """Run one statement and tell what it changed."""
        return self._run(sql, args)[1]

    def _run(self, sql: str, args: Args) -> tuple[list[Row], Change]:
        try:
            run = Execution(self._connection, sql, self._limits)
            self._guard.scanned = 0
            arguments: Any = dict(args) if isinstance(args, Mapping) else tuple(args)
            for _ in run.start(arguments or None, lambda: False):
                raise AssertionError("a binding waits inside SQLite")
            shape = _row_type(tuple(name for name, _ in run.columns))
            rows = [shape(row) for row in run]
            counts = run.counts(self._guard.scanned)
        except (apsw.Error, HranaError) as error:
            raise _problem(error) from error
        self._meter.add("queries")
        self._meter.add("rows_read", counts.rows_read)
        self._meter.add("rows_written", counts.rows_written)
        return rows, Change(counts.changes, counts.last_row_id)


class Database:
    """A database as a function uses it; safe to use from many threads and tasks."""

    def __init__(self, context: Context) -> None:
        self._context = context
        config = context.config
        self._limits = Limits(config.rows_max, config.result_bytes_max)
        self._free: list[tuple[apsw.Connection, Guard]] = []
        self._slots = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self.aio = AsyncDatabase(self)

    def query(self, sql: str, args: Args = ()) -> list[Row]:
        """Run one statement and return its rows.

        `args` is a sequence for `?`, or a mapping for `:name`. Raises INVALID for wrong SQL or
        values, CONFLICT for a violated constraint, BUSY when a writer does not end in 30 s, DENIED
        for what a database must not do.
        """
        with self._use() as transaction:
            return transaction.query(sql, args)

    def first(self, sql: str, args: Args = ()) -> Row | None:
        """Run one statement and return its first row, or None."""
        with self._use() as transaction:
            return transaction.first(sql, args)

    def execute(self, sql: str, args: Args = ()) -> Change:
        """Run one statement, durably, and tell what it changed."""
        with self._use() as transaction:
            return transaction.execute(sql, args)

    def batch(self, statements: Iterable[str | tuple[str, Args]]) -> list[list[Row]]:
        """Run statements as one transaction; return the rows of each."""
        with self.transaction() as transaction:
            pairs = [(each, ()) if isinstance(each, str) else each for each in statements]
            return [transaction.query(sql, args) for sql, args in pairs]

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Open a transaction that writes: committed at the end, undone by an exception."""
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
                yield Transaction(connection, guard, self._context.meter, self._limits)
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
        """Close the connections that are not in use."""
        while self._free:
            self._free.pop()[0].close()


class AsyncDatabase:
    """The calls of `Database` as coroutines; they wait in a thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def query(self, sql: str, args: Args = ()) -> list[Row]:
        """See `Database.query`."""
        return await asyncio.to_thread(self._database.query, sql, args)

    async def first(self, sql: str, args: Args = ()) -> Row | None:
        """See `Database.first`."""
        return await asyncio.to_thread(self._database.first, sql, args)

    async def execute(self, sql: str, args: Args = ()) -> Change:
        """See `Database.execute`."""
        return await asyncio.to_thread(self._database.execute, sql, args)

    async def batch(self, statements: Iterable[str | tuple[str, Args]]) -> list[list[Row]]:
        """See `Database.batch`."""
        return await asyncio.to_thread(self._database.batch, statements)


async def bind(context: Context) -> Database:
    """Return the binding; the database is made by its engine if this is its first use."""
    await context.host.ready(context.ref.name)
    return Database(context)


_row_types: dict[tuple[str, ...], type[Row]] = {}


def _row_type(names: tuple[str, ...]) -> type[Row]:
    """Return the row class for these columns; few are kept, since results repeat their shape."""
    found = _row_types.get(names)
    if found is None:
        if len(_row_types) >= 1000:
            _row_types.clear()
        places = {name: place for place, name in reversed(list(enumerate(names)))}
        body = {"__slots__": (), "_names": {name: places[name] for name in names}}
        found = _row_types[names] = type("Row", (Row,), body)
    return found


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
