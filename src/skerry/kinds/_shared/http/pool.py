"""Blocking HTTP over a unix socket, for calls that wait in a thread: kept alive and bounded.

A request waits for a connection, is sent, and is answered before its deadline, or fails with
NODE_UNREACHABLE. Only what `Ask.repeatable` allows, or what was not sent at all, is sent again.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections import deque
from collections.abc import Callable

from skerry.kernel.clock import Clock
from skerry.kernel.errors import SkerryError
from skerry.kinds._shared.http.failures import all_in_use, too_large, unreachable
from skerry.kinds._shared.http.message import Answer, Ask, BrokenError, Reading

CONNECTIONS_MAX = 16
CONNECT_SECONDS = 10.0
IDLE_SECONDS = 30.0
"""How long a connection may wait for its next request: less than the node's router allows."""
CHUNK_BYTES = 256 << 10

Take = Callable[[bytes], None]


class Pool:
    """The connections of one process to one resource on another node; for many threads.

    `name` is the resource's, `path` the socket's. `seconds` is how long one request may take.
    """

    def __init__(self, name: str, path: str, clock: Clock, seconds: float) -> None:
        self._name = name
        self._path = path
        self._clock = clock
        self._seconds = seconds
        self._idle: deque[_Connection] = deque()
        self._room = threading.BoundedSemaphore(CONNECTIONS_MAX)

    def ask(self, ask: Ask, *, limit: int, take: Take | None = None) -> Answer:
        """Send a request and return its answer, whatever its status.

        `take`, if given, is called with the pieces of a body of status 200, which then is not in
        the answer; any other body has at most `limit` bytes. Raises NODE_UNREACHABLE, TOO_LARGE,
        BUSY while all connections are in use, and what the router told as a problem.
        """
        if not self._room.acquire(timeout=self._seconds):
            raise all_in_use(self._name, CONNECTIONS_MAX)
        try:
            answer = self._ask(ask, limit, take)
        finally:
            self._room.release()
        problem = answer.problem()
        if problem is not None:
            raise problem
        return answer

    def tell(self, ask: Ask) -> None:
        """Send a request whose answer does not matter, and do not wait for it.

        It cleans up what the other node would end by itself after a while, so that a failure to
        send it changes nothing.
        """
        if not self._room.acquire(blocking=False):
            return
        try:
            connection, _ = self._take()
            try:
                connection.tell(ask.head(self._host()), ask.body, self._deadline())
            except _LostError:
                connection.close()
            else:
                self._give(connection)
        except SkerryError:
            return
        finally:
            self._room.release()

    def close(self) -> None:
        """Close the connections that wait for a request."""
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _ask(self, ask: Ask, limit: int, take: Take | None) -> Answer:
        head, deadline = ask.head(self._host()), self._deadline()
        while True:
            connection, fresh = self._take()
            reading = Reading(bodiless=ask.method == "HEAD")
            collected = _Collected(self._name, limit, take)
            try:
                connection.exchange(head, ask.body, reading, collected, deadline)
            except _LostError as error:
                connection.close()
                if not fresh and not reading.begun and (ask.repeatable or not error.sent):
                    self.close()
                    continue
                raise unreachable(
                    self._name, str(error), sent=error.sent, repeatable=ask.repeatable
                ) from error
            except BaseException:
                connection.close()
                raise
            self._give(connection, reading.keep)
            return Answer(reading.status, reading.headers, b"".join(collected.pieces))

    def _take(self) -> tuple[_Connection, bool]:
        """Return a connection, and whether it is a new one."""
        oldest = self._clock.monotonic() - IDLE_SECONDS
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                break
            if connection.used_at >= oldest and connection.open:
                return connection, False
            connection.close()
        try:
            return _Connection(self._path, self._clock), True
        except OSError as error:
            raise unreachable(self._name, str(error), sent=False, repeatable=False) from error

    def _give(self, connection: _Connection, keep: bool = True) -> None:
        if keep:
            connection.used_at = self._clock.monotonic()
            self._idle.append(connection)
        else:
            connection.close()

    def _deadline(self) -> float:
        return self._clock.monotonic() + self._seconds

    def _host(self) -> str:
        return f"{self._name}.skerry"


