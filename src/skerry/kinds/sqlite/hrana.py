"""Hrana's messages in JSON, and SQLite's values in them.

Source: HRANA_1_SPEC, HRANA_2_SPEC, HRANA_3_SPEC and HTTP_V2_SPEC of tursodatabase/libsql. Requests
are decoded strictly by type; unknown fields are ignored, as the specification asks. Answers are
plain dictionaries, which the encoder writes faster than anything else of this shape.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import apsw
import msgspec

from skerry.kernel.errors import SkerryError
from skerry.kinds.sqlite.failure import HranaError

SQLValue = None | int | float | str | bytes
Answer = dict[str, Any]

INTEGER_MIN, INTEGER_MAX = -(1 << 63), (1 << 63) - 1


class Null(msgspec.Struct, tag_field="type", tag="null", frozen=True):
    """SQL NULL."""

    def sql(self) -> SQLValue:
        """Return the value for SQLite."""
        return None


class Integer(msgspec.Struct, tag_field="type", tag="integer", frozen=True):
    """A 64-bit integer; a decimal string, since many JSON readers only know floats."""

    value: str | int

    def sql(self) -> SQLValue:
        """Return the value for SQLite."""
        try:
            number = int(self.value)
        except ValueError as error:
            raise HranaError("An integer is not a decimal number.", "ARGS_INVALID") from error
        if not INTEGER_MIN <= number <= INTEGER_MAX:
            raise HranaError("An integer does not fit into 64 bits.", "ARGS_INVALID")
        return number


class Float(msgspec.Struct, tag_field="type", tag="float", frozen=True):
    """A 64-bit float; null stands for what JSON cannot write (NaN)."""

    value: float | None

    def sql(self) -> SQLValue:
        """Return the value for SQLite."""
        return self.value


class Text(msgspec.Struct, tag_field="type", tag="text", frozen=True):
    """A text."""

    value: str

    def sql(self) -> SQLValue:
        """Return the value for SQLite."""
        return self.value


class Blob(msgspec.Struct, tag_field="type", tag="blob", frozen=True):
    """Bytes in base64, padded or not."""

    base64: str

    def sql(self) -> SQLValue:
        """Return the value for SQLite."""
        digits = self.base64.rstrip("=")
        try:
            return base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
        except (binascii.Error, ValueError) as error:
            raise HranaError("A blob is not base64.", "ARGS_INVALID") from error


Value = Null | Integer | Float | Text | Blob


class NamedArgument(msgspec.Struct, frozen=True):
    """The value of a parameter by its name, with or without the prefix sign."""

    name: str
    value: Value


class Statement(msgspec.Struct, frozen=True):
    """One SQL statement, by its text or by the id of a stored text, and its arguments."""

    sql: str | None = None
    sql_id: int | None = None
    args: list[Value] | None = None
    named_args: list[NamedArgument] | None = None
    want_rows: bool | None = True


class Condition(msgspec.Struct, frozen=True):
    """When a step of a batch is run; which fields are used depends on `type`."""

    type: str
    step: int | None = None
    cond: Condition | None = None
    conds: list[Condition] | None = None


class Step(msgspec.Struct, frozen=True):
    """A statement of a batch and its condition."""

    stmt: Statement
    condition: Condition | None = None


class Batch(msgspec.Struct, frozen=True):
    """Statements that are run in order, each if its condition holds."""

    steps: list[Step]


class Request(msgspec.Struct, frozen=True):
    """A request on a stream (HTTP) or a connection (WebSocket); `type` tells what counts."""

    type: str
    stmt: Statement | None = None
    batch: Batch | None = None
    sql: str | None = None
    sql_id: int | None = None
    stream_id: int | None = None
    cursor_id: int | None = None
    max_count: int | None = None


class Pipeline(msgspec.Struct, frozen=True):
    """The body of `POST /v2/pipeline` and `/v3/pipeline`."""

    requests: list[Request]
    baton: str | None = None


class CursorRequest(msgspec.Struct, frozen=True):
    """The body of `POST /v3/cursor`."""

    batch: Batch
    baton: str | None = None


class Message(msgspec.Struct, frozen=True):
    """What a client sends over a WebSocket."""

    type: str
    jwt: str | None = None
    request_id: int | None = None
    request: Request | None = None


def value(item: SQLValue) -> Answer:
    """Return Hrana's `Value` for a value of SQLite."""
    answer: Answer = _ENCODE[type(item)](item)
    return answer


_ENCODE: dict[type, Any] = {
    type(None): lambda _: {"type": "null"},
    int: lambda item: {"type": "integer", "value": str(item)},
    float: lambda item: {"type": "float", "value": item},
    str: lambda item: {"type": "text", "value": item},
    bytes: lambda item: {
        "type": "blob",
        "base64": binascii.b2a_base64(item, newline=False).rstrip(b"=").decode(),
    },
}


def holds(condition: Condition, errors: list[Any], results: list[Any], autocommit: bool) -> bool:
    """Tell whether a condition holds, given the steps before; raise for a malformed one."""
    kind = condition.type
    if kind in ("ok", "error"):
        step = condition.step
        if step is None or not 0 <= step < len(results):
            raise HranaError("A condition names a step that was not run.", "BATCH_COND_INVALID")
        return (results if kind == "ok" else errors)[step] is not None
    if kind == "is_autocommit":
        return autocommit
    if kind == "not" and condition.cond is not None:
        return not holds(condition.cond, errors, results, autocommit)
    if kind in ("and", "or") and condition.conds is not None:
        verdicts = [holds(each, errors, results, autocommit) for each in condition.conds]
        return all(verdicts) if kind == "and" else any(verdicts)
    raise HranaError(f"There is no condition {kind!r} of this shape.", "BATCH_COND_INVALID")


def from_sqlite(error: apsw.Error) -> HranaError:
    """Return what a client sees of an error of SQLite: its own text, its base and extended code."""
    base = apsw.mapping_result_codes.get(getattr(error, "result", 1), "SQLITE_ERROR")
    extended = apsw.mapping_extended_result_codes.get(getattr(error, "extendedresult", 1))
    return HranaError(str(error), str(base), None if extended is None else str(extended))


def from_any(error: Exception) -> HranaError:
    """Return what a client sees of any expected failure; raise what is a defect of ours."""
    if isinstance(error, HranaError):
        return error
    if isinstance(error, apsw.BindingsError):
        return HranaError(str(error), "ARGS_INVALID")
    if isinstance(error, apsw.Error):
        return from_sqlite(error)
    if isinstance(error, UnicodeError):
        return HranaError(
            "A text is not valid UTF-8; read it with CAST(… AS BLOB).", "TEXT_NOT_UTF8"
        )
    if isinstance(error, SkerryError):
        return HranaError(error.what, error.code)
    raise error
