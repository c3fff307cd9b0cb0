"""What a function can ask of a database, whether it is on this node or on another one.

    rows = env.search.query("select title, views from pages where id = ?", [7])
    rows[0].title, rows[0]["views"]

    with env.search.transaction() as database:
        database.execute("insert into pages (title) values (?)", ["Storm"])

Calls are plain. Asynchronous code that minds waiting uses the same calls under `env.search.aio`.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from skerry.kinds.sqlite.hrana import SQLValue

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


class Transaction(ABC):
    """Statements on one connection; all of them count, or none."""

    def query(self, sql: str, args: Args = ()) -> list[Row]:
        """Run one statement and return its rows."""
        return self.run(sql, args)[0]

    def first(self, sql: str, args: Args = ()) -> Row | None:
        """Run one statement and return its first row, or None."""
        rows = self.run(sql, args)[0]
        return rows[0] if rows else None

    def execute(self, sql: str, args: Args = ()) -> Change:
        """Run one statement and tell what it changed."""
        return self.run(sql, args)[1]

    @abstractmethod
    def run(self, sql: str, args: Args) -> tuple[list[Row], Change]:
        """Run one statement; return its rows, and what it changed."""


class Database(ABC):
    """A database as a function uses it; safe to use from many threads and tasks."""

    def __init__(self) -> None:
        self.aio = AsyncDatabase(self)

    def query(self, sql: str, args: Args = ()) -> list[Row]:
        """Run one statement and return its rows.

        `args` is a sequence for `?`, or a mapping for `:name`. Raises INVALID for wrong SQL or
        values, CONFLICT for a violated constraint, BUSY when a writer does not end in 30 s, DENIED
        for what a database must not do.
        """
        return self.run(sql, args)[0]

    def first(self, sql: str, args: Args = ()) -> Row | None:
        """Run one statement and return its first row, or None."""
        rows = self.run(sql, args)[0]
        return rows[0] if rows else None

    def execute(self, sql: str, args: Args = ()) -> Change:
        """Run one statement, durably, and tell what it changed."""
        return self.run(sql, args)[1]

    @abstractmethod
    def run(self, sql: str, args: Args) -> tuple[list[Row], Change]:
        """Run one statement by itself; return its rows, and what it changed."""

    @abstractmethod
    def batch(self, statements: Iterable[str | tuple[str, Args]]) -> list[list[Row]]:
        """Run statements as one transaction; return the rows of each."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[Transaction]:
        """Open a transaction that writes: committed at the end, undone by an exception."""

    @abstractmethod
    def close(self) -> None:
        """Close the connections that are not in use."""


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


def pairs(statements: Iterable[str | tuple[str, Args]]) -> list[tuple[str, Args]]:
    """Return the statements of a batch, each with its arguments."""
    return [(each, ()) if isinstance(each, str) else each for each in statements]


_row_types: dict[tuple[str, ...], type[Row]] = {}


def row_type(names: tuple[str, ...]) -> type[Row]:
    """Return the row class for these columns; few are kept, since results repeat their shape."""
    found = _row_types.get(names)
    if found is None:
        if len(_row_types) >= 1000:
            _row_types.clear()
        places = {name: place for place, name in reversed(list(enumerate(names)))}
        body = {"__slots__": (), "_names": {name: places[name] for name in names}}
        found = _row_types[names] = type("Row", (Row,), body)
    return found
