"""How a provider and a market speak: what each side needs of the other, near or far.

The far side is authenticated HTTP today (`wires.http`); the bus of a federation can stand behind
the same two protocols.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

import msgspec

from skerry.kernel.money import Rate
from skerry.market.core.messages import AnyMessage
from skerry.market.core.names import LeaseId, OrderId
from skerry.market.core.states import LeaseState, Reason
from skerry.market.core.terms import Terms
from skerry.market.sdl.model import GroupSpec

FEED_SECONDS_MAX = 20.0
"""The longest that a feed waits for news."""


class OrderNotice(msgspec.Struct, frozen=True):
    """An open order, as providers see it."""

    id: OrderId
    group: GroupSpec
    terms: Terms
    limit: Rate
    images: tuple[str, ...] = ()


class LeaseNotice(msgspec.Struct, frozen=True):
    """A lease, as its provider sees it. It is paid until `funded_until` (ms since 1970)."""

    id: LeaseId
    state: LeaseState
    price: Rate
    group: GroupSpec
    terms: Terms
    manifest_hash: str
    created_at: int
    funded_until: int
    reason: Reason = Reason.NONE
    reclaim_at: int = 0


class Feed(msgspec.Struct, frozen=True):
    """What a provider needs to know of a market, as of an entry of its log."""

    market: str
    sequence: int
    orders: tuple[OrderNotice, ...]
    leases: tuple[LeaseNotice, ...]


class MarketLink(Protocol):
    """A market, as a provider or a tenant reaches it."""

    @property
    def name(self) -> str:
        """Where the market is, for people."""
        ...

    async def submit(self, message: AnyMessage) -> None:
        """Sign and send a message; it is durable when this returns. Raises why it is refused."""
        ...

    async def feed(self, after: int, seconds: float) -> Feed:
        """Return what is open once there is something after an entry, or time is up."""
        ...


class LogLine(msgspec.Struct, frozen=True):
    """A line of a workload; `time` is nanoseconds since 1970."""

    service: str
    stream: str
    text: str
    time: int = 0


class ServiceStatus(msgspec.Struct, frozen=True):
    """A service of a lease on its provider."""

    name: str
    state: str
    wanted: int
    ready: int
    uris: tuple[str, ...] = ()
    ports: tuple[tuple[int, str], ...] = ()
    detail: str = ""


class ProviderLink(Protocol):
    """A provider, as the tenant of a lease reaches it."""

    async def send_manifest(self, lease: LeaseId, manifest: list[dict[str, Any]]) -> None:
        """Hand the manifest over; raises what the provider answers."""
        ...

    async def status(self, lease: LeaseId) -> list[ServiceStatus]:
        """Return what runs."""
        ...

    def logs(
        self, lease: LeaseId, service: str, lines: int, follow: bool
    ) -> AsyncIterator[LogLine]:
        """Yield the lines of one service, or of all of them if it is ''."""
        ...

    async def run(
        self, lease: LeaseId, service: str, command: tuple[str, ...], stdin: bytes
    ) -> tuple[int, bytes, bytes]:
        """Run a command beside a service; return its exit status, output and errors."""
        ...
