"""The binding of a database on another node: Hrana over HTTP, through the nodes' tunnel.

A statement by itself is one request. A transaction is a stream that its batons name: each statement
is a cursor, whose rows are read as they come. Nothing is sent twice but a SELECT.
Source: HRANA_3_SPEC of tursodatabase/libsql.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from skerry.kernel.errors import (
    BUSY,
    CONFLICT,
    DENIED,
    ENGINE_FAILED,
    INVALID,
    PROBLEMS,
    TIMED_OUT,
    TOO_LARGE,
    UNAUTHENTICATED,
    SkerryError,
)
from skerry.kernel.kind import Context
from skerry.kinds._shared.http.message import Ask
from skerry.kinds._shared.http.pool import Pool
from skerry.kinds._shared.sqlite_state import BUSY_SECONDS
from skerry.kinds.sqlite.claim import token
from skerry.kinds.sqlite.hrana import Answer, SQLValue
from skerry.kinds.sqlite.hrana import value as hrana_value
from skerry.kinds.sqlite.reading import Cursor, Failure, Piped, rows_of
from skerry.kinds.sqlite.surface import Args, Change, Database, Row, Transaction, pairs, row_type

SLACK_SECONDS = 15.0
EXPANSION = 6
"""How many bytes of JSON one byte of a result can become: a control character in a text."""

_READS = re.compile(r"\s*(?:select|values)\b", re.IGNORECASE)
_PROBLEMS = {
    "SQLITE_CONSTRAINT": CONFLICT,
    "SQLITE_INTERRUPT": TIMED_OUT,
    "STREAM_EXPIRED": TIMED_OUT,
    "AUTH_INVALID": UNAUTHENTICATED,
    "BODY_TOO_LARGE": TOO_LARGE,
}
_CLOSE = {"type": "close"}

_encoder = msgspec.json.Encoder()
_piped = msgspec.json.Decoder(Piped)
_failure = msgspec.json.Decoder(Failure)


class Line:
    """Sends requests of Hrana to one database; `limit` bounds an answer, in bytes."""

    def __init__(self, context: Context, path: str) -> None:
        config = context.config
        seconds = config.statement_seconds + BUSY_SECONDS + SLACK_SECONDS
        self.pool = Pool(context.ref.name, path, context.clock, seconds)
        self.limit = EXPANSION * config.result_bytes_max + (1 << 20)
        self._name = context.ref.name
        self._headers = {
            "authorization": f"Bearer {token(context.id, context.keys)}",
            "content-type": "application/json",
        }

    def pipeline(
        self, requests: list[Answer], baton: str | None, *, repeatable: bool = False
    ) -> Piped:
        """Carry out requests on a stream; return the answers. Raises what the database says."""
        ask = self._ask("pipeline", {"baton": baton, "requests": requests}, repeatable)
        answer = self.pool.ask(ask, limit=self.limit)
        if answer.status != 200:
            raise self._refused(answer.status, answer.body)
        return self._decoded(_piped, answer.body)

    def cursor(self, steps: list[Answer], baton: str | None) -> Cursor:
        """Carry out a batch on a stream; return its rows, read as they came.

        If it fails, the stream is ended.
        """
        cursor = Cursor(len(steps), self.limit)
        try:
            self._follow(cursor, steps, baton)
        except BaseException:
            if cursor.baton is not None:
                self.close(cursor.baton)
            raise
        return cursor

    def _follow(self, cursor: Cursor, steps: list[Answer], baton: str | None) -> None:
        ask = self._ask("cursor", {"baton": baton, "batch": {"steps": steps}}, repeatable=False)
        try:
            answer = self.pool.ask(ask, limit=self.limit, take=cursor.feed)
        except msgspec.DecodeError as error:
            raise self._strange(error) from error
        if answer.status != 200:
            raise self._refused(answer.status, answer.body)
        if cursor.failed is not None:
            raise problem(cursor.failed)

    def close(self, baton: str) -> None:
        """End a stream, undoing what is open on it; the other node would do it by itself, later."""
        self.pool.tell(self._ask("pipeline", {"baton": baton, "requests": [_CLOSE]}, False))

    def _ask(self, what: str, shape: Answer, repeatable: bool) -> Ask:
        return Ask("POST", f"/v3/{what}", self._headers, _encoder.encode(shape), repeatable)

    def _refused(self, status: int, body: bytes) -> SkerryError:
        try:
            return problem(_failure.decode(body))
        except msgspec.DecodeError:
            return ENGINE_FAILED(f"The database {self._name} answered {status}.")

    def _decoded(self, decoder: msgspec.json.Decoder[Piped], body: bytes) -> Piped:
        try:
            return decoder.decode(body)
        except msgspec.DecodeError as error:
            raise self._strange(error) from error

    def _strange(self, error: Exception) -> SkerryError:
        return ENGINE_FAILED(f"What answers for {self._name} is no database.", why=str(error))


class RemoteTransaction(Transaction):
    """Statements on a stream over there; `baton` names the stream, or is None once it is over."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self.baton: str | None = None

    def begin(self) -> None:
        """Open the transaction."""
        self._cursor("BEGIN IMMEDIATE", ())

    def run(self, sql: str, args: Args) -> tuple[list[Row], Change]:
        """See `Transaction.run`."""
        self._check()
        return self._cursor(sql, args)

    def commit(self) -> None:
        """Make it count, durably, and end the stream."""
        self._check()
        baton, self.baton = self.baton, None
        done = self._line.pipeline([_execute("COMMIT", ()), _CLOSE], baton).results[0]
        if done.error is not None:
            raise problem(done.error)

    def undo(self) -> None:
        """End the stream, and so undo what is not committed."""
        baton, self.baton = self.baton, None
        if baton is not None:
            self._line.close(baton)

    def _check(self) -> None:
        if self.baton is None:
            raise CONFLICT("The transaction is undone.", why="An answer in it could not be read.")

    def _cursor(self, sql: str, args: Args) -> tuple[list[Row], Change]:
        step = {"stmt": _statement(sql, args)}
        baton, self.baton = self.baton, None
        cursor = self._line.cursor([step], baton)
        self.baton = cursor.baton
        return _outcome(cursor, 0)


