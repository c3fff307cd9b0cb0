"""Tunnels: requests for an app that was moved go on to the node that has it, as bytes.

The router connects to a unix socket; from there a connection over mutual TLS leads to the other
node's router, which reads the request as if it had come there. TLS names the protocol (ALPN), so
that one port takes both tunnels and the questions of nodes.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

from skerry.federation.calls import address_of
from skerry.federation.identity import Identity, check_certificate
from skerry.federation.peers import Peer
from skerry.federation.tls import PORT, RESOURCE, TUNNEL, client_context
from skerry.kernel.errors import SkerryError
from skerry.kinds._shared.relay import pipe

CONNECT_SECONDS = 10.0
OPENING_BYTES_MAX = 64
AWAY = "away.sock"
"""The socket in a resource's `run` that leads to the node which has it."""
EARLY_BYTES_MAX = 1 << 20


class Pipe(pipe.Pipe):
    """One end of a tunnel, which keeps bytes while the other end is being opened.

    Reading pauses at a limit.
    """

    other: Pipe | None

    def __init__(self, other: Pipe | None = None) -> None:
        super().__init__()
        self.other = other
        self._early: list[bytes] = []
        self._early_bytes = 0
        if other is not None:
            other.other = self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Pass on what came early at the other end."""
        super().connection_made(transport)
        if self.other is not None:
            self.other.flush()

    def data_received(self, data: bytes) -> None:
        """Pass data on, or keep it for a while."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)
            return
        self._early.append(data)
        self._early_bytes += len(data)
        if self._early_bytes > EARLY_BYTES_MAX and self.transport is not None:
            self.transport.pause_reading()

    def flush(self) -> None:
        """Pass on what was kept."""
        assert self.other is not None
        if self.other.transport is None:
            return
        for data in self._early:
            self.other.transport.write(data)
        self._early.clear()
        if self.transport is not None and self._early_bytes > EARLY_BYTES_MAX:
            self.transport.resume_reading()
        self._early_bytes = 0

    def eof_received(self) -> bool:
        """Close: HTTP between routers needs no half-open connections."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the other end as well."""
        self.transport = None
        super().connection_lost(exc)

    def abort(self) -> None:
        """Close this end at once."""
        if self.transport is not None:
            self.transport.abort()


class Tunnels:
    """The unix sockets of a node that lead to others, opened when they are first needed."""

    def __init__(self, run: Path, identity: Identity, find: Callable[[str], Peer]) -> None:
        self._run = run
        self._identity = identity
        self._find = find
        self._servers: dict[str, asyncio.AbstractServer] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._opening = asyncio.Lock()

    def path(self, node: str, wire: str = "") -> str:
        """Return the socket that leads to a node's router, or to one of its port wires.

        Raises NOT_FOUND if it is bound no more.
        """
        peer = self._find(node)
        return str(self._run / f"to-{peer.card.id[:12]}{wire and '-'}{wire}.sock")

    async def open(self, node: str) -> None:
        """Listen on the socket that leads to a node."""
        await self.open_wire(node, "")

    async def open_wire(self, node: str, wire: str) -> str:
        """Listen on the socket that leads to a node's port wire, and return it."""
        path = self.path(node, wire)
        await self._serve(path, node, f"{PORT}{wire}" if wire else TUNNEL)
        return path

    async def open_resource(
        self, node: str, resource_id: str, run: Path, wire: str = "", owner: int | None = None
    ) -> str:
        """Listen on the socket that leads to one resource of a node, or to a port wire of it.

        It lies in `run`, and belongs to the user that functions of the app run as.
        """
        path = str(run / AWAY)
        opening = b"" if wire else f"{resource_id}\n".encode()
        await self._serve(path, node, f"{PORT}{wire}" if wire else RESOURCE, opening)
        if owner is not None:
            await asyncio.to_thread(os.chown, path, owner, owner)
        return path

    async def _serve(self, path: str, node: str, protocol: str, opening: bytes = b"") -> None:
        """Listen on a socket; a second call, also while the first is under way, changes nothing."""
        async with self._opening:
            server = self._servers.get(path)
            if server is not None:
                if await asyncio.to_thread(Path(path).exists):
                    return
                server.close()
            await asyncio.to_thread(Path(path).unlink, missing_ok=True)
            mask = os.umask(0o177)
            try:
                self._servers[path] = await asyncio.get_running_loop().create_unix_server(
                    lambda: self._accept(node, protocol, opening), path
                )
            finally:
                os.umask(mask)

    def close_resource(self, run: Path) -> None:
        """Lead to a resource no more: it is here, or gone."""
        server = self._servers.pop(str(run / AWAY), None)
        if server is not None:
            server.close()

    def close(self) -> None:
        """Lead nowhere any more."""
        for server in self._servers.values():
            server.close()
        for task in list(self._tasks):
            task.cancel()

    def _accept(self, node: str, protocol: str, opening: bytes) -> Pipe:
        near = Pipe()
        task = asyncio.ensure_future(self._connect(near, node, protocol, opening))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return near

    async def _connect(self, near: Pipe, node: str, protocol: str, opening: bytes) -> None:
        try:
            peer = self._find(node)
            host, port = address_of(peer.card.url)
            context = await asyncio.to_thread(
                client_context, self._identity, peer.authority, protocol
            )
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(CONNECT_SECONDS):
                transport, far = await loop.create_connection(
                    lambda: Checked(near, peer.public_key, protocol, opening),
                    host,
                    port,
                    ssl=context,
                )
            if not far.is_checked:
                transport.abort()
                near.abort()
        except (OSError, TimeoutError, SkerryError):
            near.abort()


