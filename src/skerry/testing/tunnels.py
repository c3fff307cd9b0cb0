"""The unix socket that a binding has to a resource on another node, in a test without that node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from skerry.testing.faults import FaultProxy
from skerry.testing.hosts import Awake


class Tunnelled(Awake):
    """A host whose resources are all on another node, behind one socket."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def ready(self, resource: str) -> str:
        """Return the socket."""
        return str(self._path)


@asynccontextmanager
async def tunnel(path: Path, port: int) -> AsyncIterator[FaultProxy]:
    """Yield a proxy that leads from a socket at `path` to a port of this machine."""
    proxy = FaultProxy("127.0.0.1", port)
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(proxy.serve(reader, writer))
        serving.add(task)
        await task

    server = await asyncio.start_unix_server(serve, path)
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut_now()
        await asyncio.gather(*serving, return_exceptions=True)
