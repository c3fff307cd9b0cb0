"""The two directions of a session's raw relay, as cheap as Python lets them be.

Bytes are passed on as they come. Only the heads of the client's messages are read, and the ends of
the server's answers are counted, to know whether the session is idle. Each direction is a protocol
of its own, whose every callback but the hot one is its owner's.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Protocol

from skerry.kinds._shared.pgwire.messages import READY

_head = struct.Struct("!BI").unpack_from
_HEAD_BYTES = 5
_QUESTIONS = frozenset(b"QSF")
_IDLE = READY + b"I"


class Owner(Protocol):
    """Who learns of all that is not bytes."""

    transport: asyncio.Transport

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""


class _Direction(asyncio.Protocol):
    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.connection_lost(exc)

    def pause_writing(self) -> None:
        self._owner.pause_writing()

    def resume_writing(self) -> None:
        self._owner.resume_writing()


class Forth(_Direction):
    """From the client to the server.

    `waiting` is the number of answers that the client awaits; `quiet` is false after any byte.
    """

    def __init__(self, client: Owner, server: Owner) -> None:
        super().__init__(client)
        self._write = server.transport.write
        self._missing = 0
        self._start = b""
        self.waiting = 0
        self.quiet = False

    @property
    def between_messages(self) -> bool:
        """Whether no message is half sent."""
        return not (self._missing or self._start)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._write(data)
        self.quiet = False
        position = self._missing
        if self._start:
            data = self._start + data
            self._start = b""
        size = len(data)
        last = size - _HEAD_BYTES
        while position <= last:
            kind, length = _head(data, position)
            if kind in _QUESTIONS:
                self.waiting += 1
            position += length + 1
        if position < size:
            self._start = data[position:]
            position = size
        self._missing = position - size


class Back(_Direction):
    """From the server to the client."""

    def __init__(self, server: Owner, client: Owner, forth: Forth) -> None:
        super().__init__(server)
        self._write = client.transport.write
        self._forth = forth
        self._tail = b""
        self.ready = True

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._write(data)
        forth = self._forth
        forth.quiet = False
        done = 0
        if self._tail:
            done = -(self._tail == READY)
            data = self._tail + data
        done += data.count(READY)
        if done > 0:
            forth.waiting = max(0, forth.waiting - done)
        self.ready = ready = data.endswith(_IDLE)
        self._tail = b"" if ready else data[-_HEAD_BYTES:]