class _LostError(Exception):
    """The connection broke, or its answer did not come in time."""

    def __init__(self, why: str, *, sent: bool) -> None:
        super().__init__(why)
        self.sent = sent


class _Collected:
    """Where the pieces of a body go."""

    def __init__(self, name: str, limit: int, take: Take | None) -> None:
        self.pieces: list[bytes] = []
        self._name = name
        self._limit = self._left = limit
        self._take = take

    def add(self, reading: Reading) -> None:
        for piece in reading.taken():
            if self._take is not None and reading.status == 200:
                self._take(piece)
                continue
            self._left -= len(piece)
            if self._left < 0:
                raise too_large(self._name, self._limit)
            self.pieces.append(piece)


class _Connection:
    """One connection; used by one thread at a time."""

    def __init__(self, path: str, clock: Clock) -> None:
        self._clock = clock
        self._owed = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.used_at = clock.monotonic()
        try:
            self._socket.settimeout(CONNECT_SECONDS)
            self._socket.connect(path)
        except BaseException:
            self._socket.close()
            raise

    @property
    def open(self) -> bool:
        """Whether the other side is there as far as one can tell: it has said nothing unasked."""
        return self._owed or not select.select([self._socket], [], [], 0)[0]

    def exchange(
        self,
        head: bytes,
        body: bytes | memoryview,
        reading: Reading,
        collected: _Collected,
        deadline: float,
    ) -> None:
        """Send a request and read its answer; raise _LostError."""
        if self._owed:
            self._receive(Reading(bodiless=False), None, deadline, sent=False)
            self._owed = False
        try:
            self._send(head, body, deadline)
        except _LostError:
            # Who refuses a request may answer and close before it has come whole.
            with contextlib.suppress(_LostError):
                self._receive(reading, collected, deadline, sent=True)
                reading.keep = False
                return
            raise
        self._receive(reading, collected, deadline, sent=True)

    def tell(self, head: bytes, body: bytes | memoryview, deadline: float) -> None:
        """Send a request whose answer is read before the next one; raise _LostError."""
        if self._owed:
            self._receive(Reading(bodiless=False), None, deadline, sent=False)
        self._send(head, body, deadline)
        self._owed = True

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def _send(self, head: bytes, body: bytes | memoryview, deadline: float) -> None:
        left = memoryview(b"".join((head, body)) if len(body) <= CHUNK_BYTES else head)
        rest = memoryview(body) if len(body) > CHUNK_BYTES else None
        try:
            while left:
                self._wait(deadline, sent=True)
                left = left[self._socket.send(left[:CHUNK_BYTES]) :]
                if not left and rest is not None:
                    left, rest = rest, None
        except OSError as error:
            raise _LostError(_reason(error), sent=True) from error

    def _receive(
        self, reading: Reading, collected: _Collected | None, deadline: float, *, sent: bool
    ) -> None:
        try:
            while not reading.complete:
                self._wait(deadline, sent=sent)
                data = self._socket.recv(CHUNK_BYTES)
                if not data:
                    raise BrokenError("The connection was closed.")
                reading.feed(data)
                if collected is not None:
                    collected.add(reading)
        except (OSError, BrokenError) as error:
            raise _LostError(_reason(error), sent=sent) from error

    def _wait(self, deadline: float, *, sent: bool) -> None:
        left = deadline - self._clock.monotonic()
        if left <= 0:
            raise _LostError("The answer did not come in time.", sent=sent)
        self._socket.settimeout(left)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "The answer did not come in time."
    return str(error) if isinstance(error, BrokenError) else f"{error}."
