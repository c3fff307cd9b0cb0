"""A place outside the node that is watched: who reaches it has taken a way out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

_ANSWER = b"HTTP/1.1 500 Watched\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
_BYTES_MAX = 1 << 16
_SECONDS = 5.0


class Outside:
    """Counts what comes; `address` is a URL. It answers every request with an HTTP 500."""

    def __init__(self) -> None:
        self.address = ""
        self.connections = 0
        self._reached = asyncio.Event()

    async def reached(self, seconds: float) -> None:
        """Return once somebody has connected; raises TimeoutError."""
        async with asyncio.timeout(seconds):
            await self._reached.wait()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Count a connection, and answer what it asks."""
        self.connections += 1
        self._reached.set()
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(reader.read(_BYTES_MAX), _SECONDS)
            writer.write(_ANSWER)
            await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def watched() -> AsyncIterator[Outside]:
    """Yield a place on a free port of this machine."""
    outside = Outside()
    server = await asyncio.start_server(outside.take, "127.0.0.1", 0)
    outside.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield outside
    finally:
        server.close()
        await server.wait_closed()
