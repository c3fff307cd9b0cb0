"""How a provider and a market speak: what each side needs of the other, near or far.

The far side is reached by signed HTTP and WebSockets (`wires.links`): over mutual TLS where it is a
node that is bound to this one, and else at the address that it tells.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

import msgspec

from skerry.kernel.errors import TOO_LARGE
from skerry.kernel.money import Rate
from skerry.market.core.messages import AnyMessage
from skerry.market.core.names import LeaseId, OrderId
from skerry.market.core.states import LeaseState, Reason
from skerry.market.core.terms import Terms
from skerry.market.sdl.model import GroupSpec

OUTPUT_BYTES_MAX = 4 << 20
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
    """What a provider needs to know of a market, as of an entry of its log.

    `wallet` is what it holds there, in micro-units.
    """

    market: str
    sequence: int
    orders: tuple[OrderNotice, ...]
    leases: tuple[LeaseNotice, ...]
    wallet: int = 0


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
    """A service of a lease on its provider; a port is its number, address, and `tcp` or `udp`."""

    name: str
    state: str
    wanted: int
    ready: int
    uris: tuple[str, ...] = ()
    ports: tuple[tuple[int, str, str], ...] = ()
    detail: str = ""


class Session(Protocol):
    """A program beside a service, and the way to its streams; `code` is known after `output`."""

    code: int | None

    async def write(self, data: bytes) -> None:
        """Send input."""
        ...

    def end_input(self) -> None:
        """Send the end of input."""
        ...

    def resize(self, rows: int, columns: int) -> None:
        """Tell the new size of the terminal."""
        ...

    def output(self) -> AsyncIterator[tuple[str, bytes]]:
        """Yield (`stdout` or `stderr`, bytes) until the program ends; raise why it did not run."""
        ...

    async def close(self) -> None:
        """End the session."""
        ...


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

    async def session(
        self,
        lease: LeaseId,
        service: str,
        command: tuple[str, ...],
        terminal: tuple[int, int] | None,
    ) -> Session:
        """Run a program beside a service; `terminal` is its size in rows and columns, if any."""
        ...


async def run_to_end(session: Session, stdin: bytes) -> tuple[int, bytes, bytes]:
    """Return exit status, output and errors of a program; raise TOO_LARGE for too much of them."""
    collected = {"stdout": bytearray(), "stderr": bytearray()}
    try:
        if stdin:
            await session.write(stdin)
        session.end_input()
        async for stream, data in session.output():
            collected[stream] += data
            if sum(map(len, collected.values())) > OUTPUT_BYTES_MAX:
                raise TOO_LARGE(f"The command wrote more than {OUTPUT_BYTES_MAX} bytes.")
    finally:
        await session.close()
    return session.code or 0, bytes(collected["stdout"]), bytes(collected["stderr"])
