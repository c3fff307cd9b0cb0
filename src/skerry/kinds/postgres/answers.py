"""What a server still owes a pooled client, and which of its answers the client gets to see."""

from __future__ import annotations

import enum
import struct
from collections import deque
from functools import lru_cache
from typing import NamedTuple

from skerry.kinds.postgres.prepared import Statement

_head = struct.Struct("!BI").unpack_from
_PARSED = b"1\x00\x00\x00\x04"
_COMPLETE, _ERROR, _READY, _PARSE_DONE, _CLOSE_DONE = b"CEZ13"
_COPYING = frozenset(b"GW")
_SPECIAL = frozenset(b"GWZ13")
_HEAD_BYTES = 5
_READY_BYTES = 6
_SHORT_BYTES = 100
_READ = frozenset(b"CEZ13")
_IDLE = ord("I")
_TELLING = (
    b"SET",
    b"LISTEN",
    b"UNLISTEN",
    b"PREPARE",
    b"DECLARE CURSOR",
    b"CLOSE CURSOR",
    b"LOAD",
    b"RESET",
    b"DISCARD",
    b"DEALLOCATE",
    b"DROP TABLE",
)
_FORGETTING = (b"DISCARD ALL\x00", b"DEALLOCATE ALL\x00")


class Fate(enum.Enum):
    """What becomes of an awaited answer."""

    QUERY = enum.auto()
    SYNC = enum.auto()
    FLUSH = enum.auto()
    PASS = enum.auto()
    DROP = enum.auto()
    AS_PARSED = enum.auto()


_ENDS = (Fate.QUERY, Fate.SYNC, Fate.FLUSH)


class Expected(NamedTuple):
    """An awaited answer; a statement that it prepares, and the client's name for it."""

    fate: Fate
    statement: Statement | None = None
    name: bytes | None = None


class Answers:
    """The answers awaited in one session, in their order.

    `open` tells whether a transaction is open, `idle` that none is and no answer is outstanding,
    `telling` that a command may have left something in the session. After `read`, `failed` holds
    what the server ignored after an error, and `forgotten` tells that it dropped all statements.
    """

    def __init__(self) -> None:
        self._awaited: deque[Expected] = deque()
        self._rest = b""
        self._missing = self._passed = 0
        self.idle = self.open = False
        self.telling = False
        self.forgotten = False
        self.failed: list[Expected] = []

    @property
    def settled(self) -> bool:
        """Whether nothing is remembered of what was said, so that another session may answer."""
        return self.idle and not (self.telling or self._missing or self._rest)

    def expect(self, answer: Expected) -> None:
        """Await one more answer."""
        self._awaited.append(answer)
        self.idle = False

    def note(self, data: bytes) -> None:
        """Take note of what the client gets as it is, the beginning of a message included."""
        self.read(data)
        self._passed = len(self._rest)

    def read(self, data: bytes) -> bytes:
        """Read what the server says; return what the client gets of it."""
        self.failed, self.forgotten = [], False
        passed = self._passed
        if self._rest:
            data, self._rest = self._rest + data, b""
        kept: list[bytes] = []
        start, position, size = 0, self._missing, len(data)
        while position + 5 <= size:
            kind, length = _head(data, position)
            end = position + 1 + length
            if kind in _READ:
                if end > size:
                    break
                instead = self._heard(kind, data, position, end)
                if instead is not None:
                    kept += [data[start:position], instead]
                    start = end
            elif kind in _COPYING:
                self._copying()
            position = end
        if position < size:
            self._rest = data[position:]
            data = data[:position]
            position = len(data)
        self._missing = position - len(data)
        self._passed = max(0, passed - len(data))
        if not kept:
            return data[passed:]
        return b"".join([*kept, data[start:]])[passed:]

    def end_plainly(self, data: bytes) -> bool:
        """Take note of a whole answer to the one question asked, if nothing but its end matters.

        If it tells False, nothing was taken note of, and `read` has to read the data.
        """
        awaited = self._awaited
        if len(awaited) != 1 or self._missing or self._rest or awaited[0].fate is not Fate.QUERY:
            return False
        plain = _is_plain_and_short(data) if len(data) <= _SHORT_BYTES else _is_plain(data)
        if plain:
            awaited.clear()
            self.open = data[-1] != _IDLE
            self.idle = not self.open
        return plain

    def _heard(self, kind: int, data: bytes, position: int, end: int) -> bytes | None:
        """Take note of a message; return what the client gets instead, or None if it as it is."""
        if kind == _COMPLETE:
            tag = data[position + 5 : end]
            if tag.startswith(_TELLING):
                self.telling = True
                self.forgotten = self.forgotten or tag in _FORGETTING
        elif kind == _READY:
            fate = self._awaited.popleft().fate if self._awaited else Fate.SYNC
            self.open = data[position + 5] != _IDLE
            self.idle = not (self._awaited or self.open)
            return b"" if fate is Fate.FLUSH else None
        elif kind == _ERROR:
            self._skip()
        elif self._awaited and self._awaited[0].fate not in _ENDS:
            fate = self._awaited.popleft().fate
            return None if fate is Fate.PASS else _PARSED if fate is Fate.AS_PARSED else b""
        return None

    def _skip(self) -> None:
        """After an error the server ignores everything up to the next Sync."""
        while self._awaited and self._awaited[0].fate not in _ENDS:
            skipped = self._awaited.popleft()
            self.failed.append(skipped)

    def _copying(self) -> None:
        """A server that takes a COPY ignores the Syncs that were sent before the data."""
        while self._awaited and self._awaited[0].fate is Fate.SYNC:
            self._awaited.popleft()


def _is_plain(data: bytes) -> bool:
    """Tell whether messages are a whole answer of which nothing but the end matters."""
    position, last = 0, len(data) - _READY_BYTES
    while position < last:
        kind, length = _head(data, position)
        if kind in _SPECIAL or (
            kind == _COMPLETE and data.startswith(_TELLING, position + _HEAD_BYTES)
        ):
            return False
        position += length + 1
    return position == last and data[last] == _READY


_is_plain_and_short = lru_cache(maxsize=4096)(_is_plain)
"""Most short answers, such as to a write, are the same again and again."""
