"""A fault proxy: a TCP relay that can cut, refuse, delay and slow down what passes through it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

CHUNK_BYTES = 16 * 1024
CONNECTIONS_MAX = 1000


@dataclass
class FaultProxy:
    """Relays to one address, and breaks what it is told to break; settings may change at any time.

    `cut_after`: every connection is reset once so many more bytes have gone to the server, over all
    of them; None for never. `refuses`: new connections are reset at once. `delay_seconds` passes
    before each chunk; `passed` counts the bytes that have gone to the server, `cuts` the resets,
    `accepted` the connections.
    """

    host: str
    port: int
    cut_after: int | None = None
    refuses: bool = False
    delay_seconds: float = 0.0
    passed: int = 0
    cuts: int = 0
    accepted: int = 0
    listening: int = 0
    _open: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection until either side ends or a fault is due."""
        self.accepted += 1
        if self.refuses or len(self._open) >= CONNECTIONS_MAX:
            self._reset(writer)
            return
        try:
            upstream, downstream = await asyncio.open_connection(self.host, self.port)
        except OSError:
            self._reset(writer)
            return
        halves = [
            asyncio.create_task(self._relay(reader, downstream, counts=True)),
            asyncio.create_task(self._relay(upstream, writer, counts=False)),
        ]
        self._open.update(halves)
        try:
            await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for half in halves:
                half.cancel()
            await asyncio.gather(*halves, return_exceptions=True)
            self._open.difference_update(halves)
            for each in (writer, downstream):
                each.close()
                with contextlib.suppress(OSError):
                    await each.wait_closed()

    async def _relay(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, counts: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := await source.read(CHUNK_BYTES):
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                if counts:
                    self.passed += len(chunk)
                    if self.cut_after is not None:
                        self.cut_after -= len(chunk)
                        if self.cut_after < 0:
                            self.cuts += 1
                            self._reset(target)
                            return
                target.write(chunk)
                await target.drain()

    def _reset(self, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    def cut_now(self) -> None:
        """Reset every connection that is open."""
        for task in self._open:
            task.cancel()


@asynccontextmanager
async def fault_proxy(host: str, port: int) -> AsyncIterator[FaultProxy]:
    """Yield a proxy before an address, on a port of the system's choice (`listening`)."""
    proxy = FaultProxy(host, port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.listening = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut_now()
        await asyncio.sleep(0)