class RemoteDatabase(Database):
    """A database on another node."""

    def __init__(self, context: Context, path: str) -> None:
        super().__init__()
        self._line = Line(context, path)

    def run(self, sql: str, args: Args) -> tuple[list[Row], Change]:
        """See `Database.run`."""
        repeatable = _READS.match(sql) is not None
        requests = [_execute(sql, args), _CLOSE]
        done = self._line.pipeline(requests, None, repeatable=repeatable).results[0]
        if done.error is not None:
            raise problem(done.error)
        result = done.response.result if done.response is not None else None
        if result is None:
            raise ENGINE_FAILED("The database answered something else than was asked.")
        shape = row_type(tuple(each.name for each in result.cols))
        return rows_of(shape, result.rows), Change(result.affected_row_count, result.last)

    def batch(self, statements: Iterable[str | tuple[str, Args]]) -> list[list[Row]]:
        """See `Database.batch`: one request, and one that is not waited for."""
        steps: list[Answer] = [{"stmt": {"sql": "BEGIN IMMEDIATE"}}]
        for sql, args in (*pairs(statements), ("COMMIT", ())):
            condition = {"type": "ok", "step": len(steps) - 1}
            steps.append({"stmt": _statement(sql, args), "condition": condition})
        cursor = self._line.cursor(steps, None)
        if cursor.baton is not None:
            self._line.close(cursor.baton)
        return [_outcome(cursor, number)[0] for number in range(len(steps))][1:-1]

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """See `Database.transaction`; the other node undoes one that is idle for long."""
        transaction = RemoteTransaction(self._line)
        try:
            transaction.begin()
            yield transaction
            transaction.commit()
        finally:
            transaction.undo()

    def close(self) -> None:
        """See `Database.close`."""
        self._line.pool.close()


async def bind(context: Context) -> Database:
    """Return the binding; nothing is sent yet."""
    return RemoteDatabase(context, await context.host.ready(context.ref.name))


def problem(error: Failure) -> SkerryError:
    """Return what a function sees of an error of Hrana: the same as of SQLite's own."""
    if error.code == "SQLITE_BUSY":
        return BUSY("Another writer did not end in time.", why=error.message)
    if error.code == "SQLITE_AUTH":
        return DENIED("A database must not do that.", why=error.message)
    found = _PROBLEMS.get(error.code) or PROBLEMS.get(error.code, INVALID)
    return found(error.message)


def _outcome(cursor: Cursor, number: int) -> tuple[list[Row], Change]:
    """Return what came of a step, or raise its error; one that was not run had one before it."""
    step = cursor.steps[number]
    if step.error is not None:
        raise problem(step.error)
    return step.rows, Change(step.affected, step.last_row_id)


def _execute(sql: str, args: Args) -> Answer:
    return {"type": "execute", "stmt": _statement(sql, args)}


def _statement(sql: str, args: Args) -> Answer:
    """Return Hrana's statement; names that it does not use are left out, as SQLite does."""
    if not isinstance(args, Mapping):
        return {"sql": sql, "args": [_value(each) for each in args]}
    used = {name: each for name, each in args.items() if re.search(rf"[:@$]{re.escape(name)}", sql)}
    named = [{"name": name, "value": _value(each)} for name, each in used.items()]
    return {"sql": sql, "named_args": named}


def _value(item: Any) -> Answer:
    """Return an argument as Hrana writes it; raise INVALID for what it, or SQLite, cannot."""
    plain: SQLValue = item
    if isinstance(item, bool):
        plain = int(item)
    elif isinstance(item, bytearray | memoryview):
        plain = bytes(item)
    elif isinstance(item, float) and math.isinf(item):
        raise INVALID("An infinity cannot be sent to a database on another node.")
    kind = next((each for each in (int, float, str, bytes) if isinstance(plain, each)), None)
    if plain is not None and kind is None:
        raise INVALID("An argument is no value of SQLite.", why=f"It is of type {type(item)}.")
    if isinstance(plain, str):
        _check_text(plain)
    return hrana_value(plain if kind is None else kind(plain))  # type: ignore[arg-type]


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise INVALID("An argument is no value of SQLite.", why=str(error)) from error
