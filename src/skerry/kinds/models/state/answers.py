"""Answers that are kept: the exact-match cache, and responses that a later one may follow."""

from __future__ import annotations

import hashlib
from typing import Any

import apsw
import msgspec

from skerry.kernel.clock import NANOSECONDS

CACHE_BYTES_MAX = 256 << 20
ENTRY_BYTES_MAX = 1 << 20
RESPONSES_MAX = 10_000
_PURGE_ROWS = 200
_IGNORED = ("stream", "stream_options", "user", "metadata", "store")

_sorted = msgspec.json.Encoder(order="sorted")


class Hit(msgspec.Struct, frozen=True):
    """An answer from the cache, and the headers that said where it came from."""

    body: bytes
    origin: dict[str, str]


def digest(operation: str, body: dict[str, Any]) -> bytes:
    """Return what two equal questions share: SHA-256 of all that an answer depends on."""
    asked = {key: value for key, value in body.items() if key not in _IGNORED}
    return hashlib.sha256(operation.encode() + b"\0" + _sorted.encode(asked)).digest()


def look_up(connection: apsw.Connection, key: bytes, now: int) -> Hit | None:
    """Return a cached answer that has not expired."""
    row = connection.execute(
        "SELECT body, origin FROM cache WHERE digest = ? AND expires > ?", (key, now)
    ).fetchone()
    return None if row is None else Hit(row[0], msgspec.json.decode(row[1], type=dict[str, str]))


def keep(connection: apsw.Connection, key: bytes, hit: Hit, now: int, seconds: float) -> None:
    """Put an answer into the cache; what has expired, or the soonest to expire, makes room."""
    expires = now + int(seconds * NANOSECONDS)
    connection.execute(
        "INSERT OR REPLACE INTO cache (digest, expires, bytes, origin, body) VALUES (?,?,?,?,?)",
        (key, expires, len(hit.body), msgspec.json.encode(hit.origin).decode(), hit.body),
    )
    connection.execute(
        "DELETE FROM cache WHERE digest IN "
        "(SELECT digest FROM cache WHERE expires <= ? ORDER BY expires LIMIT ?)",
        (now, _PURGE_ROWS),
    )
    while connection.execute("SELECT coalesce(sum(bytes), 0) FROM cache").get > CACHE_BYTES_MAX:
        connection.execute(
            "DELETE FROM cache WHERE digest IN (SELECT digest FROM cache ORDER BY expires LIMIT ?)",
            (_PURGE_ROWS,),
        )


class Kept(msgspec.Struct, frozen=True):
    """A response that was kept, and the conversation up to and with it, as chat messages."""

    body: bytes
    history: bytes


def keep_response(connection: apsw.Connection, name: str, key: int, kept: Kept, now: int) -> None:
    """Keep a response; beyond the bound the oldest go."""
    connection.execute(
        "INSERT OR REPLACE INTO responses (id, key, time, body, history) VALUES (?, ?, ?, ?, ?)",
        (name, key, now, kept.body, kept.history),
    )
    connection.execute(
        "DELETE FROM responses WHERE id IN (SELECT id FROM responses ORDER BY time DESC "
        "LIMIT -1 OFFSET ?)",
        (RESPONSES_MAX,),
    )


def response(connection: apsw.Connection, name: str, key: int) -> Kept | None:
    """Return a response that a key had made."""
    row = connection.execute(
        "SELECT body, history FROM responses WHERE id = ? AND key = ?", (name, key)
    ).fetchone()
    return None if row is None else Kept(*row)


def forget_response(connection: apsw.Connection, name: str, key: int) -> bool:
    """Remove a response; tell whether there was one."""
    connection.execute("DELETE FROM responses WHERE id = ? AND key = ?", (name, key))
    return connection.changes() > 0
