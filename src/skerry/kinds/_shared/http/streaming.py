"""HTTP over a unix socket on the event loop, for bodies that are read as they come.

Connections are kept alive and bounded; every wait has an end. Only what `Ask.repeatable` allows, or
what was not sent at all, is sent again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import cast

from skerry.kernel.clock import Clock
from skerry.kinds._shared.http.failures import all_in_use, too_large, unreachable
from skerry.kinds._shared.http.message import Answer, Ask, BrokenError, Reading
from skerry.kinds._shared.http.pool import (
    CHUNK_BYTES,
    CONNECT_SECONDS,
    CONNECTIONS_MAX,
    IDLE_SECONDS,
)

BUFFER_BYTES_MAX = 1 << 20
PROBLEM_BYTES_MAX = 64 << 10


class StreamingPool:
    """The connections of one event loop to one resource on another node.

    `name` is the resource's, `path` the socket's. `seconds` is how long the other node may be
    silent, and how long a request waits for a free connection.
    """

    def __init__(self, name: str, path: str, clock: Clock, seconds: float) -> None:
        self.name = name
        self.seconds = seconds
        self._path = path
        self._clock = clock
        self._idle: deque[_Connection] = deque()
        self._room = asyncio.Semaphore(CONNECTIONS_MAX)

    async def open(self, ask: Ask) -> Response:
        """Send a request; return its answer as soon as its head is there, whatever its status.

        The answer holds a connection until it is read to its end or closed. Raises
        NODE_UNREACHABLE, BUSY, and what the router told as a problem.
        """
        head = ask.head(f"{self.name}.skerry")
        try:
            async with asyncio.timeout(self.seconds):
                await self._room.acquire()
        except TimeoutError as error:
            raise all_in_use(self.name, CONNECTIONS_MAX) from error
        try:
            response = await self._open(ask, head)
        except BaseException:
            self._room.release()
            raise
        if response.headers.get("content-type", "").startswith("application/problem+json"):
            body = await response.read(PROBLEM_BYTES_MAX)
            problem = Answer(response.status, response.headers, body).problem()
            if problem is not None:
                raise problem
        return response

    async def ask(self, ask: Ask, limit: int) -> Answer:
        """Send a request and return its whole answer, of at most `limit` bytes."""
        response = await self.open(ask)
        return Answer(response.status, response.headers, await response.read(limit))

    async def close(self) -> None:
        """Close the connections that wait for a request."""
        while self._idle:
            self._idle.pop().abort()
        await asyncio.sleep(0)

    async def _open(self, ask: Ask, head: bytes) -> Response:
        while True:
            connection, fresh = await self._take()
            reading = Reading(bodiless=ask.method == "HEAD")
            try:
                await connection.send(head, ask.body, reading, self.seconds)
                while not reading.begun:
                    await connection.more(self.seconds)
            except (OSError, BrokenError) as error:
                connection.abort()
                if not fresh and not reading.begun and ask.repeatable:
                    await self.close()
                    continue
                raise unreachable(
                    self.name, _reason(error), sent=True, repeatable=ask.repeatable
                ) from error
            except BaseException:
                connection.abort()
                raise
            return Response(self, connection, reading)

    async def _take(self) -> tuple[_Connection, bool]:
        """Return a connection, and whether it is a new one."""
        oldest = self._clock.monotonic() - IDLE_SECONDS
        while self._idle:
            connection = self._idle.pop()
            if connection.used_at >= oldest and not connection.lost:
                return connection, False
            connection.abort()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, made = await loop.create_unix_connection(_Connection, self._path)
        except OSError as error:
            raise unreachable(self.name, _reason(error), sent=False, repeatable=False) from error
        return made, True

    def give(self, connection: _Connection, *, keep: bool) -> None:
        """Take a connection back."""
        self._room.release()
        if keep and not connection.lost:
            connection.reading = None
            connection.used_at = self._clock.monotonic()
            self._idle.append(connection)
        else:
            connection.abort()


class Response:
    """An answer whose body is read as it comes; to be read to its end, or closed."""

    def __init__(self, pool: StreamingPool, connection: _Connection, reading: Reading) -> None:
        self.status = reading.status
        self.headers = reading.headers
        self._pool = pool
        self._connection: _Connection | None = connection
        self._reading = reading
        self._loop = asyncio.get_running_loop()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body; raise NODE_UNREACHABLE if it breaks off."""
        try:
            while self._connection is not None:
                for piece in self._reading.taken():
                    yield piece
                self._connection.taken()
                if self._reading.complete and not self._reading.pieces:
                    return
                await self._connection.more(self._pool.seconds)
        except (OSError, BrokenError) as error:
            raise unreachable(
                self._pool.name, _reason(error), sent=False, repeatable=True
            ) from error
        finally:
            self.close()

    async def read(self, limit: int) -> bytes:
        """Return the body, of at most `limit` bytes; raise TOO_LARGE."""
        pieces, left = [], limit
        async for piece in self.chunks():
            pieces.append(piece)
            left -= len(piece)
            if left < 0:
                self.close()
                raise too_large(self._pool.name, limit)
        return b"".join(pieces)

    def close(self) -> None:
        """Give the connection back, or close it if something is unread; twice is harmless.

        Garbage collection may call it, in any thread and after the loop's end.
        """
        connection, self._connection = self._connection, None
        if connection is None or self._loop.is_closed():
            return
        reading = self._reading
        keep = reading.complete and not reading.pieces and reading.keep and not reading.cut
        if asyncio._get_running_loop() is self._loop:
            self._pool.give(connection, keep=keep)
        else:
            self._loop.call_soon_threadsafe(lambda: self._pool.give(connection, keep=keep))


