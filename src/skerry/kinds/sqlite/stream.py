"""A Hrana stream: one connection, the texts stored on it, and how it answers requests.

Every method that runs SQL is a generator to be advanced in a worker thread: it yields LOCKED when
it must wait for another writer, and returns its answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from typing import Any

import apsw
import apsw.ext
import msgspec

from skerry.kernel.usage import Meter
from skerry.kinds.sqlite.failure import HranaError
from skerry.kinds.sqlite.guard import SQL_BYTES_MAX, Guard
from skerry.kinds.sqlite.hrana import Answer, Batch, Request, Statement, from_any, holds, value
from skerry.kinds.sqlite.pace import STEPS_BETWEEN_LOOKS, Pace
from skerry.kinds.sqlite.statement import Execution, Limits, arguments_of

STORED_SQL_MAX = 256
SEQUENCE_MAX = 10_000
Steps = Generator[Any, None, Any]


class Stream:
    """One connection as a client uses it; used by one thread at a time.

    `deadline` is when the running statement must end (monotonic seconds), or None; `outcome` is the
    answer of the last work; `expired` tells that its transaction was undone for want of a request;
    `overran`, that its statement was too slow for the event loop and will start over.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        guard: Guard,
        *,
        pace: Pace,
        meter: Meter,
        limits: Limits,
        statement_seconds: float,
        lock_seconds: float,
        monotonic: Callable[[], float],
    ) -> None:
        self.connection = connection
        self.guard = guard
        self.deadline: float | None = None
        self.timed_out = False
        self.expired = False
        self.overran = False
        self.outcome: Any = None
        self.stored: dict[int, str] = {}
        self.used_at = monotonic()
        self._meter = meter
        self._cpu = 0.0
        self._pace = pace
        self._limits = limits
        self._statement_seconds = statement_seconds
        self._lock_seconds = lock_seconds
        self._monotonic = monotonic

    @property
    def autocommit(self) -> bool:
        """Tell whether no transaction is open."""
        return not self.connection.in_transaction

    @property
    def writing(self) -> bool:
        """Tell whether the stream holds the write lock."""
        return bool(self.connection.txn_state("main") == apsw.SQLITE_TXN_WRITE)

    def answer(self, request: Request) -> Steps:
        """Answer a request on this stream; raise any error that `from_any` knows."""
        kind = request.type
        if kind == "execute" and request.stmt is not None:
            return {"type": kind, "result": (yield from self.execute(request.stmt))}
        if kind == "batch" and request.batch is not None:
            return {"type": kind, "result": (yield from self.batch(request.batch))}
        if kind == "sequence":
            yield from self.sequence(self.text(request.sql, request.sql_id))
            return {"type": kind}
        if kind == "describe":
            return {"type": kind, "result": self.describe(self.text(request.sql, request.sql_id))}
        if kind == "get_autocommit":
            return {"type": kind, "is_autocommit": self.autocommit}
        if kind == "store_sql" and request.sql is not None and request.sql_id is not None:
            store(self.stored, request.sql_id, request.sql)
            return {"type": kind}
        if kind == "close_sql" and request.sql_id is not None:
            self.stored.pop(request.sql_id, None)
            return {"type": kind}
        raise HranaError(f"There is no request {kind!r} of this shape.", "PROTOCOL_ERROR")

    def text(self, sql: str | None, sql_id: int | None) -> str:
        """Return the SQL that a request gives itself or names by id."""
        if (sql is None) == (sql_id is None):
            raise HranaError("Exactly one of sql and sql_id must be given.", "PROTOCOL_ERROR")
        if sql_id is not None:
            return _stored(self.stored, sql_id)
        assert sql is not None
        return sql

    def execute(self, statement: Statement) -> Steps:
        """Run one statement; return Hrana's `StmtResult`."""
        rows: list[list[Answer]] = []
        begun = self._monotonic()
        try:
            run = yield from self._begin(statement)
            if statement.want_rows is False:
                for _ in run:
                    pass
            else:
                rows = [[value(item) for item in row] for row in run]
            return self._summary(run, rows, begun)
        except apsw.InterruptError as error:
            raise self._interrupted() from error
        finally:
            self._ended()

    def batch(self, batch: Batch) -> Steps:
        """Run a batch; return Hrana's `BatchResult`."""
        results: list[Answer | None] = []
        errors: list[Answer | None] = []
        for step in batch.steps:
            results.append(None)
            errors.append(None)
            if step.condition is not None and not holds(
                step.condition, errors[:-1], results[:-1], self.autocommit
            ):
                continue
            try:
                results[-1] = yield from self.execute(step.stmt)
            except Exception as error:
                errors[-1] = from_any(error).answer()
        return {"step_results": results, "step_errors": errors}

    def cursor(self, batch: Batch, chunk_bytes: int) -> Steps:
        """Run a batch; yield lists of Hrana's `CursorEntry`, each about a chunk in size."""
        results: list[bool | None] = []
        errors: list[bool | None] = []
        entries: list[Answer] = []
        for number, step in enumerate(batch.steps):
            results.append(None)
            errors.append(None)
            if step.condition is not None and not holds(
                step.condition, errors[:-1], results[:-1], self.autocommit
            ):
                continue
            begun = self._monotonic()
            try:
                run = yield from self._begin(step.stmt)
                entries.append({"type": "step_begin", "step": number, "cols": columns(run)})
                size = 0
                for row in run:
                    if step.stmt.want_rows is not False:
                        entries.append({"type": "row", "row": [value(item) for item in row]})
                    size += 32 * len(row) + sum(
                        len(item) for item in row if isinstance(item, (str, bytes))
                    )
                    if size >= chunk_bytes:
                        self.deadline = None
                        yield entries
                        entries, size = [], 0
                        self._arm()
                end = self._summary(run, [], begun)
                results[-1] = True
                entries.append(
                    {
                        "type": "step_end",
                        "affected_row_count": end["affected_row_count"],
                        "last_insert_rowid": end["last_insert_rowid"],
                    }
                )
            except Exception as error:
                if isinstance(error, apsw.InterruptError):
                    error = self._interrupted()
                errors[-1] = True
                shape = from_any(error).answer()
                entries.append({"type": "step_error", "step": number, "error": shape})
            finally:
                self._ended()
        yield entries
        return None

    def sequence(self, sql: str) -> Steps:
        """Run statements one after the other, ignoring rows, up to the first error."""
        rest = sql
        for _ in range(SEQUENCE_MAX):
            if not rest:
                return
            text, rest = self.first(rest)
            if text:
                yield from self.execute(Statement(sql=text, want_rows=False))
        if rest:
            raise HranaError(f"A sequence has at most {SEQUENCE_MAX} statements.", "TOO_LARGE")

    def first(self, sql: str) -> tuple[str, str]:
        """Split off the first statement, '' if only comments are left; return it and the rest.

        What comes before it must have been run, since its tables may be made there.
        """
        info = apsw.ext.query_info(self.connection, sql)
        return info.first_query if info.has_vdbe else "", info.query_remaining or ""

    def describe(self, sql: str) -> Answer:
        """Compile a statement without running it; return Hrana's `DescribeResult`."""
        info = apsw.ext.query_info(self.connection, sql)
        if not info.has_vdbe:
            raise HranaError("The text holds no SQL statement.", "SQL_NO_STATEMENT")
        if info.query_remaining and info.query_remaining.strip():
            raise HranaError("The text holds more than one SQL statement.", "SQL_MANY_STATEMENTS")
        signs = _signed(sql, info.bindings_names)
        return {
            "params": [{"name": name} for name in signs],
            "cols": [{"name": name, "decltype": kind} for name, kind in info.description],
            "is_explain": bool(info.is_explain),
            "is_readonly": bool(info.is_readonly),
        }

    def rollback(self) -> None:
        """End an open transaction, undoing it."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def _begin(self, statement: Statement) -> Steps:
        sql = self.text(statement.sql, statement.sql_id)
        arguments = arguments_of(self.connection, sql, statement)
        run = Execution(self.connection, sql, self._limits)
        give_up = self._monotonic() + self._lock_seconds
        self.guard.scanned = 0
        self._arm()
        try:
            yield from run.start(arguments, lambda: self._monotonic() < give_up)
        except apsw.InterruptError as error:
            raise self._interrupted() from error
        except apsw.ReadOnlyError as error:
            self.deadline = None
            if not self.guard.leader:
                raise
            text = f"{error}: the node {self.guard.leader} writes it"
            raise HranaError(text, "SQLITE_READONLY") from error
        except BaseException:
            self.deadline = None
            raise
        return run

    def _arm(self) -> None:
        self._cpu = time.thread_time()
        self.timed_out = False
        self.deadline = self._monotonic() + self._statement_seconds

    def bound(self, seconds: float) -> None:
        """End what runs next after a bound, of which `overran` then tells."""
        end = self._monotonic() + seconds

        def look() -> bool:
            self.overran = self.overran or self._monotonic() > end
            return self.overran

        self.connection.set_progress_handler(look, STEPS_BETWEEN_LOOKS)

    def _ended(self) -> None:
        """Count a statement, failed or not, unless it was only broken off to start over."""
        self.deadline = None
        if not self.overran:
            self._meter.add("queries")

    def _interrupted(self) -> HranaError:
        self.deadline = None
        why = f"ran longer than {self._statement_seconds:g} s" if self.timed_out else "was stopped"
        return HranaError(f"interrupted: the statement {why}", "SQLITE_INTERRUPT")

    def _summary(self, run: Execution, rows: Sequence[object], begun: float) -> Answer:
        counts = run.counts(self.guard.scanned)
        self._meter.add("rows_read", counts.rows_read)
        self._meter.add("rows_written", counts.rows_written)
        seconds = self._monotonic() - begun
        self._pace.note(run.sql, time.thread_time() - self._cpu, seconds, readonly=run.readonly)
        last = counts.last_row_id
        return {
            "cols": columns(run),
            "rows": rows,
            "affected_row_count": counts.changes,
            "last_insert_rowid": None if last is None else str(last),
            "replication_index": None,
            "rows_read": counts.rows_read,
            "rows_written": counts.rows_written,
            "query_duration_ms": seconds * 1000,
        }


def columns(run: Execution) -> list[Answer]:
    """Return Hrana's columns of a statement."""
    return [{"name": name, "decltype": kind} for name, kind in run.columns]


