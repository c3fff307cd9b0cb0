"""TigerBeetle's port of the node: one port, every app and branch.

The cluster's number in a client's first message says which ledger it means, and proves that it may.
Pings are answered here, so that a client that only waits keeps nothing awake; requests go to the
ledger's cell, which is woken for them, and replies come back as they are. A client whose ledger is
on another node now is passed on to the port there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import cast

from skerry.kernel.errors import SkerryError
from skerry.kernel.kind import Front, Gateway, Resource, Session
from skerry.kinds._shared.relay.pipe import pass_on
from skerry.kinds.ledger import address
from skerry.kinds.ledger.tiger import head as heads
from skerry.kinds.ledger.tiger.head import HEAD_BYTES, Command, Head, Reason

CONNECTIONS_MAX = 5000
FIRST_MESSAGE_SECONDS = 15.0
WAKE_SECONDS = 60.0
HELD_BYTES = 2 << 20
_SIZE_AT = 96
_KIND = "ledger"
_WIRE = "tigerbeetle"
_log = logging.getLogger(__name__)


class TigerFront(Front):
    """Serves TigerBeetle's port."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(gateway)
        self.clients = 0

    def protocol(self) -> asyncio.BaseProtocol:
        """See `Front.protocol`."""
        return Client(self)

    def find(self, head: Head) -> Resource | None:
        """Return the ledger that a message may speak to."""
        resource = self.gateway.by_id(address.resource_of(head.cluster))
        if resource is None or resource.ref.kind != _KIND:
            return None
        return resource if address.opens(head.cluster, resource.id, resource.keys) else None

    async def elsewhere(self, cluster: int) -> str | None:
        """Return the socket that leads to the ledger's port on another node, if it was moved."""
        return await self.gateway.elsewhere_by_id(address.resource_of(cluster), _WIRE)


class Frames:
    """Counts messages in a stream of bytes, of which only the heads are looked at."""

    def __init__(self) -> None:
        self._start = b""
        self._missing = 0

    def ends(self, data: bytes) -> int:
        """Return how many messages end in the next bytes."""
        ended = 0
        at = 0
        while at < len(data):
            if not self._missing:
                wanted = HEAD_BYTES - len(self._start)
                self._start += data[at : at + wanted]
                at += min(wanted, len(data) - at)
                if len(self._start) < HEAD_BYTES:
                    break
                size = int.from_bytes(self._start[_SIZE_AT : _SIZE_AT + 4], "little")
                self._missing, self._start = size - HEAD_BYTES, b""
            taken = min(self._missing, len(data) - at)
            at += taken
            self._missing -= taken
            ended += not self._missing
        return ended


class Upstream(asyncio.Protocol):
    """The connection to a ledger's cell."""

    transport: asyncio.Transport

    def __init__(self, client: Client, session: Session) -> None:
        self._client = client
        self._frames = Frames()
        self.session = session

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._client.transport.write(data)
        self._client.answered(self._frames.ends(data))

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._client.transport.pause_reading()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._client.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.session.close()
        self._client.ended(self)


