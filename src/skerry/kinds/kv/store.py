"""The namespace in SQLite: one table, keys in the order of their bytes.

A store has one connection and is used by one thread at a time; several stores, in one process or in
many, may have the same file open. Expired values are never shown, and are removed later in bounded
steps. Limits are those of Workers KV: https://developers.cloudflare.com/kv/platform/limits/
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import msgspec

from skerry.kernel.clock import NANOSECONDS, Clock
from skerry.kernel.errors import BUSY, ENGINE_FAILED, INVALID, TOO_LARGE, SkerryError
from skerry.kernel.reading import leader_of, refusal
from skerry.kernel.usage import Meter
from skerry.kinds._shared.sqlite_state import connect, writing
from skerry.kinds.kv.manifest import Key, Page

FILE = "kv.sqlite"
KEY_BYTES_MAX = 512
VALUE_BYTES_MAX = 25 << 20
METADATA_BYTES_MAX = 1024
LIST_MAX = 1000
BULK_MAX = 10_000
PURGE_MAX = 1000
MAPPED_BYTES = 256 << 20
"""How much of the file is read by mapping it, which takes a fifth off a read."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    key BLOB PRIMARY KEY, expires INTEGER, metadata TEXT, value BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS expiring ON entries (expires) WHERE expires IS NOT NULL;
"""
_GET = "SELECT value, metadata, expires FROM entries WHERE key = ?"
_PUT = "INSERT OR REPLACE INTO entries (key, expires, metadata, value) VALUES (?, ?, ?, ?)"
_LIST = """
SELECT key, expires, metadata FROM entries
WHERE key > ? AND key >= ? AND (? IS NULL OR key < ?) AND (expires IS NULL OR expires > ?)
ORDER BY key LIMIT ?"""
_PURGE = """
DELETE FROM entries WHERE rowid IN (
    SELECT rowid FROM entries WHERE expires <= ? ORDER BY expires LIMIT ?)"""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()


class Entry(NamedTuple):
    """A value as it is kept; `metadata` is JSON text, `expires` seconds since 1970."""

    key: bytes
    value: bytes
    metadata: str | None = None
    expires: int | None = None


class Store:
    """Reads and writes a namespace."""

    def __init__(self, path: Path, clock: Clock, meter: Meter, *, create: bool = False) -> None:
        self._connection = connect(path, create=create, mmap_bytes=MAPPED_BYTES)
        self._clock = clock
        self._meter = meter
        self._leader = leader_of(path)
        if create:
            self._connection.execute(_SCHEMA)
        self._cursor = self._connection.cursor()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _failures(self) -> _Failures:
        return _Failures(self._leader)

    def now(self) -> int:
        """Return the seconds since 1970."""
        return self._clock.now() // NANOSECONDS

    def get(self, key: str) -> Entry | None:
        """Return what is kept under a key."""
        raw = key_bytes(key)
        self._meter.add("reads")
        # Read to the end: a statement that is left open pins this moment and blocks writing.
        found: list[Any] = self._cursor.execute(_GET, (raw,)).fetchall()
        for value, metadata, expires in found:
            if expires is None or expires > self.now():
                return Entry(raw, value, metadata, expires)
        return None

    def put(self, entries: Sequence[Entry]) -> None:
        """Keep values, durably; all of them or none."""
        with self._failures(), writing(self._connection):
            self._connection.executemany(
                _PUT, ((each.key, each.expires, each.metadata, each.value) for each in entries)
            )
        self._meter.add("writes", len(entries))
        size = sum(len(e.key) + len(e.value) + len(e.metadata or "") for e in entries)
        self._meter.add("bytes_written", size)

    def delete(self, keys: Iterable[str]) -> int:
        """Delete keys, durably; return how many there were."""
        raw = [(key_bytes(key),) for key in keys]
        before = self._connection.total_changes()
        with self._failures(), writing(self._connection):
            self._connection.executemany("DELETE FROM entries WHERE key = ?", raw)
        self._meter.add("deletes", len(raw))
        return int(self._connection.total_changes() - before)

    def list(self, prefix: str = "", limit: int = LIST_MAX, cursor: str = "") -> Page:
        """Return a page of the keys that begin with `prefix`."""
        start, after = listable(prefix, limit, cursor)
        stop = _after(start)
        bounds = (after, start, stop, stop, self.now(), limit + 1)
        found = list(self._connection.execute(_LIST, bounds))
        self._meter.add("lists")
        keys = tuple(
            Key(key.decode(), expires, _decoder.decode(metadata) if metadata else None)
            for key, expires, metadata in found[:limit]
        )
        return Page(keys, _cursor(found[limit - 1][0]) if len(found) > limit else "")

    def purge(self) -> int:
        """Remove some of the expired values; return how many."""
        before = self._connection.total_changes()
        with self._failures(), writing(self._connection):
            self._connection.execute(_PURGE, (self.now(), PURGE_MAX))
        return int(self._connection.total_changes() - before)

    def has_expired(self) -> bool:
        """Tell whether `purge` would find something; takes no lock."""
        sql = "SELECT EXISTS (SELECT 1 FROM entries WHERE expires <= ?)"
        return bool(self._connection.execute(sql, (self.now(),)).get)

    def entries(self) -> Iterable[Entry]:
        """Yield all that has not expired, as of one moment, in order."""
        sql = """SELECT key, value, metadata, expires FROM entries
        WHERE expires IS NULL OR expires > ? ORDER BY key"""
        yield from map(Entry._make, self._connection.execute(sql, (self.now(),)))

    def replace(self, entries: Iterable[Entry]) -> None:
        """Replace everything by `entries`, in one transaction."""
        with self._failures(), writing(self._connection):
            self._connection.execute("DELETE FROM entries")
            rows = ((each.key, each.expires, each.metadata, each.value) for each in entries)
            self._connection.executemany(_PUT, rows)

    def count(self) -> int:
        """Return how many values are kept, expired ones included."""
        return int(self._connection.execute("SELECT count(*) FROM entries").get)


class _Failures:
    """Turns failures of SQLite into errors of the family; `leader` is who writes, if not we."""

    def __init__(self, leader: str) -> None:
        self._leader = leader

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, apsw.ReadOnlyError):
            raise refusal(self._leader) from error
        if isinstance(error, apsw.BusyError):
            raise BUSY("Another writer did not end in time.", why=str(error)) from error
        if isinstance(error, apsw.FullError):
            raise TOO_LARGE("The disk is full.", why=str(error)) from error
        if isinstance(error, apsw.Error):
            raise ENGINE_FAILED("The namespace could not be written.", why=str(error)) from error


def key_bytes(key: str) -> bytes:
    """Return a key as it is kept; raise INVALID for one that Workers KV would refuse."""
    try:
        raw = key.encode()
    except UnicodeEncodeError as error:
        raise INVALID("A key must be valid Unicode.") from error
    if not raw or key in (".", ".."):
        raise INVALID(f"{key!r} cannot be a key.")
    if len(raw) > KEY_BYTES_MAX:
        raise TOO_LARGE(f"The key has {len(raw)} bytes; {KEY_BYTES_MAX} are allowed.")
    return raw


def listable(prefix: str, limit: int, cursor: str) -> tuple[bytes, bytes]:
    """Return where a list begins: its prefix, and the key before; raise INVALID or TOO_LARGE."""
    if not 1 <= limit <= LIST_MAX:
        raise INVALID(f"limit is {limit}, not 1 to {LIST_MAX}.")
    return key_bytes(prefix) if prefix else b"", _read_cursor(cursor)


def metadata_text(metadata: Any) -> str | None:
    """Return metadata as JSON text; raise INVALID if it is no JSON, TOO_LARGE beyond 1024 bytes."""
    if metadata is None:
        return None
    try:
        raw = _encoder.encode(metadata)
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise INVALID("The metadata is not JSON.", why=str(error)) from error
    if len(raw) > METADATA_BYTES_MAX:
        raise TOO_LARGE(f"The metadata has {len(raw)} bytes; {METADATA_BYTES_MAX} are allowed.")
    return raw.decode()


def new_entry(
    key: str,
    value: str | bytes,
    now: int,
    *,
    metadata: Any = None,
    expiration: int | None = None,
    expiration_ttl: int | None = None,
) -> Entry:
    """Check what is to be kept and return it.

    `expiration` is a moment in seconds since 1970, `expiration_ttl` seconds from `now`; the latter
    wins, as it does in Workers KV.
    """
    try:
        raw = value.encode() if isinstance(value, str) else bytes(value)
    except UnicodeEncodeError as error:
        raise INVALID("A text must be valid Unicode.") from error
    if len(raw) > VALUE_BYTES_MAX:
        raise TOO_LARGE(f"The value has {len(raw)} bytes; {VALUE_BYTES_MAX} are allowed.")
    if expiration_ttl is not None:
        if not 1 <= expiration_ttl <= 1 << 40:
            raise INVALID(f"expiration_ttl is {expiration_ttl}, not a number of seconds from 1 on.")
        expiration = now + expiration_ttl
    elif expiration is not None and not now < expiration <= 1 << 41:
        raise INVALID(f"expiration is {expiration}, which is not in the future.")
    return Entry(key_bytes(key), raw, metadata_text(metadata), expiration)


def _after(prefix: bytes) -> bytes | None:
    """Return the least key above all that begin with `prefix`, or None if there is none."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,)) if kept else None


def _cursor(key: bytes) -> str:
    return base64.urlsafe_b64encode(b"k" + key).decode().rstrip("=")


def _read_cursor(cursor: str) -> bytes:
    """Return the key after which a page begins; raise INVALID for a cursor that is not ours."""
    if not cursor:
        return b""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise _bad_cursor() from error
    if raw[:1] != b"k" or len(raw) > KEY_BYTES_MAX + 1:
        raise _bad_cursor()
    return raw[1:]


def _bad_cursor() -> SkerryError:
    return INVALID("The cursor is not one that a list has returned.")
