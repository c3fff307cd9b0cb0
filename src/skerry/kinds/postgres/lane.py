"""The lane: a thread that passes the bytes of hot sessions on, past the event loop.

Relaying a question and its answer is four system calls, whoever does it; what a proxy can save is
the work around them. The lane waits for all its sessions at once, receives what has come, and sends
it: no callback, no queue of writes. A session is in it only while all is plain.
Whatever else happens (a peer that takes no more bytes, one that leaves, silence, a message that its
owner has to see) puts the session out: its transports read again, what was received but not sent is
written by them, and the loop's own code goes on as if it had never been away.

A thread that sleeps has to be woken, by the very processes that it serves: on an idle virtual
machine that costs more than the relay itself. So the lane does not sleep at once where the last
wait was a short one, but lets others have the processor and looks again (`_Patience`).

The lane works on duplicates of the descriptors, of which the loop keeps its own, and holds a lock
while it carries, so that the loop can take a session out between two pieces.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import socket
import sys
import threading
from collections.abc import Callable

from skerry.kernel.clock import SystemClock

SESSIONS_MAX = 256
"""Sessions that the lane bears at once; further ones stay in the loop."""

_PIECE_BYTES = 448
_ROOM_BYTES = 64 * 1024
_EVENTS_MAX = 64
_LINGER_SECONDS = 1.0
_PATIENT_SECONDS = 100e-6
_LATE_SECONDS = 300e-6
_ASLEEP_SECONDS = 50e-3
_LOG = logging.getLogger("skerry.postgres.lane")

Stops = Callable[[bytes], bool | None]
_Send = Callable[[bytes], int]
_Piece = tuple[_Send, bytes, "Way"]
_Handles = tuple[Callable[[int], bytes], Stops | None, Callable[[_Piece], None], _Send, "Way"]


class End:
    """One connection of a passage: the transport, a socket for the lane, and unsent bytes."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        descriptor = transport.get_extra_info("socket").fileno()
        self.socket = socket.socket(fileno=os.dup(descriptor))
        self.rest = b""

    def gone(self) -> bool:
        """Tell whether the peer has left and nothing of it remains to be read."""
        try:
            return not self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def give_back(self) -> None:
        """Let the loop read again."""
        self.socket.close()
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def write_rest(self) -> None:
        """Let the loop write what is unsent."""
        if self.rest and not self.transport.is_closing():
            self.transport.write(self.rest)


class Way:
    """One direction of a passage: what is received from one end is sent to the other.

    `stops` gets each piece and tells if it stops there: it is not sent, and the session leaves.
    """

    def __init__(self, passage: Passage, source: End, target: End, stops: Stops | None) -> None:
        self.passage = passage
        self.source, self.target = source, target
        self.receive, self.transmit = source.socket.recv, target.socket.send
        self.stops = stops
        self.ask_bytes = _PIECE_BYTES

    def flow(self, data: bytes) -> bool:
        """Pass on a piece that filled its room and all that follows it; tell if the session stays.

        Whoever says much at once is asked for much from now on.
        """
        stops, self.ask_bytes = self.stops, _ROOM_BYTES
        while True:
            try:
                more = self.receive(_ROOM_BYTES)
            except BlockingIOError:
                more = b""
            data += more
            if data and ((stops is not None and stops(data)) or not self._send(data)):
                return False
            if len(more) < _ROOM_BYTES:
                return True
            data = b""

    def _send(self, data: bytes) -> bool:
        try:
            sent = self.transmit(data)
        except BlockingIOError:
            sent = 0
        self.target.rest = data[sent:]
        return not self.target.rest


class Passage:
    """A session in the lane.

    `forth` sees each piece that the client says, and `back` each that the server says, in the
    lane's thread, before it is sent (see `Way`). A session that puts itself into `leaving` leaves
    when that is done. `server_gone` tells, of a session that has left, that its server will say
    nothing more.
    """

    def __init__(
        self,
        client: asyncio.Transport,
        server: asyncio.Transport,
        forth: Stops | None,
        back: Stops | None,
    ) -> None:
        self.client = End(client)
        try:
            self.server = End(server)
        except BaseException:
            self.client.socket.close()
            raise
        self.forth = Way(self, self.client, self.server, forth)
        self.back = Way(self, self.server, self.client, back)
        self.leaving: list[Passage] = []
        self.loop = asyncio.get_running_loop()
        self.inside = self.settled = self.failed = self.server_gone = False

    def left(self) -> None:
        """The session is out of the lane, and its transports read again."""

    def settle(self) -> None:
        """In the loop, once: take the session up again."""
        if not self.settled:
            self.settled = True
            self.server_gone = self.server.gone()
            ends = (self.client, self.server)
            for end in ends:
                end.give_back()
                if self.failed:
                    end.transport.abort()
            # Last, as an end that is full halts the reading of the other one.
            for end in ends:
                end.write_rest()
            self.left()