class Client(asyncio.Protocol):
    """A client's connection, which outlives the sleep of its ledger."""

    transport: asyncio.Transport

    def __init__(self, front: TigerFront) -> None:
        self._front = front
        self._start = b""
        self._missing = 0
        self._cluster: int | None = None
        self._held: list[bytes] = []
        self._upstream: Upstream | None = None
        self._opening: asyncio.Task[None] | None = None
        self._under_way = 0
        self._leaving = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self.transport = cast(asyncio.Transport, transport)
        self._front.clients += 1
        if self._front.clients > CONNECTIONS_MAX:
            self.transport.abort()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(FIRST_MESSAGE_SECONDS, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._front.clients -= 1
        if self._timer is not None:
            self._timer.cancel()
        if self._opening is not None:
            self._opening.cancel()
        if self._upstream is not None:
            self._upstream.transport.abort()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        at = 0
        while at < len(data) and not self.transport.is_closing():
            if self._leaving:
                self._held.append(data[at:])
                return
            if self._missing:
                taken = min(self._missing, len(data) - at)
                self._forward(data[at : at + taken])
                self._missing -= taken
                at += taken
                continue
            wanted = HEAD_BYTES - len(self._start)
            self._start += data[at : at + wanted]
            at += min(wanted, len(data) - at)
            if len(self._start) == HEAD_BYTES:
                packed, self._start = self._start, b""
                self._message(packed)

    def _message(self, packed: bytes) -> None:
        head = heads.read(packed)
        if head is None or self._cluster not in (None, head.cluster):
            self.transport.abort()
            return
        if self._front.find(head) is None:
            self._leaving = True
            self.transport.pause_reading()
            self._opening = asyncio.ensure_future(self._leave(head, packed))
            return
        self._cluster = head.cluster
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if head.command == Command.PING_CLIENT:
            self.transport.write(heads.pong(head, packed))
            if head.size != HEAD_BYTES:
                self.transport.abort()
            return
        self._missing = head.size - HEAD_BYTES
        self._under_way += 1
        if self._upstream is not None:
            self._upstream.session.active(True)
        self._forward(packed)

    def _forward(self, data: bytes) -> None:
        if self._upstream is not None:
            self._upstream.transport.write(data)
            return
        self._held.append(data)
        if sum(map(len, self._held)) > HELD_BYTES:
            self.transport.pause_reading()
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._open())

    async def _open(self) -> None:
        """Wake the ledger and connect to it; close the client's connection if that fails."""
        try:
            async with asyncio.timeout(WAKE_SECONDS):
                upstream = await self._connect()
        except (SkerryError, OSError) as error:
            _log.warning("a ledger could not be woken: %s", error)
            self.transport.abort()
            return
        finally:
            self._opening = None
        upstream.transport.writelines(self._held)
        self._held.clear()
        self._upstream = upstream
        self.transport.resume_reading()

    async def _leave(self, head: Head, packed: bytes) -> None:
        """Pass a client on to where its ledger is now; end one whose ledger is nowhere."""
        try:
            path = await self._front.elsewhere(head.cluster)
            if path is not None:
                if self._timer is not None:
                    self._timer.cancel()
                first = b"".join((packed, *self._held))
                await pass_on(self.transport, path, first, self._left)
                return
        except (SkerryError, OSError) as error:
            _log.warning("a client could not be passed on to another node: %s", error)
            self.transport.abort()
            return
        client = heads.client_of(head, packed)
        if client:
            self.transport.write(heads.eviction(head, client, Reason.NO_SESSION))
        self.transport.close()

    def _left(self) -> None:
        """Count the client no more."""
        self._front.clients -= 1

    async def _connect(self) -> Upstream:
        assert self._cluster is not None
        resource = self._front.gateway.by_id(address.resource_of(self._cluster))
        if resource is None:
            raise ConnectionError("the ledger was deleted")
        session = await self._front.gateway.open(resource)
        session.active(True)
        try:
            loop = asyncio.get_running_loop()
            path = str(Path(session.endpoint.path))
            _, upstream = await loop.create_unix_connection(lambda: Upstream(self, session), path)
        except BaseException:
            session.close()
            raise
        session.on_sleep(upstream.transport.close)
        return upstream

    def answered(self, count: int) -> None:
        """Count replies; a client that awaits none keeps nothing awake."""
        self._under_way = max(0, self._under_way - count)
        if count and not self._under_way and self._upstream is not None:
            self._upstream.session.active(False)

    def ended(self, upstream: Upstream) -> None:
        """Note that the cell closed; a request on its way is sent again by the client."""
        if self._upstream is not upstream:
            return
        self._upstream = None
        if self._under_way:
            self.transport.abort()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        if self._upstream is not None:
            self._upstream.transport.pause_reading()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        if self._upstream is not None:
            with contextlib.suppress(RuntimeError):
                self._upstream.transport.resume_reading()
