"""The two directions of a session's raw relay, as cheap as Python lets them be.

Bytes are passed on as they come. A session begins in the *reading* gear: the heads of the client's
messages are read, and the ends of the server's answers are counted, to know whether it is idle. One
that asks much is put into the *raw* gear, where the server's bytes go from transport to transport
and of the client's the last ones are kept, and then into the `lane`, if that bears it. Once it has
gone quiet it leaves the lane, what was kept must end with a message, and the server itself is asked
whether it has answered all (`lookup.Lookup.is_idle`).

Each direction is a protocol of its own, whose every callback but the hot one is its owner's.
"""

from __future__ import annotations

import asyncio
import enum
import fcntl
import struct
import sys
import termios
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from skerry.kinds._shared.pgwire.messages import READY, SYNC
from skerry.kinds.postgres.lane import Lane, RawPassage

_head = struct.Struct("!BI").unpack_from
_HEAD_BYTES = 5
_QUESTIONS = frozenset(b"QSF")
_KINDS = frozenset(b"BCDEFHPQSXcdfp")
_IDLE = READY + b"I"
_KEPT = 16
_RAW_QUESTIONS = 100
"""Questions between two looks that put a session into the raw gear, or pieces, into the lane."""


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
    `on_haste` is called between two messages when `unhurried` questions have been asked.
    """

    def __init__(
        self, client: Owner, server: Owner, on_haste: Callable[[], None] | None = None
    ) -> None:
        super().__init__(client)
        self._write = server.transport.write
        self._missing = 0
        self._start = b""
        self._on_haste = on_haste
        self.unhurried = _RAW_QUESTIONS
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
                self.unhurried -= 1
                self.waiting += 1
            position += length + 1
        if position < size:
            self._start = data[position:]
            position = size
        self._missing = position - size
        if self.unhurried <= 0 and self._on_haste is not None and self.between_messages:
            self._on_haste()


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


class RawForth(_Direction):
    """From the client to the server, keeping the last pieces; one message stands for those before.

    It must be set to work between two messages.
    """

    def __init__(self, client: Owner, server: Owner) -> None:
        super().__init__(client)
        self._write = server.transport.write
        self.kept: deque[bytes] = deque([SYNC], maxlen=_KEPT)
        self.keep = self.kept.append
        self.pieces = 0

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._write(data)
        self.keep(data)
        self.pieces += 1


class RawBack(_Direction):
    """From the server to the client: what is received is written, without a frame of Python."""

    def __init__(self, server: Owner, client: Owner) -> None:
        super().__init__(server)
        self.data_received = client.transport.write  # type: ignore[method-assign]


class State(enum.Enum):
    """What a look at a session tells."""

    BUSY = enum.auto()
    IDLE = enum.auto()
    QUIET = enum.auto()
    """It is idle if the server says so."""


class Relay:
    """Both directions of a session, and what is known of its idleness.

    Without a lane, the session never gets into the raw gear.
    """

    def __init__(self, client: Owner, server: Owner, lane: Lane | None) -> None:
        self._client = client
        self._server = server
        self._lane = lane
        self._passage: RawPassage | None = None
        self._forth = Forth(client, server, self._go_raw if lane else None)
        self._back = Back(server, client, self._forth)
        self._raw: RawForth | None = None
        self._last: bytes | None = None
        self._looks = self._next_question = 0
        self._engage(self._forth, self._back)

    def forward(self, data: bytes) -> None:
        """Relay what the client has sent before."""
        self._forth.data_received(data)

    def close(self) -> None:
        """Relay no more: take the session out of the lane."""
        lane, self._lane = self._lane, None
        if lane is not None and self._passage is not None:
            lane.take_out(self._passage)

    def look(self) -> State:
        """Tell whether the session has been idle since the last look."""
        if self._raw is not None:
            return self._look_raw(self._raw)
        forth, back = self._forth, self._back
        forth.unhurried = _RAW_QUESTIONS
        if not (back.ready and forth.between_messages) or forth.waiting:
            return State.BUSY
        if not forth.quiet:
            forth.quiet = True
            return State.BUSY
        return State.IDLE

    def settled(self) -> bool:
        """After the server said of a quiet session that it is idle: tell whether that still holds.

        The client has said nothing since, and nothing is on its way between the server and us.
        """
        if self._raw is None or self._raw.kept[-1] is not self._last:
            return False
        transport = self._server.transport
        return not transport.get_write_buffer_size() and not _under_way(transport)

    def _look_raw(self, raw: RawForth) -> State:
        """A session that the server calls busy is asked about less and less often."""
        last = raw.kept[-1]
        if last is not self._last:
            self._last = last
            self._looks, self._next_question = 0, 1
            if raw.pieces >= _RAW_QUESTIONS:
                self._enter_lane()
            raw.pieces = 0
            return State.BUSY
        if self._passage is not None and self._lane is not None:
            self._lane.take_out(self._passage)
            self._passage = None
            return State.BUSY
        self._looks += 1
        if self._looks < self._next_question or not ends_with_a_message(raw.kept):
            return State.BUSY
        self._next_question = 2 * self._looks
        return State.QUIET

    def _go_raw(self) -> None:
        self._raw = RawForth(self._client, self._server)
        self._engage(self._raw, RawBack(self._server, self._client))
        # What has been written in this turn of the loop is sent at its end.
        asyncio.get_running_loop().call_soon(self._enter_lane)

    def _enter_lane(self) -> None:
        client, server = self._client.transport, self._server.transport
        lane, raw, passage = self._lane, self._raw, self._passage
        if lane is None or raw is None or not (passage is None or passage.settled):
            return
        if lane.bears(client, server):
            self._passage = RawPassage(client, server, raw.keep)
            lane.put_in(self._passage)

    def _engage(self, forth: asyncio.Protocol, back: asyncio.Protocol) -> None:
        self._client.transport.set_protocol(forth)
        self._server.transport.set_protocol(back)


def ends_with_a_message(pieces: Sequence[bytes]) -> bool:
    """Tell whether a client's last pieces end where a message ends.

    From the first of them at which a message can begin, length leads to length up to the very end.
    """
    return any(_is_whole(b"".join(list(pieces)[first:])) for first in range(len(pieces)))


def _is_whole(data: bytes) -> bool:
    position, size = 0, len(data)
    while position + _HEAD_BYTES <= size:
        kind, length = _head(data, position)
        if kind not in _KINDS or length < _HEAD_BYTES - 1:
            return False
        position += length + 1
    return position == size > 0


def _under_way(transport: asyncio.Transport) -> bool:
    """Tell whether a unix socket holds bytes that we, or the other side, have not read."""
    descriptor = transport.get_extra_info("socket").fileno()
    asked = [termios.FIONREAD, *([termios.TIOCOUTQ] if sys.platform == "linux" else [])]
    counts = (fcntl.ioctl(descriptor, each, bytes(4)) for each in asked)
    return any(any(count) for count in counts)