class _Patience:
    """How the lane waits for the next events.

    The guess is that a wait is as long as the one before it. More sessions than processors keep
    these busy: the lane then waits for its turn (SCHED_BATCH) rather than interrupt those whom it
    serves, and what comes meanwhile is carried at one go. Whoever yields the processor and gets it
    back late is on a busy machine, where a sleeper is served sooner: it sleeps for a while.
    """

    def __init__(self, poll: Callable[[float, int], list[tuple[int, int]]]) -> None:
        self._poll = poll
        self._now = SystemClock().monotonic
        self._processors = os.cpu_count() or 1
        self._in_crowd = False
        self._last_was_short = False
        self._asleep_until = 0.0

    def wait(self, sessions: int) -> list[tuple[int, int]]:
        """Return descriptors with events; none after `_LINGER_SECONDS`."""
        in_crowd = sessions > self._processors
        if in_crowd is not self._in_crowd:
            self._in_crowd = in_crowd
            wait_for_turns(in_crowd)
        if in_crowd:
            return self._poll(_LINGER_SECONDS, _EVENTS_MAX)
        if events := self._poll(0, _EVENTS_MAX):
            return events
        start = self._now()
        if self._last_was_short and start > self._asleep_until:
            events = self._look_again(start)
        if not events:
            events = self._poll(_LINGER_SECONDS, _EVENTS_MAX)
        self._last_was_short = self._now() - start < _PATIENT_SECONDS
        return events

    def _look_again(self, start: float) -> list[tuple[int, int]]:
        now = start
        while now - start < _PATIENT_SECONDS:
            before = now
            os.sched_yield()
            if events := self._poll(0, _EVENTS_MAX):
                return events
            now = self._now()
            if now - before > _LATE_SECONDS:
                self._asleep_until = now + _ASLEEP_SECONDS
        return []


def wait_for_turns(really: bool) -> None:
    """Let this thread, when it wakes, wait until a processor is free; or interrupt, as usual."""
    if sys.platform == "linux":
        policy = os.SCHED_BATCH if really else os.SCHED_OTHER
        # Where a container forbids it, the lane interrupts: slower, and as right.
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, policy, os.sched_param(0))


class Lane:
    """The thread, which runs while there are sessions in it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ways: dict[int, _Handles] = {}
        self._questions: list[_Piece] = []
        self._answers: list[_Piece] = []
        self._leaving: list[Passage] = []
        self._running = False
        if sys.platform == "linux":
            self._epoll: select.epoll
            self._readable = select.EPOLLIN
            self._edges = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET

    def bears(self, client: asyncio.Transport, server: asyncio.Transport) -> bool:
        """Tell whether a session can be put in now: both ends are plain and await no writing."""
        return (
            sys.platform == "linux"
            and len(self._ways) < 2 * SESSIONS_MAX
            and not any(
                each.is_closing()
                or each.get_write_buffer_size()
                or each.get_extra_info("ssl_object") is not None
                for each in (client, server)
            )
        )

    def put_in(self, passage: Passage) -> None:
        """Carry a session from now on; its transports must bear it (`bears`)."""
        with self._lock:
            if not self._running:
                self._start()
            passage.inside = True
            passage.leaving = self._leaving
            for way, pieces in ((passage.forth, self._questions), (passage.back, self._answers)):
                source = way.source
                source.transport.pause_reading()
                handles = (way.receive, way.stops, pieces.append, way.transmit, way)
                self._ways[source.socket.fileno()] = handles
                self._epoll.register(source.socket, self._edges)

    def take_out(self, passage: Passage) -> None:
        """Carry a session no longer; the loop has it again when this returns."""
        with self._lock:
            self._put_out(passage)
        passage.settle()

    def _start(self) -> None:
        self._epoll = select.epoll()
        self._running = True
        threading.Thread(target=self._run, name="postgres lane", daemon=True).start()

    def _run(self) -> None:
        wait = _Patience(self._epoll.poll).wait
        while True:
            events = wait(len(self._ways) // 2)
            with self._lock:
                self._receive(events)
                # Servers first: they work while the clients are told.
                if self._questions:
                    self._send(self._questions)
                if self._answers:
                    self._send(self._answers)
                if self._leaving:
                    for passage in self._leaving:
                        self._hand_back(passage)
                    self._leaving.clear()
                if not (events or self._ways):
                    self._running = False
                    self._epoll.close()
                    return

    def _receive(self, events: list[tuple[int, int]]) -> None:
        """Receive what has come: those who wait for it are woken when all of it is there."""
        ways, readable = self._ways, self._readable
        for descriptor, what in events:
            try:
                receive, stops, later, transmit, way = ways[descriptor]
            except KeyError:
                # It was taken out meanwhile.
                continue
            try:
                if what == readable:
                    size = way.ask_bytes
                    data = receive(size)
                    if len(data) == size:
                        if way.flow(data):
                            continue
                    elif data and (stops is None or not stops(data)):
                        later((transmit, data, way))
                        continue
            except BlockingIOError:
                continue
            except OSError:
                # The loop meets the same, or the end that follows, and closes as always.
                pass
            except Exception:
                _LOG.exception("a session is taken out of the lane")
                way.passage.failed = True
            self._leaving.append(way.passage)

    def _send(self, pieces: list[_Piece]) -> None:
        for transmit, data, way in pieces:
            sent = 0
            try:
                if (sent := transmit(data)) == len(data):
                    continue
            except BlockingIOError:
                pass
            except OSError:
                # As in `_receive`.
                sent = len(data)
            way.target.rest = data[sent:]
            self._leaving.append(way.passage)
        pieces.clear()

    def _hand_back(self, passage: Passage) -> None:
        if not passage.inside:
            return
        self._put_out(passage)
        try:
            passage.loop.call_soon_threadsafe(passage.settle)
        except RuntimeError:
            # The loop has ended, and all that it held with it.
            for end in (passage.client, passage.server):
                end.socket.close()

    def _put_out(self, passage: Passage) -> None:
        if passage.inside:
            passage.inside = False
            for end in (passage.client, passage.server):
                self._epoll.unregister(end.socket)
                del self._ways[end.socket.fileno()]


class RawPassage(Passage):
    """A session whose bytes nobody looks at; `keep` gets each piece that the client says."""

    def __init__(
        self,
        client: asyncio.Transport,
        server: asyncio.Transport,
        keep: Callable[[bytes], None],
    ) -> None:
        super().__init__(client, server, keep, None)
