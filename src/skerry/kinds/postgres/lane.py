"""The lane: a thread that passes the bytes of hot sessions on, past the event loop.

Relaying a question and its answer is four system calls, whoever does it; what a proxy can save is
the work around them. The lane waits for all its sessions at once, receives into one buffer and
sends from it: no copy, no callback, no queue of writes. A session is in it only while all is plain.
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
import logging
import os
import select
import socket
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

from skerry.kernel.clock import SystemClock

SESSIONS_MAX = 256
"""Sessions that the lane bears at once; further ones stay in the loop."""

_ROOM_BYTES = 64 * 1024
_SAID_BYTES = 8 * 1024
_EVENTS_MAX = 64
_LINGER_SECONDS = 1.0
_PATIENT_SECONDS = 100e-6
_LATE_SECONDS = 300e-6
_ASLEEP_SECONDS = 50e-3
_LOG = logging.getLogger("skerry.postgres.lane")


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
        """Let the loop read again, and write what is unsent."""
        self.socket.close()
        if not self.transport.is_closing():
            self.transport.resume_reading()
            if self.rest:
                self.transport.write(self.rest)


class Passage(ABC):
    """A session in the lane. Subclasses say how its bytes are passed on.

    `forth` and `back` run in the lane's thread when something has come, and receive until less is
    there than they asked for: they are not called again for what they leave. They get room for it,
    and tell whether the session may stay; they may raise OSError. `server_gone` tells, of a session
    that has left, that its server will say nothing more.
    """

    def __init__(self, client: asyncio.Transport, server: asyncio.Transport) -> None:
        self.client = End(client)
        try:
            self.server = End(server)
        except BaseException:
            self.client.socket.close()
            raise
        self.loop = asyncio.get_running_loop()
        self.inside = self.settled = self.failed = self.server_gone = False

    @abstractmethod
    def forth(self, room: memoryview) -> bool:
        """Pass on what the client says."""

    @abstractmethod
    def back(self, room: memoryview) -> bool:
        """Pass on what the server says."""

    def left(self) -> None:
        """The session is out of the lane, and its transports read again."""

    def settle(self) -> None:
        """In the loop, once: take the session up again."""
        if not self.settled:
            self.settled = True
            self.server_gone = self.server.gone()
            for end in (self.client, self.server):
                end.give_back()
                if self.failed:
                    end.transport.abort()
            self.left()


class _Patience:
    """How the lane waits for the next events.

    The guess is that a wait is as long as the one before it. More sessions than processors keep
    these busy, and what comes meanwhile is carried at one go. Whoever yields the processor and gets
    it back late is on a busy machine, where a sleeper is served sooner: it sleeps for a while.
    """

    def __init__(self, poll: Callable[[float, int], list[tuple[int, int]]]) -> None:
        self._poll = poll
        self._now = SystemClock().monotonic
        self._processors = os.cpu_count() or 1
        self._last_was_short = False
        self._asleep_until = 0.0

    def wait(self, sessions: int) -> list[tuple[int, int]]:
        """Return descriptors with events; none after `_LINGER_SECONDS`."""
        if sessions > self._processors:
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


class Lane:
    """The thread, which runs while there are sessions in it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ways: dict[int, tuple[Callable[[memoryview], bool], Passage]] = {}
        self._running = False
        if sys.platform == "linux":
            self._epoll: select.epoll
            self._edges = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
            self._leaves = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR

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
            for end, way in ((passage.client, passage.forth), (passage.server, passage.back)):
                end.transport.pause_reading()
                self._ways[end.socket.fileno()] = (way, passage)
                self._epoll.register(end.socket, self._edges)

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
        wait, lock, ways = _Patience(self._epoll.poll).wait, self._lock, self._ways
        leaves = self._leaves
        room = memoryview(bytearray(_ROOM_BYTES))
        while True:
            events = wait(len(ways) // 2)
            with lock:
                for descriptor, what in events:
                    if descriptor not in ways:
                        continue
                    way, passage = ways[descriptor]
                    try:
                        if not what & leaves and way(room):
                            continue
                    except BlockingIOError:
                        continue
                    except OSError:
                        # The loop meets the same, or the end that follows, and closes as always.
                        pass
                    except Exception:
                        _LOG.exception("a session is taken out of the lane")
                        passage.failed = True
                    self._hand_back(passage)
                if not (events or ways):
                    self._running = False
                    self._epoll.close()
                    return

    def _hand_back(self, passage: Passage) -> None:
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


def send(end: End, transmit: Callable[[bytes | memoryview], int], data: bytes | memoryview) -> bool:
    """Send data to an end, by its socket's own method; keep what it does not take, and tell."""
    try:
        sent = transmit(data)
    except BlockingIOError:
        sent = 0
    if sent == len(data):
        return True
    end.rest = bytes(data[sent:])
    return False


class RawPassage(Passage):
    """A session whose bytes nobody looks at; `keep` gets each piece that the client says."""

    def __init__(
        self,
        client: asyncio.Transport,
        server: asyncio.Transport,
        keep: Callable[[bytes], None],
    ) -> None:
        super().__init__(client, server)
        self._keep = keep
        self._from_client, self._to_client = self.client.socket.recv, self.client.socket.send
        self._from_server, self._to_server = self.server.socket.recv_into, self.server.socket.send

    def forth(self, room: memoryview) -> bool:
        """See `Passage`."""
        while data := self._from_client(_SAID_BYTES):
            self._keep(data)
            if not send(self.server, self._to_server, data):
                return False
            if len(data) < _SAID_BYTES:
                return True
        return False

    def back(self, room: memoryview) -> bool:
        """See `Passage`."""
        while size := self._from_server(room):
            if not send(self.client, self._to_client, room[:size]):
                return False
            if size < len(room):
                return True
        return False
