"""The federation port: HTTP over mutual TLS, where every request knows which node sent it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from skerry.federation.identity import check_certificate, signer_of
from skerry.federation.peers import Peers
from skerry.federation.tls import PORT, RESOURCE, TUNNEL
from skerry.federation.tunnel import Opening, Pipe, lead_in
from skerry.kernel.errors import SkerryError
from skerry.kernel.kind import ASGIApplication
from skerry.node.cell.server import HttpProtocol, http_config

CONNECTIONS_MAX = 256
HANDSHAKE_SECONDS = 10.0
STRANGERS_MAX = 64
"""Connections of whoever is not bound to this node: they must not keep out those that are."""
STRANGER_SECONDS = 30.0
"""How long such a connection lives: long enough to join."""

PEER = "skerry.peer"
"""Where a request's scope holds the id of the node that sent it; None for one that has none yet."""


class Listener:
    """Listens; `renew` lets in whoever is bound now, with a new certificate of our own."""

    def __init__(
        self,
        application: ASGIApplication,
        peers: Peers,
        context: Callable[[], ssl.SSLContext],
        leads_to: Callable[[str], tuple[str, int] | None],
        lead_to_resource: Callable[[str, Pipe, str], Awaitable[None]],
    ) -> None:
        self._lead_to_resource = lead_to_resource
        self._leads_to = leads_to
        self._tunnels: set[asyncio.Task[None]] = set()
        self._strangers: set[_Protocol] = set()
        self._application = application
        self._peers = peers
        self._context = context
        self._state = ServerState()
        self._server: asyncio.Server | None = None
        self._address = ("127.0.0.1", 0)

    @property
    def port(self) -> int:
        """The port; 0 while nothing listens."""
        return self._address[1] if self._server else 0

    async def start(self, host: str, port: int) -> None:
        """Listen on an address. Raises OSError."""
        self._server = await asyncio.get_running_loop().create_server(
            self._protocol,
            host,
            port,
            ssl=await asyncio.to_thread(self._context),
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
            backlog=CONNECTIONS_MAX,
            reuse_address=True,
        )
        self._address = (host, self._server.sockets[0].getsockname()[1])

    async def renew(self) -> None:
        """Listen anew on the same address; connections that are open end with their answers."""
        if self._server is not None:
            self.stop()
            await self.start(*self._address)

    def stop(self) -> None:
        """Stop listening, and end each connection as soon as its answer is out."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        for connection in list(self._state.connections):
            connection.shutdown()

    def _protocol(self) -> asyncio.Protocol:
        caller = _Caller(self._application, self._peers)
        config = http_config(
            caller, ws="none", limit_concurrency=CONNECTIONS_MAX, timeout_keep_alive=60
        )
        config.load()
        return _Protocol(caller, config, self._state, self._strangers, self._lead_in)

    def _lead_in(self, transport: asyncio.Transport, protocol: str, peer: str) -> None:
        """Relay a tunnel to this node's router, a port wire, or one resource, from now on."""
        if protocol == RESOURCE:
            opening = Opening(lambda far, name: self._lead_to_resource(peer, far, name))
            transport.set_protocol(opening)
            opening.connection_made(transport)
            return
        place = self._leads_to(protocol)
        if place is None:
            transport.abort()
            return
        far = Pipe()
        transport.set_protocol(far)
        far.connection_made(transport)
        task = asyncio.ensure_future(lead_in(far, *place))
        self._tunnels.add(task)
        task.add_done_callback(self._tunnels.discard)


class _Caller:
    """The application as one connection sees it: with the peer that its certificate proves."""

    def __init__(self, application: ASGIApplication, peers: Peers) -> None:
        self._application = application
        self._peers = peers
        self.certificate: bytes | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._application({**scope, PEER: self.peer()}, receive, send)

    def peer(self) -> str | None:
        """Return who calls; looked up for each request, since a peer may be revoked meanwhile."""
        if self.certificate is None:
            return None
        peer = self._peers.by_id.get(signer_of(self.certificate))
        if peer is None:
            return None
        try:
            check_certificate(self.certificate, peer.public_key)
        except SkerryError:
            return None
        return peer.card.id


class _Protocol(HttpProtocol):
    def __init__(
        self,
        caller: _Caller,
        config: Config,
        state: ServerState,
        strangers: set[_Protocol],
        lead_in: Callable[[asyncio.Transport, str, str], None],
    ) -> None:
        super().__init__(config=config, server_state=state, app_state={})
        self._caller = caller
        self._strangers = strangers
        self._lead_in = lead_in
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the certificate of whoever connected; see `asyncio.Protocol`."""
        found = transport.get_extra_info("ssl_object")
        self._caller.certificate = found.getpeercert(binary_form=True) if found else None
        protocol = (found.selected_alpn_protocol() if found else None) or ""
        if protocol.startswith((TUNNEL, RESOURCE, PORT)):
            peer = self._caller.peer()
            if peer is None:
                transport.abort()
            else:
                self._lead_in(transport, protocol, peer)
            return
        if self._caller.peer() is None and not self._admit(transport):
            return
        super().connection_made(transport)

    def _admit(self, transport: asyncio.Transport) -> bool:
        """Let a stranger in for a while, unless there are too many."""
        if len(self._strangers) >= STRANGERS_MAX:
            transport.abort()
            return False
        self._strangers.add(self)
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(STRANGER_SECONDS, self._end_of_stay, transport)
        return True

    def _end_of_stay(self, transport: asyncio.Transport) -> None:
        self._strangers.discard(self)
        if self._caller.peer() is None:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; see `asyncio.Protocol`. Who was not let in never had one here."""
        self._strangers.discard(self)
        if self._deadline is not None:
            self._deadline.cancel()
        if self.transport is not None:
            super().connection_lost(exc)
