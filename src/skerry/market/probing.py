"""Probes: what the market itself asks of leases whose terms want to be probed.

A probe is black box: the provider must say that every replica is ready, and a service that answers
over HTTP must answer. What it shows is that something answered, and nothing about how.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from skerry.kernel.errors import SkerryError
from skerry.market.core import messages as m
from skerry.market.core.entities import Lease
from skerry.market.wires.client import request

PROBE_SECONDS = 30.0
ANSWER_SECONDS = 5.0
PROBES_AT_ONCE = 8
GRACE_SECONDS = 120.0
"""How long a program may take to come up before it is probed."""
_log = logging.getLogger("skerry.market")


class Probing:
    """Probes the leases of this node's market, each every `PROBE_SECONDS`."""

    def __init__(self, handler: Any) -> None:
        self._handler = handler
        self._work: asyncio.Task[None] | None = None
        self._slots = asyncio.Semaphore(PROBES_AT_ONCE)

    def start(self) -> None:
        """Begin."""
        self._work = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End."""
        if self._work is not None:
            self._work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._work

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            try:
                await self.probe_all(GRACE_SECONDS)
            except SkerryError as error:
                _log.error("probes could not be noted: %s", error.what)

    async def probe_all(self, grace_seconds: float = 0.0) -> None:
        """Probe every lease that wants it and is older than its grace, once."""
        state = self._handler.exchange.state
        oldest = self._handler.exchange.now - grace_seconds * 1000
        wanted = [
            state.leases[name]
            for name in list(state.running)
            if state.groups[name.group].terms.verification.level == "probe"
            and state.leases[name].created_at <= oldest
        ]
        await asyncio.gather(*(self._probe(lease) for lease in wanted))

    async def _probe(self, lease: Lease) -> None:
        async with self._slots:
            answered = await self._answers(lease)
        handler = self._handler
        await handler.exchange.submit(handler.exchange.operator, m.Probe(lease.id, answered))

    async def _answers(self, lease: Lease) -> bool:
        found = await self._handler.tenant.status_or_none(lease)
        if found is None or any(each.ready < each.wanted for each in found.values()):
            return False
        for each in found.values():
            if each.uris:
                try:
                    answer = await request("GET", each.uris[0], seconds=ANSWER_SECONDS)
                except SkerryError:
                    return False
                if answer.status >= 500:
                    return False
        return True
