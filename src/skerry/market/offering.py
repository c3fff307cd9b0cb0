"""Whether this node is a provider: started by its operator, and again with the node."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec

from skerry.kernel.errors import CONFLICT, SkerryError
from skerry.market import results as r
from skerry.market.core import messages as m
from skerry.market.core.messages import Capacity
from skerry.market.link import MarketLink
from skerry.market.provider import capacity
from skerry.market.provider.agent import Agent, Settings
from skerry.market.provider.runner import Runner
from skerry.node.home import write_secret

CREDIT = 5_000_000
"""Micro-units that a market gives its own node's provider to start with, for its bids' deposits."""
GPU_CLAIM = "as its driver says; for class bwrap"
_log = logging.getLogger("skerry.market.provider")


class Offering:
    """This node's provider, if it is one."""

    def __init__(self, handler: Any) -> None:
        self._handler = handler
        self._path = handler.directory / "provider.json"
        self._listening = False
        self.agent: Agent | None = None

    def running(self) -> Agent:
        """Return the provider; raise CONFLICT if this node is none."""
        if self.agent is None:
            raise CONFLICT(
                "This machine offers nothing.", hint="skerry market provider start --country FI"
            )
        return self.agent

    async def resume(self) -> None:
        """Offer again what was offered before the node stopped."""
        if not self._path.exists():
            return
        settings = msgspec.json.decode(
            await asyncio.to_thread(self._path.read_bytes), type=Settings
        )
        url = f"{self._handler.node.url}/market/provider"
        settings = msgspec.structs.replace(settings, url=url)
        try:
            await self._begin(settings, must=False)
        except (SkerryError, OSError):
            # What it serves goes on in its keepers; the operator finds this in the log.
            _log.exception("the provider could not start again")

    async def begin(self, settings: Settings) -> r.ProviderStarted:
        """Measure, register and follow; raise why a market refuses.

        What was offered before goes on then. Raises CONFLICT if a market would be left whose leases
        are served.
        """
        if self.agent is not None:
            await _check_kept(self.agent, [self._handler.link(each) for each in settings.markets])
        await self.stop()
        try:
            agent = await self._begin(settings, must=True)
        except BaseException:
            await self.stop()
            await self.resume()
            raise
        await asyncio.to_thread(write_secret, self._path, msgspec.json.encode(settings))
        found = agent.inventory.capacity
        isolation, images = await agent.runner.can()
        return r.ProviderStarted(
            message=f"{settings.name} offers this machine.",
            address=agent.address,
            url=settings.url,
            cpu_milli=found.cpu_milli,
            cpu_score=found.cpu_score,
            memory_bytes=found.memory_bytes,
            storage_bytes=found.storage_bytes,
            gpu=f"{found.gpu_units} x {found.gpu_model} ({GPU_CLAIM})" if found.gpu_units else "",
            isolation=isolation,
            images=images,
            markets=tuple(agent.links),
        )

    async def _begin(self, settings: Settings, *, must: bool) -> Agent:
        handler = self._handler
        node = handler.node
        measured = await asyncio.to_thread(
            capacity.measure,
            node.home.root,
            node.clock.monotonic,
            settings.share_percent,
            node.gpus,
        )
        agent = Agent(
            settings=_described(settings, measured),
            address=handler.provider_wallet.address,
            capacity=measured,
            runner=Runner(node.workloads),
            directory=handler.directory / "provider",
            clock=handler.clock,
            node=lambda: handler.ways.own,
        )
        await agent.start()
        self.agent = agent
        if not self._listening:
            node.workloads.on_change(self._changed)
            self._listening = True
        for market in settings.markets:
            if market == "local":
                await self._admit_own()
            await agent.join(handler.link(market), must=must)
        return agent

    def _changed(self, info: Any) -> None:
        if self.agent is not None:
            self.agent.changed(info)

    async def _admit_own(self) -> None:
        """Let this node's own provider offer in this node's own market."""
        handler = self._handler
        address = handler.provider_wallet.address
        if address not in handler.exchange.state.admitted:
            await handler.submit(m.Admit(address))
            await handler.submit(m.Fund(address, CREDIT))

    async def end(self) -> None:
        """Offer nothing more; raise CONFLICT while there are leases."""
        agent = self.running()
        if agent.records.leases:
            raise CONFLICT(
                "This machine serves leases.",
                why=f"{len(agent.records.leases)} were promised.",
                hint="skerry market provider show",
            )
        await asyncio.to_thread(self._path.unlink, missing_ok=True)
        await self.stop()

    async def stop(self) -> None:
        """Let go of the markets; what runs goes on."""
        agent, self.agent = self.agent, None
        if agent is not None:
            await agent.stop()


async def _check_kept(agent: Agent, links: list[MarketLink]) -> None:
    """Raise CONFLICT unless some of these markets knows each lease that a provider serves."""
    names = {each.name for each in links}
    served = {name: each for name, each in agent.records.leases.items() if each.market not in names}
    if not served:
        return
    # The same market may have another name now, such as that of a node that was bound since.
    for link in links:
        for notice in (await link.feed(-1, 0.0)).leases:
            served.pop(notice.id, None)
    for name, record in served.items():
        raise CONFLICT(
            f"Lease {name} of {record.market} is served.",
            why="A provider follows the market of every lease.",
            hint=f"skerry market provider start --country FI --market {record.market}",
        )


def _described(settings: Settings, measured: Capacity) -> Settings:
    """Return the settings with what the machine itself says of it among the attributes."""
    own = {
        "country": settings.country,
        "host": settings.name,
        "arch": capacity.machine(),
        "capabilities/cpu/score": str(measured.cpu_score),
    }
    return msgspec.structs.replace(settings, attributes={**own, **settings.attributes})