class _Connection(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self) -> None:
        self.lost = False
        self.used_at = 0.0
        self.reading: Reading | None = None
        self._transport: asyncio.Transport
        self._error: Exception | None = None
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._buffered = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Read on; what nobody asked for ends the connection."""
        if self.reading is None:
            self.lost = True
            self._transport.abort()
            return
        try:
            self.reading.feed(data)
        except BrokenError as error:
            self._error = error
            self._transport.abort()
        self._buffered += len(data)
        if self._buffered > BUFFER_BYTES_MAX:
            self._transport.pause_reading()
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake whoever waits."""
        self.lost = True
        self._error = self._error or exc
        self._news.set()
        self._writable.set()

    def pause_writing(self) -> None:
        """The other side is slow."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The other side takes bytes again."""
        self._writable.set()

    def taken(self) -> None:
        """Read on, as what was buffered has been taken."""
        self._buffered = 0
        if not self.lost:
            self._transport.resume_reading()

    async def send(
        self, head: bytes, body: bytes | memoryview, reading: Reading, seconds: float
    ) -> None:
        """Send a request, up to an answer that comes before its end; raise OSError."""
        self.reading = reading
        self._news.clear()
        self._transport.write(head)
        left = memoryview(body)
        while left and not reading.begun:
            if self.lost:
                raise self._error or BrokenError("The connection was closed.")
            self._transport.write(left[:CHUNK_BYTES])
            left = left[CHUNK_BYTES:]
            async with asyncio.timeout(seconds):
                await self._writable.wait()
        if left:
            # The answer came before the request was whole: the rest of it must not follow.
            reading.cut = True

    async def more(self, seconds: float) -> None:
        """Wait for bytes of the answer; raise OSError or BrokenError if there will be none."""
        if not self._news.is_set() and not self.lost:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        self._news.clear()
        reading = self.reading
        if self.lost and reading is not None and not reading.complete and not reading.pieces:
            raise self._error or BrokenError("The connection was closed.")

    def abort(self) -> None:
        """Close now; a loop that has ended has closed it already."""
        self.lost = True
        if not self._transport.is_closing():
            self._transport.abort()


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "Nothing came in time."
    return str(error) or "The connection was closed."
