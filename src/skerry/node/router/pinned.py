"""The router for a connection that may reach one resource only, whatever host it names.

Functions of an app use a resource that another node has over such connections: they reach that
resource, and nothing else of the node.
"""

from __future__ import annotations

import asyncio

from skerry.node.router.client import Client
from skerry.node.router.head import RequestHead
from skerry.node.router.hold import Hold, Switchboard
from skerry.node.router.targets import Target


class Pinned:
    """See `Switchboard`; every request goes to the same resource."""

    def __init__(self, router: Switchboard, app: str, branch: str, resource: str) -> None:
        self._router = router
        self._place = (app, branch, resource)
        self.pool = router.pool
        self.domain = router.domain
        self.proxies: frozenset[bytes] = frozenset()

    @property
    def draining(self) -> bool:
        """Whether the node stops."""
        return self._router.draining

    def client(self) -> Client:
        """Make the protocol of one connection."""
        return Client(self)

    def admit(self, client: asyncio.BaseProtocol) -> bool:
        """See `Switchboard.admit`."""
        return self._router.admit(client)

    def gone(self, client: asyncio.BaseProtocol) -> None:
        """See `Switchboard.gone`."""
        self._router.gone(client)

    def find(self, head: RequestHead) -> Target:
        """Return the resource, with the request's path as it came."""
        return Target(*self._place, head.target)

    def hold(self, target: Target) -> Hold | None:
        """See `Switchboard.hold`."""
        return self._router.hold(target)

    async def knock(self, target: Target, line: bytes) -> None:
        """See `Switchboard.knock`."""
        await self._router.knock(target, line)

    async def wake(self, target: Target) -> Hold:
        """See `Switchboard.wake`."""
        return await self._router.wake(target)
