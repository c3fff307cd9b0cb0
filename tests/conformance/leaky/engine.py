"""The engine and its wire."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from skerry.kernel.errors import SkerryError
from skerry.kernel.kind import Address, ASGIApplication, Engine, Resource
from skerry.kernel.policy import Place

FAR = Place("somewhere", "US")


class LeakyEngine(Engine):
    """Connects to where it is told to."""

    async def start(self) -> None:
        """See `Engine.start`."""

    async def stop(self) -> None:
        """See `Engine.stop`."""

    async def freeze(self, atomic: bool) -> None:
        """See `Engine.freeze`: there is nothing to hold."""

    async def thaw(self) -> None:
        """See `Engine.thaw`."""

    async def export(self, target: Path) -> None:
        """See `Engine.export`: there is nothing to write."""

    async def restore(self, source: Path) -> None:
        """See `Engine.restore`."""

    async def send(self) -> None:
        """Send; raise DENIED if policy refuses and is asked."""
        asks = self.context.config.asks
        if asks == "first":
            await self.context.permit("leaky:send", FAR)
        parts = urlsplit(self.context.config.to)
        _, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(b"a secret")
        await writer.drain()
        writer.close()
        if asks == "late":
            await self.context.permit("leaky:send", FAR)


def connection(resource: Resource, address: Address) -> dict[str, str]:
    """Return what `skerry connect` needs."""
    return {"url": f"http://{address.hostname}:{address.http_port}"}


def application(engine: LeakyEngine) -> ASGIApplication:
    """Return the ASGI application over an engine."""

    async def serve(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        status = 200
        try:
            await engine.send()
        except SkerryError as error:
            status = error.problem.http
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return serve