def store(stored: dict[int, str], sql_id: int, sql: str) -> None:
    """Keep an SQL text under an id that is not in use."""
    if sql_id in stored:
        raise HranaError(f"An SQL text is stored as {sql_id} already.", "SQL_STORE_IN_USE")
    if len(stored) >= STORED_SQL_MAX or len(sql) > SQL_BYTES_MAX:
        raise HranaError("Too many or too long SQL texts are stored.", "SQL_STORE_TOO_LARGE")
    stored[sql_id] = sql


def with_texts(request: Request, stored: dict[int, str]) -> Request:
    """Return the request with SQL texts in the place of their ids; raise for an unknown id."""

    def statement(each: Statement) -> Statement:
        if each.sql_id is None:
            return each
        return msgspec.structs.replace(each, sql=_stored(stored, each.sql_id), sql_id=None)

    if request.sql_id is not None and request.sql is None:
        return msgspec.structs.replace(request, sql=_stored(stored, request.sql_id), sql_id=None)
    if request.stmt is not None and request.stmt.sql_id is not None:
        return msgspec.structs.replace(request, stmt=statement(request.stmt))
    if request.batch is not None:
        steps = [msgspec.structs.replace(s, stmt=statement(s.stmt)) for s in request.batch.steps]
        return msgspec.structs.replace(request, batch=Batch(steps))
    return request


def _stored(stored: dict[int, str], sql_id: int) -> str:
    if sql_id not in stored:
        raise HranaError(f"No SQL text is stored as {sql_id}.", "SQL_NOT_FOUND")
    return stored[sql_id]


def _signed(sql: str, names: Sequence[str | None]) -> list[str | None]:
    """Put the prefix signs, which apsw takes off, back on the names of parameters."""
    signed: list[str | None] = []
    for name in names:
        if name is None:
            signed.append(None)
        elif name.isdigit():
            signed.append(f"?{name}")
        else:
            signed.append(next((s + name for s in ":@$" if s + name in sql), f":{name}"))
    return signed
