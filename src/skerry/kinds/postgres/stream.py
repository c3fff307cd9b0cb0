"""Reading messages off a connection during its handshake, before raw bytes are relayed."""

from __future__ import annotations

import asyncio
import struct
from typing import cast

from skerry.kinds._shared.pgwire.messages import WireError


class Stream(asyncio.Protocol):
    """A protocol that a coroutine reads from; subclasses take over once it is done.

    `high_bytes` is how much is read ahead, and the most that can be taken at once.
    """

    high_bytes = 64 * 1024
    transport: asyncio.Transport

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.lost = False
        self._waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self.buffer += data
        if len(self.buffer) > self.high_bytes:
            self.transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.lost = True
        self._wake()

    async def take(self, count: int) -> bytes:
        """Return the next `count` bytes; raise ConnectionResetError if the peer leaves first."""
        await self.peek(count)
        taken = bytes(self.buffer[:count])
        del self.buffer[:count]
        return taken

    async def peek(self, count: int) -> bytes:
        """Return the next bytes, `count` at least, and leave them."""
        assert count <= self.high_bytes
        while len(self.buffer) < count:
            if self.lost:
                raise ConnectionResetError("the peer closed the connection")
            self._waiter = asyncio.get_running_loop().create_future()
            if not self.transport.is_reading():
                self.transport.resume_reading()
            await self._waiter
        return bytes(self.buffer[:count])

    async def packet(self, limit: int) -> bytes:
        """Return a packet that begins with its length, without it; raise WireError."""
        length = int.from_bytes(await self.take(4), "big")
        if not 8 <= length <= limit:
            raise WireError("08P01", "invalid length of startup packet")
        return await self.take(length - 4)

    async def message(self, limit: int) -> tuple[bytes, bytes]:
        """Return the kind and the body of the next message; raise WireError."""
        kind, length = struct.unpack("!cI", await self.take(5))
        if not 4 <= length <= limit:
            raise WireError("08P01", f"invalid message length {length}")
        return kind, await self.take(length - 4)

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
