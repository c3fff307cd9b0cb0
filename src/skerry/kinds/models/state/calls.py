"""The log of calls: one row each, bounded, with as much of the texts as the settings keep."""

from __future__ import annotations

from typing import Any

import apsw
import msgspec

TRIM_EVERY = 256


class Call(msgspec.Struct, frozen=True, omit_defaults=True):
    """A call that was answered. Times are nanoseconds since 1970; seconds say how long it took.

    `rule` is the rule of the policy that let it go there. `attempts` are the routes that were
    tried before, with why each did not answer.
    """

    time: int
    key: int
    asked: str
    model: str
    provider: str
    status: int
    micro_eur: int = 0
    country: str = ""
    evidence: str = ""
    rule: str = ""
    operation: str = ""
    stream: bool = False
    cached: bool = False
    input_tokens: int = 0
    output_tokens: int = 0
    estimated: bool = False
    first_seconds: float | None = None
    seconds: float = 0.0
    cut: bool = False
    error: str = ""
    attempts: tuple[str, ...] = ()
    prompt: str = ""
    answer: str = ""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Call)


def write(connection: apsw.Connection, call: Call, rows_max: int) -> None:
    """Add a row; now and then remove those beyond the bound."""
    connection.execute(
        "INSERT INTO calls (time, key, asked, model, provider, status, micro_eur, details) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            call.time,
            call.key,
            call.asked,
            call.model,
            call.provider,
            call.status,
            call.micro_eur,
            _encoder.encode(call).decode(),
        ),
    )
    last = connection.last_insert_rowid()
    if last % TRIM_EVERY == 0:
        connection.execute("DELETE FROM calls WHERE id <= ?", (last - rows_max,))


def latest(connection: apsw.Connection, count: int) -> list[Call]:
    """Return the last calls, the newest first."""
    rows = connection.execute("SELECT details FROM calls ORDER BY id DESC LIMIT ?", (count,))
    return [_decoder.decode(details) for (details,) in rows]


def totals(connection: apsw.Connection) -> dict[str, Any]:
    """Return how many calls are in the log and what they cost."""
    count, cost = connection.execute(
        "SELECT count(*), coalesce(sum(micro_eur), 0) FROM calls"
    ).fetchone()  # type: ignore[misc]
    return {"calls": count, "micro_eur": cost}
