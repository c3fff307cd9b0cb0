"""What the connections of the Postgres port share."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Protocol
from weakref import WeakValueDictionary

import msgspec

from skerry.kernel.clock import SystemEntropy
from skerry.kernel.errors import BUSY
from skerry.kernel.kind import Gateway, Resource
from skerry.kernel.names import parse_host_label
from skerry.kinds._shared.pgwire.messages import WireError
from skerry.kinds.postgres.address import POOLER, Target
from skerry.kinds.postgres.config import PostgresConfig
from skerry.kinds.postgres.lane import Lane
from skerry.kinds.postgres.limits import Limits
from skerry.kinds.postgres.lookup import Lookup
from skerry.kinds.postgres.pooler import Pool
from skerry.kinds.postgres.tls import ServerTLS

_KIND = "postgres"
_WIRE = "pg"
_LOOK_SECONDS = 0.5
_REMEMBERED = 10_000


class Guest(Protocol):
    """A client's connection, as far as others may use it."""

    transport: asyncio.Transport

    def look(self) -> None:
        """Once in a while: find out whether the session is idle."""

    async def cancel(self, key: bytes) -> None:
        """Cancel what the session runs if this is its key."""


class Lobby:
    """What the connections of one port share: who is there, and which resource a client means."""

    def __init__(self, gateway: Gateway, limits: Limits) -> None:
        self.gateway = gateway
        self.limits = limits
        self.clients: set[Guest] = set()
        self.lively: set[Guest] = set()
        self._by_process: dict[int, Guest] = {}
        self.lookup = Lookup(SystemEntropy().bytes(32))
        self.lane = Lane()
        self._pools: WeakValueDictionary[str, Pool] = WeakValueDictionary()
        self._tls: ServerTLS | None = None
        self._rates: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._looking: asyncio.TimerHandle | None = None

    def greet(self, client: Guest) -> None:
        """Count a client that has connected."""
        self.clients.add(client)
        if self._looking is None:
            self._look()

    def tls(self) -> ServerTLS:
        """Return how this front does TLS, with the node's certificate."""
        if self._tls is None:
            self._tls = ServerTLS(self.gateway.tls())
        return self._tls

    def knows(self, label: str) -> bool:
        """Tell whether a host label selects a resource of ours."""
        parsed = parse_host_label(label.removesuffix(POOLER))
        return parsed is not None and self._find(*parsed) is not None

    async def elsewhere(self, target: Target) -> str | None:
        """Return the socket that leads to the node that has what a client asks for, if another."""
        return await self.gateway.elsewhere(target.app, _WIRE, _KIND, target.branch, target.name)

    def resource(self, target: Target) -> tuple[Resource, bool]:
        """Return the resource that a client asks for, and whether by its pooler.

        Raises WireError if there is none.
        """
        found = self._find(target.app, target.branch, target.name)
        if found is not None:
            return found, False
        pooled = target.pooled()
        if pooled is not None:
            found = self._find(pooled.app, pooled.branch, pooled.name)
            if found is not None:
                return found, True
        raise WireError("3D000", f'endpoint "{target.label[:120]}" does not exist')

    def admit(self, resource: Resource) -> None:
        """Count a new connection; raise WireError or BUSY if there are too many."""
        if len(self.clients) > self.limits.connections:
            raise WireError("53300", "sorry, too many clients already")
        now = asyncio.get_running_loop().time()
        left, since = self._rates.pop(resource.id, (self.limits.burst, now))
        left = min(self.limits.burst, left + (now - since) * self.limits.connections_per_second)
        self._rates[resource.id] = (max(0.0, left - 1.0), now)
        if len(self._rates) > _REMEMBERED:
            self._rates.popitem(last=False)
        if left < 1.0:
            raise BUSY("Too many connections a second to this database.")

    def pool(self, resource: Resource) -> Pool:
        """Return the pool of a resource."""
        pool = self._pools.get(resource.id)
        if pool is None:
            size = config_of(resource).pooler_size
            pool = Pool(self.gateway, self.lookup, self.limits, resource, size)
            self._pools[resource.id] = pool
        return pool

    def new_process_number(self) -> int:
        """Return a number for a client's cancel key that no other client has."""
        while True:
            number = int.from_bytes(SystemEntropy().bytes(4), "big") & 0x7FFFFFFF
            if number not in self._by_process:
                return number

    def welcome(self, client: Guest, process: int) -> None:
        """Remember whom a cancel key stands for."""
        self._by_process[process] = client

    async def cancel(self, process: int, key: bytes) -> None:
        """Pass a cancel request on; one with a wrong key is ignored, as PostgreSQL does."""
        client = self._by_process.get(process)
        if client is not None:
            await client.cancel(key)

    def forget(self, client: Guest, process: int | None) -> None:
        """Drop a client that has left, and what its cancel key stood for."""
        self.clients.discard(client)
        self.lively.discard(client)
        if process is not None:
            self._by_process.pop(process, None)

    def _find(self, app: str, branch: str, name: str | None) -> Resource | None:
        return self.gateway.find(_KIND, app, branch, name)

    def _look(self) -> None:
        """Look at the clients that are not known to be idle, as long as there are any."""
        for client in list(self.lively):
            client.look()
        loop = asyncio.get_running_loop()
        self._looking = loop.call_later(_LOOK_SECONDS, self._look) if self.clients else None


def config_of(resource: Resource) -> PostgresConfig:
    """Return the settings of a resource."""
    config: PostgresConfig = msgspec.convert(resource.config, PostgresConfig)
    return config
