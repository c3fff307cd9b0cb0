"""What fronts of port wires are given: the kernel's `Gateway` over this node."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

from skerry.kernel.catalogue import Catalogue
from skerry.kernel.kind import Endpoint, Resource
from skerry.node.cells import PortSession, Running
from skerry.node.certificate import tls_context
from skerry.node.supervisor import Supervisor
from skerry.node.workshop import Workshop

TOUCH_SECONDS = 0.02

OpenWay = Callable[[str, str], Awaitable[str]]
"""From a node and a wire to a socket that leads there."""


class HeldSession:
    """See `kernel.kind.Session`."""

    def __init__(
        self, running: Running, resource: str, session: PortSession, endpoint: Endpoint
    ) -> None:
        self.endpoint = endpoint
        self._running = running
        self._resource = resource
        self._session = session
        self._now = asyncio.get_running_loop().time
        self._touched = 0.0

    def active(self, active: bool) -> None:
        """See `Session.active`; each change counts as use, of which the process hears now and then.

        A pool's sessions change with every transaction.
        """
        if active == self._session.is_active:
            return
        self._session.is_active = active
        now = self._now()
        if now - self._touched >= TOUCH_SECONDS:
            self._touched = now
            self._running.channel.note("touch", self._resource)

    def on_sleep(self, callback: Callable[[], None]) -> None:
        """See `Session.on_sleep`."""
        self._session.callbacks.append(callback)

    def close(self) -> None:
        """See `Session.close`."""
        sessions = self._running.sessions.get(self._resource)
        if sessions is not None:
            sessions.discard(self._session)


class NodeGateway:
    """See `kernel.kind.Gateway`."""

    def __init__(
        self,
        catalogue: Catalogue,
        supervisor: Supervisor,
        workshop: Workshop,
        certificate: Path,
    ) -> None:
        self._catalogue = catalogue
        self._supervisor = supervisor
        self._workshop = workshop
        self._certificate = certificate
        self._open_way: OpenWay | None = None

    def find(self, kind: str, app: str, branch: str, name: str | None) -> Resource | None:
        """See `Gateway.find`."""
        found = self._catalogue.known(app)
        place = found.branches.get(branch) if found else None
        if place is None:
            return None
        names = [each.name for each in self._catalogue.declared(place) if each.kind == kind]
        away = [each for each in place.away.values() if each.record.kind == kind]
        if name is None and len(names) == 1 and not away:
            name = names[0]
        return self._workshop.resource(place, name) if name in names else None

    def by_id(self, resource_id: str) -> Resource | None:
        """See `Gateway.by_id`."""
        place = self._catalogue.find(resource_id)
        if place is None:
            return None
        app, branch, name = place
        return self.find(self._catalogue.record(*place).kind, app, branch, name)

    async def open(self, resource: Resource) -> HeldSession:
        """See `Gateway.open`."""
        ref = resource.ref
        running, path = await self._supervisor.ready(ref.app, ref.branch, ref.name)
        session = self._supervisor.add_session(running, ref.name)
        return HeldSession(running, ref.name, session, Endpoint(path))

    def lead_elsewhere(self, open_way: OpenWay) -> None:
        """Name what opens, and returns, the socket that leads to a port wire of another node."""
        self._open_way = open_way

    async def elsewhere(
        self, app: str, wire: str, kind: str = "", branch: str = "", name: str | None = None
    ) -> str | None:
        """See `Gateway.elsewhere`."""
        node = self._catalogue.node_of(app)
        if not node and kind:
            node = self._catalogue.node_of_resource(app, branch, name, kind)
        if not node or self._open_way is None:
            return None
        return await self._open_way(node, wire)

    async def elsewhere_by_id(self, resource_id: str, wire: str) -> str | None:
        """See `Gateway.elsewhere_by_id`."""
        node = self._catalogue.node_of_id(resource_id)
        if not node or self._open_way is None:
            return None
        return await self._open_way(node, wire)

    def tls(self) -> ssl.SSLContext:
        """See `Gateway.tls`."""
        return tls_context(self._certificate)
