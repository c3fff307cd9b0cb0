"""Nodes' buses without the rest of the nodes: nats-servers as real processes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.ports import free_port

from skerry.federation.bus.bus import Bus, BusRegister, Place
from skerry.federation.bus.plan import Neighbour
from skerry.federation.identity import Identity
from skerry.federation.peers import Door
from skerry.kernel.clock import BootClock, SystemClock, SystemEntropy
from skerry.kernel.lease import RegisterLeases
from skerry.testing.nodes import open_directory

SETTLE_SECONDS = 40.0


@dataclass
class Nodes:
    """Buses by their names; who is in `bound` is bound to whom, both ways."""

    top: Path
    buses: dict[str, Bus] = field(default_factory=dict)
    neighbours: dict[str, Neighbour] = field(default_factory=dict)
    strangers: set[frozenset[str]] = field(default_factory=set)

    def add(self, name: str, jurisdiction: str) -> Bus:
        clock = SystemClock()
        folder = self.top / name
        folder.mkdir()
        identity = Identity.load(folder / "identity.pem", name, clock)
        door = Door("127.0.0.1", free_port(), free_port())
        authority = identity.authority().decode()
        self.neighbours[name] = Neighbour(
            identity.id, name, jurisdiction, identity.public_key, authority, door
        )
        place = Place(name, jurisdiction, "127.0.0.1", door)
        bus = Bus(
            place, identity, clock, SystemEntropy(), folder / "bus", lambda: self.bound_to(name)
        )
        self.buses[name] = bus
        return bus

    def bound_to(self, name: str) -> list[Neighbour]:
        return [
            each
            for other, each in self.neighbours.items()
            if other != name and frozenset((name, other)) not in self.strangers
        ]

    def leases(self, name: str) -> RegisterLeases:
        return RegisterLeases(BusRegister(self.buses[name]), BootClock())

    async def start(self) -> None:
        await asyncio.gather(*(bus.start() for bus in self.buses.values()))

    async def stop(self) -> None:
        await asyncio.gather(*(bus.stop() for bus in self.buses.values()))


async def until(check: Callable[[], Awaitable[bool]], seconds: float = SETTLE_SECONDS) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(seconds):
        while not await check():
            await asyncio.sleep(0.05)


async def settled(nodes: Nodes, *names: str) -> None:
    async def check() -> bool:
        return all(nodes.buses[name].settled for name in names)

    await until(check)


@contextlib.asynccontextmanager
async def four_nodes() -> AsyncIterator[Nodes]:
    """Yield three nodes in the EU and one in the US, whose buses run."""
    with open_directory() as top:
        nodes = Nodes(top)
        for name, jurisdiction in (("se-1", "EU"), ("fi-1", "EU"), ("de-1", "EU"), ("us-1", "US")):
            nodes.add(name, jurisdiction)
        try:
            await nodes.start()
            await settled(nodes, "se-1", "fi-1", "de-1")
            yield nodes
        finally:
            await nodes.stop()
