"""HTTP and WebSocket on a unix socket, for one slot: uvicorn's protocol, our loop and limits."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

HEAD_BYTES_MAX = 64 * 1024
WEBSOCKET_BYTES_MAX = 32 * 1024 * 1024
CONNECTIONS_MAX = 10_000
BACKLOG = 4096
HANG_UP_SECONDS = 2.0
"""How long an answer may take to notice that nobody reads it."""


class HttpProtocol(HttpToolsProtocol):
    """A connection. One that was reset is forgotten at once, as one that was closed is.

    uvicorn 0.54 leaves the timer of a reset connection running, which holds all of it until then.
    """

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol.connection_lost`."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()


def http_config(application: Any, **more: Any) -> Config:
    """Return uvicorn's settings for HTTP as nodes serve it: bare, and logged by themselves."""
    return Config(
        application,
        interface="asgi3",
        http="httptools",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        **more,
    )


class Server:
    """Serves an ASGI application on a unix socket."""

    def __init__(self, application: Any, path: str) -> None:
        self._path = Path(path)
        self._config = http_config(
            application,
            ws="websockets-sansio",
            limit_concurrency=CONNECTIONS_MAX,
            ws_max_size=WEBSOCKET_BYTES_MAX,
            timeout_keep_alive=3600,
        )
        self._state = ServerState()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; only this user, and the node's, can connect."""
        self._config.load()
        self._path.unlink(missing_ok=True)
        mask = os.umask(0o177)
        try:
            self._server = await asyncio.get_running_loop().create_unix_server(
                lambda: HttpProtocol(config=self._config, server_state=self._state, app_state={}),
                str(self._path),
                backlog=BACKLOG,
            )
        finally:
            os.umask(mask)

    def stop_accepting(self) -> None:
        """Close the socket, and each connection as soon as its answer is out."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()

    async def stop(self, drain_seconds: float) -> None:
        """Stop accepting, wait a moment for answers, and hang up on those that go on."""
        self.stop_accepting()
        await self._wait(drain_seconds)
        for connection in list(self._state.connections):
            connection.transport.abort()
        await self._wait(HANG_UP_SECONDS)

    async def _wait(self, seconds: float) -> None:
        if self._state.tasks:
            await asyncio.wait(set(self._state.tasks), timeout=seconds)
