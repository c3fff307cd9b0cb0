"""Running one statement: arguments, limits, and what it changed.

A statement that meets another writer's lock yields instead of waiting, so that the few threads that
run statements are never all asleep while the one that could let go has none to run in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apsw
import apsw.ext

from skerry.kinds.sqlite.failure import HranaError
from skerry.kinds.sqlite.hrana import NamedArgument, SQLValue, Statement

LOCKED = object()
"""What a generator yields when another connection holds the write lock: resume it later."""

Arguments = Sequence[SQLValue] | None
Row = tuple[SQLValue, ...]

_NOTHING = re.compile(r"(?:[\s;]|--[^\n]*(?:\n|\Z)|/\*.*?(?:\*/|\Z))*", re.DOTALL)
_SIGNS = ":@$"


@dataclass(frozen=True, slots=True)
class Limits:
    """How large the result of one statement may be."""

    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Counts:
    """What one statement did; `changes` leaves out what triggers and foreign keys did."""

    changes: int
    last_row_id: int | None
    rows_read: int
    rows_written: int


class Execution:
    """One statement on one connection: `start`, iterate over its rows to the end, then `counts`."""

    __slots__ = (
        "_before",
        "_connection",
        "_count",
        "_cursor",
        "_limits",
        "columns",
        "found",
        "readonly",
        "sql",
    )

    def __init__(self, connection: apsw.Connection, sql: str, limits: Limits) -> None:
        self._connection = connection
        self.sql = sql
        self._limits = limits
        self._count = 0
        self.columns: Sequence[tuple[str, str | None]] = ()
        self.readonly = True
        self.found = False
        self._before = connection.total_changes()

    def start(
        self, arguments: Arguments, may_wait: Callable[[], bool]
    ) -> Generator[object, None, None]:
        """Run up to the first row; yields LOCKED while a lock is in the way and `may_wait()`.

        Raises `apsw.Error`, and HranaError unless the text is exactly one statement. Inside a
        transaction that has read, SQLite's own error comes at once: waiting could never help.
        """
        connection = self._connection
        while True:
            self.found = False
            self._cursor = connection.cursor()
            self._cursor.exec_trace = self._compiled
            idle = connection.txn_state("main") == apsw.SQLITE_TXN_NONE
            try:
                self._cursor.execute(self.sql, arguments)
            except apsw.BusyError:
                if not idle or not may_wait():
                    raise
                yield LOCKED
                continue
            except OverflowError as error:
                raise HranaError("An integer does not fit into 64 bits.", "ARGS_INVALID") from error
            break
        if not self.found:
            raise HranaError("The text holds no SQL statement.", "SQL_NO_STATEMENT")

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows; raise HranaError when the result is larger than allowed."""
        left, count = self._limits.bytes, 0
        for row in self._cursor:
            count += 1
            for item in row:
                left -= 16 + len(item) if isinstance(item, (str, bytes)) else 16
            if left < 0 or count > self._limits.rows:
                self._cursor.close()
                raise HranaError(
                    "The result exceeds the limit of "
                    f"{self._limits.rows} rows or {self._limits.bytes} bytes.",
                    "RESPONSE_TOO_LARGE",
                )
            yield row
        self._count = count

    def counts(self, scanned: int) -> Counts:
        """Return what the statement did, once its rows are read; `scanned` is SQLite's count."""
        connection = self._connection
        written = connection.total_changes() - self._before
        return Counts(
            changes=connection.changes() if written else 0,
            last_row_id=None if self.readonly else connection.last_insert_rowid(),
            rows_read=max(self._count, scanned),
            rows_written=written,
        )

    def _compiled(self, cursor: apsw.Cursor, text: str, _bindings: Any) -> bool:
        if not cursor.has_vdbe:
            return True
        if len(text) < len(self.sql):
            rest = self.sql[len(text) :]
            if self.found or _NOTHING.fullmatch(rest) is None:
                raise HranaError(
                    "The text holds more than one SQL statement.", "SQL_MANY_STATEMENTS"
                )
        self.found = True
        self.columns = cursor.get_description()
        self.readonly = cursor.is_readonly
        return True


def arguments_of(connection: apsw.Connection, sql: str, statement: Statement) -> Arguments:
    """Return the arguments of a statement by position; raise HranaError for a wrong one."""
    values = tuple([each.sql() for each in statement.args or ()])
    if not statement.named_args:
        return values or None
    names = apsw.ext.query_info(connection, sql).bindings_names
    return _by_position(names, values, statement.named_args)


def _by_position(
    names: Sequence[str | None], values: Sequence[SQLValue], named: Sequence[NamedArgument]
) -> list[SQLValue]:
    """Merge arguments by position and by name; the name wins."""
    if len(values) > len(names):
        raise HranaError("There are more arguments than parameters.", "ARGS_INVALID")
    missing = object()
    merged: list[Any] = [*values, *[missing] * (len(names) - len(values))]
    for each in named:
        name = each.name[1:] if each.name[:1] in _SIGNS else each.name
        places = [place for place, known in enumerate(names) if known == name]
        if not places:
            raise HranaError(f"The statement has no parameter {each.name!r}.", "ARGS_INVALID")
        for place in places:
            merged[place] = each.value.sql()
    for place, item in enumerate(merged):
        if item is missing:
            what = names[place] or f"?{place + 1}"
            raise HranaError(f"The parameter {what} has no value.", "ARGS_INVALID")
    return merged
