"""What a client's connection asks of the router, and what it gets: a hold on a process."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from skerry.node.cells import Running
from skerry.node.processes import how_it_ended
from skerry.node.router.head import RequestHead
from skerry.node.router.targets import Target
from skerry.node.router.upstream import Pool


@dataclass(slots=True, eq=False)
class Hold:
    """A request's hold: while it lasts, the process behind `path` is not put to sleep.

    `elsewhere`: the path leads to another node, which gets the request as it came.
    """

    path: str
    running: Running | None
    elsewhere: bool = False

    @property
    def leaving(self) -> bool:
        """Whether the process is told to go, so that no connection to it is worth keeping."""
        return self.running is not None and not self.running.usable

    async def gone(self, seconds: float) -> None:
        """Wait a moment for the end of a process that does not answer any more."""
        if self.running is not None:
            await asyncio.wait({self.running.channel.closed}, timeout=seconds)

    def blame(self) -> None:
        """Note that the process closed over a request that it had read."""
        if self.running is not None:
            self.running.ended_over_request = True

    async def how_it_died(self, seconds: float) -> str:
        """Return how a process ended that nobody told to go; empty if none did."""
        running = self.running
        if running is None or running.leaving or not running.channel.closed.done():
            return ""
        await asyncio.wait({running.child.ended}, timeout=seconds)
        if not running.child.ended.done():
            return ""
        how = how_it_ended(running.child.ended.result().status)
        return f"{running.key or 'The process'} ended while it handled this request: {how}."

    def close(self) -> None:
        """Let go; calling it twice is harmless."""
        running, self.running = self.running, None
        if running is not None:
            running.holds -= 1


class Switchboard(Protocol):
    """The router, as a client's connection sees it."""

    pool: Pool
    domain: str
    proxies: frozenset[bytes]
    """Addresses of web servers that are believed whom they speak for."""

    @property
    def draining(self) -> bool:
        """Whether the node stops, so that no further request is taken."""
        ...

    def admit(self, client: asyncio.BaseProtocol) -> bool:
        """Note a connection; false if there are too many."""
        ...

    def gone(self, client: asyncio.BaseProtocol) -> None:
        """Forget a connection."""
        ...

    def find(self, head: RequestHead) -> Target:
        """Return where a request goes. Raises NOT_FOUND."""
        ...

    def hold(self, target: Target) -> Hold | None:
        """Hold a target that is awake; None if it must be woken first."""
        ...

    async def knock(self, target: Target, line: bytes) -> None:
        """Ask the gate of a target that sleeps about the head that it would be sent.

        Raises TurnedAwayError with what the gate answers in the target's stead.
        """
        ...

    async def wake(self, target: Target) -> Hold:
        """Wake a target, once for all who wait, and hold it."""
        ...
