"""TigerBeetle's protocol in the cell, on a unix socket: one connection is one client.

A client has one request under way at a time, numbers its requests, and sends one again if it loses
the connection before the reply. What is repeated is answered, not done again: the log and the
snapshots remember each client's last request that wrote, and its reply.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from typing import cast

from skerry.kernel.errors import INVALID, TOO_LARGE, SkerryError
from skerry.kinds.ledger.keeper import Answer, Keeper
from skerry.kinds.ledger.operations import BODY_MAX, SHAPES, Operation
from skerry.kinds.ledger.tiger import head as heads
from skerry.kinds.ledger.tiger.head import HEAD_BYTES, MESSAGE_MAX, Head, Reason, Request

CONNECTIONS_MAX = 1000
_log = logging.getLogger(__name__)
_REGISTERED = struct.Struct("<I60x")


class Server:
    """Answers clients of one ledger."""

    def __init__(self, keeper: Keeper, cluster: int) -> None:
        self.keeper = keeper
        self.cluster = cluster
        self.connections: set[Connection] = set()
        self._under_way: dict[tuple[int, int], asyncio.Task[Answer]] = {}

    def close(self) -> None:
        """Close all connections."""
        for connection in list(self.connections):
            connection.close()

    async def answer(self, head: Head, request: Request, body: bytes) -> list[bytes]:
        """Return the messages that answer a request; none for one that is out of date."""
        if request.operation == Operation.REGISTER:
            return await self._register(head, request)
        session = self.keeper.sessions.get(request.client)
        if session is None or request.session > session.number:
            return [heads.eviction(head, request.client, Reason.NO_SESSION)]
        if request.session < session.number:
            return [heads.eviction(head, request.client, Reason.SESSION_TOO_LOW)]
        if request.request < session.request:
            return []
        if request.request == session.request and session.operation == request.operation:
            answer = Answer(session.reply, session.sequence, session.timestamp)
        else:
            try:
                answer = await self._once(head, request, body)
            except SkerryError as error:
                return [heads.eviction(head, request.client, _reason(error, request))]
        return _reply(head, request, answer)

    async def _register(self, head: Head, request: Request) -> list[bytes]:
        if not request.client:
            return []
        session = self.keeper.sessions.get(request.client)
        if session is None:
            answer = await self._once(head, request, b"")
        else:
            answer = Answer(b"", session.number, max(self.keeper.book.timestamp, 1))
        limits = Answer(_REGISTERED.pack(BODY_MAX), answer.sequence, answer.timestamp)
        return _reply(head, request, limits)

    async def _once(self, head: Head, request: Request, body: bytes) -> Answer:
        """Carry out a request, or wait for it if it is under way over an older connection."""
        key = (request.client, request.request)
        task = self._under_way.get(key)
        if task is None:
            submitted = self.keeper.submit(
                request.operation,
                body,
                client=request.client,
                session=request.session,
                request=request.request,
                release=head.release,
            )
            task = self._under_way[key] = asyncio.ensure_future(submitted)
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return await asyncio.shield(task)


def _reply(head: Head, request: Request, answer: Answer) -> list[bytes]:
    return heads.reply(
        head, request, answer.body, sequence=answer.sequence, timestamp=answer.timestamp
    )


def _reason(error: SkerryError, request: Request) -> Reason:
    if error.problem is TOO_LARGE:
        return Reason.INVALID_BODY_SIZE
    if error.problem is not INVALID:
        raise error
    known = request.operation in SHAPES
    return Reason.INVALID_BODY if known else Reason.INVALID_OPERATION


class Connection(asyncio.BufferedProtocol):
    """One connection; messages are read straight into a buffer of the largest message's size."""

    transport: asyncio.Transport

    def __init__(self, server: Server) -> None:
        self._server = server
        self._buffer = bytearray(MESSAGE_MAX)
        self._view = memoryview(self._buffer)
        self._filled = 0
        self._answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self.transport = cast(asyncio.Transport, transport)
        if len(self._server.connections) >= CONNECTIONS_MAX:
            self.transport.abort()
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`; a request that is under way is carried out all the same."""
        self._server.connections.discard(self)

    def close(self) -> None:
        """Close the connection."""
        self.transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:
        """See `asyncio.BufferedProtocol`."""
        return self._view[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """See `asyncio.BufferedProtocol`."""
        self._filled += nbytes
        self._next()

    def _next(self) -> None:
        """Begin to answer the next message if it is whole and none is being answered."""
        if self._answering is not None or self._filled < HEAD_BYTES:
            return
        head = heads.read(self._view)
        if head is None or head.cluster != self._server.cluster:
            self.close()
            return
        if self._filled < head.size:
            return
        packed = bytes(self._view[:HEAD_BYTES])
        body = bytes(self._view[HEAD_BYTES : head.size])
        left = self._filled - head.size
        self._view[:left] = bytes(self._view[head.size : self._filled])
        self._filled = left
        if not heads.is_whole(head, packed, body):
            self.close()
            return
        self.transport.pause_reading()
        self._answering = asyncio.ensure_future(self._answer(head, packed, body))

    async def _answer(self, head: Head, packed: bytes, body: bytes) -> None:
        try:
            if head.command == heads.Command.PING_CLIENT:
                messages = [heads.pong(head, packed)]
            else:
                messages = await self._server.answer(head, heads.read_request(packed), body)
            self.transport.writelines(messages)
        except SkerryError as error:
            # The protocol has no word for it; the client connects anew and tries again.
            _log.warning("a request was not carried out: %s %s", error.what, error.why)
            self.close()
        finally:
            self._answering = None
            if not self.transport.is_closing():
                self.transport.resume_reading()
                self._next()
