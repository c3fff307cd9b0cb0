"""Reading what a database answers in Hrana: results, and the entries of a cursor as they come."""

from __future__ import annotations

import msgspec

from skerry.kernel.errors import INVALID, TOO_LARGE
from skerry.kinds.sqlite.hrana import Float, SQLValue, Value
from skerry.kinds.sqlite.surface import Row, row_type


class Failure(msgspec.Struct, frozen=True):
    """Hrana's `Error`."""

    message: str
    code: str = ""


class Column(msgspec.Struct, frozen=True):
    """Hrana's `Col`."""

    name: str


class Result(msgspec.Struct, frozen=True):
    """Hrana's `StmtResult`."""

    cols: list[Column]
    rows: list[list[Value]]
    affected_row_count: int = 0
    last_insert_rowid: str | None = None

    @property
    def last(self) -> int | None:
        """The id of the row that was inserted last."""
        return None if self.last_insert_rowid is None else int(self.last_insert_rowid)


class Response(msgspec.Struct, frozen=True):
    """The answer to a request that was carried out."""

    type: str
    result: Result | None = None


class Outcome(msgspec.Struct, frozen=True):
    """What came of a request: a response or an error."""

    type: str
    response: Response | None = None
    error: Failure | None = None


class Piped(msgspec.Struct, frozen=True):
    """The answer to a pipeline."""

    results: list[Outcome]
    baton: str | None = None


class Entry(msgspec.Struct, frozen=True):
    """A line of a cursor: the first names the stream, `type` tells what the others are."""

    type: str = ""
    baton: str | None = None
    step: int = 0
    cols: list[Column] = []
    row: list[Value] = []
    affected_row_count: int = 0
    last_insert_rowid: str | None = None
    error: Failure | None = None


_entry = msgspec.json.Decoder(Entry)


class Step:
    """What came of one step of a batch."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.shape = Row
        self.affected = 0
        self.last_row_id: int | None = None
        self.error: Failure | None = None


class Cursor:
    """The answer to a cursor, fed with bytes as they come; `failed` tells that it ended early.

    One line has at most `limit` bytes. Raises `msgspec.DecodeError` for what is no cursor.
    """

    def __init__(self, steps: int, limit: int) -> None:
        self.baton: str | None = None
        self.steps = [Step() for _ in range(steps)]
        self.failed: Failure | None = None
        self._begun = False
        self._at = 0
        self._limit = limit
        self._held = bytearray()

    def feed(self, data: bytes) -> None:
        """Read on."""
        self._held += data
        end = self._held.rfind(b"\n") + 1
        if not end:
            if len(self._held) > self._limit:
                raise TOO_LARGE(f"A row of the result is larger than {self._limit} bytes.")
            return
        whole = bytes(self._held[:end])
        del self._held[:end]
        for line in whole.splitlines():
            self._read(_entry.decode(line))

    def _read(self, entry: Entry) -> None:
        if not self._begun:
            self._begun, self.baton = True, entry.baton
        elif entry.type == "error":
            self.failed = entry.error
        elif entry.type == "step_begin":
            self._at = min(entry.step, len(self.steps) - 1)
            self.steps[self._at].shape = row_type(tuple(each.name for each in entry.cols))
        elif entry.type == "row":
            step = self.steps[self._at]
            step.rows += rows_of(step.shape, [entry.row])
        elif entry.type == "step_end":
            step = self.steps[self._at]
            step.affected = entry.affected_row_count
            last = entry.last_insert_rowid
            step.last_row_id = None if last is None else int(last)
        elif entry.type == "step_error":
            self.steps[min(entry.step, len(self.steps) - 1)].error = entry.error


def rows_of(shape: type[Row], rows: list[list[Value]]) -> list[Row]:
    """Return rows with the values of SQLite."""
    return [shape([_plain(item) for item in row]) for row in rows]


def _plain(item: Value) -> SQLValue:
    if isinstance(item, Float) and item.value is None:
        raise INVALID(
            "The result holds an infinity, which does not pass between nodes.",
            hint="Select CAST(… AS TEXT) of it.",
        )
    return item.sql()