class Checked(Pipe):
    """The far end of a tunnel, which opens only if the right node is there.

    `opening` is sent before anything else.
    """

    def __init__(self, near: Pipe, public_key: bytes, protocol: str, opening: bytes = b"") -> None:
        super().__init__(near)
        self._first = opening
        self._protocol = protocol
        self._public_key = public_key
        self.is_checked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Compare the certificate before the first byte goes out."""
        tls = transport.get_extra_info("ssl_object")
        found = tls.getpeercert(binary_form=True)
        try:
            check_certificate(found, self._public_key)
        except SkerryError:
            return
        if tls.selected_alpn_protocol() != self._protocol:
            return
        self.is_checked = True
        cast(asyncio.Transport, transport).write(self._first)
        super().connection_made(transport)


async def lead_in(far: Pipe, host: str, port: int) -> None:
    """Connect the accepted end of a tunnel to this node's own router."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await loop.create_connection(lambda: Pipe(far), host, port)
    except (OSError, TimeoutError):
        far.abort()


class Opening(Pipe):
    """The accepted end of a tunnel to one resource: its first line says to which."""

    def __init__(self, lead: Callable[[Pipe, str], Awaitable[None]]) -> None:
        super().__init__()
        self._lead = lead
        self._line = b""
        self._task: asyncio.Task[None] | None = None

    def data_received(self, data: bytes) -> None:
        """Read the line; then pass on what follows."""
        if self._task is not None:
            super().data_received(data)
            return
        self._line += data
        line, end, rest = self._line.partition(b"\n")
        if len(line) > OPENING_BYTES_MAX:
            self.abort()
        elif end:
            name = line.decode("ascii", "replace")
            self._task = asyncio.ensure_future(self._open(name))
            if rest:
                super().data_received(rest)

    async def _open(self, name: str) -> None:
        try:
            await self._lead(self, name)
        except (OSError, SkerryError):
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the other end as well, also one that is just being opened."""
        super().connection_lost(exc)
        if self._task is not None and self.other is None:
            self._task.cancel()


async def lead_to(far: Pipe, protocol: asyncio.Protocol) -> None:
    """Connect the accepted end of a tunnel to a protocol of this process."""
    loop = asyncio.get_running_loop()
    one, other = socket.socketpair()
    one.setblocking(False)
    other.setblocking(False)
    try:
        await loop.connect_accepted_socket(lambda: protocol, other)
        await loop.create_unix_connection(lambda: Pipe(far), sock=one)
    except BaseException:
        one.close()
        raise
    if far.transport is None and far.other is not None:
        far.other.abort()
