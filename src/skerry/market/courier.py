"""The way of manifests to the providers of leases, whoever waits for it or does not.

A command that deploys waits for its leases and hands the manifest over. A lease may be made when
no command waits any more: a provider came later, or a group was ordered again. Nothing would run
there, and it would be paid for, so what is missing is handed over in the background too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from skerry.kernel.errors import NOT_FOUND, SkerryError
from skerry.market.core.entities import Lease
from skerry.market.core.names import LeaseId
from skerry.market.exchange import Exchange
from skerry.market.tenant import Tenant

GRACE_MILLISECONDS = 1000
"""How old a lease is before it is nobody's: a command that waits for it comes first."""
PAUSE_SECONDS = 1.0
RETRY_SECONDS = (2.0, 60.0)
QUIET_SECONDS = 60.0
AT_ONCE = 8
_log = logging.getLogger("skerry.market")
Allow = Callable[[LeaseId], None]


@dataclass(slots=True)
class _Trouble:
    """Why a manifest did not arrive; `again_at` is None where trying again would be of no use."""

    why: str
    again_at: float | None
    pause_seconds: float


def may_pass(error: SkerryError) -> bool:
    """Tell whether a provider that refused a manifest may take it later.

    One that does not know a running lease has lost contact with the market.
    """
    return error.problem.temporary or error.problem is NOT_FOUND


class Courier:
    """Hands manifests over: each once to each lease, however many ask for it at a time.

    `allow` raises DENIED for a lease whose provider may not have the manifest.
    """

    def __init__(self, exchange: Exchange, tenant: Tenant, allow: Allow) -> None:
        self._exchange = exchange
        self._tenant = tenant
        self._allow = allow
        self._given: set[LeaseId] = set()
        self._on_the_way: dict[tuple[LeaseId, str], asyncio.Task[None]] = {}
        self._waiting: dict[LeaseId, _Trouble] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._work: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look after leases that nobody waits for."""
        self._work = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End; what is on its way is given up, and tried again after the next start."""
        tasks = [each for each in (self._work, *self._on_the_way.values()) if each is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def trouble(self, lease: LeaseId) -> str:
        """Return why a lease has no manifest yet, or ''."""
        found = self._waiting.get(lease)
        return "" if found is None else found.why

    async def deliver(self, lease: Lease) -> None:
        """Hand the manifest over; raise what the provider answers, or DENIED.

        Whoever asks while the same manifest is on its way waits for the same delivery.
        """
        # One who gives up waiting takes it from nobody else.
        await asyncio.shield(self._send(lease))

    def _send(self, lease: Lease) -> asyncio.Task[None]:
        key = lease.id, self._exchange.state.deployments[lease.id.deployment].manifest_hash
        task = self._on_the_way.get(key)
        if task is None:
            task = self._on_the_way[key] = asyncio.create_task(self._hand_over(lease))
            task.add_done_callback(lambda done: self._arrived(key, done))
        return task

    def _arrived(self, key: tuple[LeaseId, str], done: asyncio.Task[None]) -> None:
        self._on_the_way.pop(key, None)
        error = None if done.cancelled() else done.exception()
        if isinstance(error, SkerryError):
            _log.warning("%s got no manifest: %s %s", key[0], error.what, error.why)
        elif error is not None:
            _log.error("%s got no manifest", key[0], exc_info=error)

    async def _hand_over(self, lease: Lease) -> None:
        try:
            self._allow(lease.id)
            async with self._slots:
                await self._tenant.send_manifest(lease)
        except Exception as error:
            self._take_note(lease.id, error)
            raise
        self._given.add(lease.id)
        self._waiting.pop(lease.id, None)

    def _take_note(self, lease: LeaseId, error: Exception) -> None:
        """Note why a manifest did not arrive, and when it is of use to try again."""
        before = self._waiting.get(lease)
        pause = RETRY_SECONDS[0] if before is None else before.pause_seconds * 2
        pause = min(pause, RETRY_SECONDS[1])
        if isinstance(error, SkerryError):
            why, again = f"{error.what} {error.why}".strip(), may_pass(error)
        else:
            why, again = repr(error), isinstance(error, OSError)
        moment = asyncio.get_running_loop().time() + pause if again else None
        self._given.discard(lease)
        self._waiting[lease] = _Trouble(why, moment, pause)

    async def _run(self) -> None:
        while True:
            seen = self._exchange.state.sequence
            pending = await self._look_after()
            await asyncio.sleep(PAUSE_SECONDS)
            await self._exchange.wait(seen, PAUSE_SECONDS if pending else QUIET_SECONDS)

    async def _look_after(self) -> bool:
        """Send what is due; return whether something is on its way, or will be due without news."""
        state, owner = self._exchange.state, self._tenant.address
        running = {each for each in list(state.running) if each.owner == owner}
        self._given &= running
        for gone in self._waiting.keys() - running:
            del self._waiting[gone]
        missing = [state.leases[each] for each in running - self._given if self._hopeful(each)]
        missing = await asyncio.to_thread(self._with_manifest, missing)
        for lease in missing:
            # It may have arrived while the disk was asked.
            if lease.id not in self._given and self._due(lease):
                self._send(lease)
        return bool(missing)

    def _with_manifest(self, leases: list[Lease]) -> list[Lease]:
        return [each for each in leases if self._tenant.has_manifest(each.id.deployment)]

    def _hopeful(self, lease: LeaseId) -> bool:
        """Tell whether it is of use to try, now or later."""
        found = self._waiting.get(lease)
        return found is None or found.again_at is not None

    def _due(self, lease: Lease) -> bool:
        found = self._waiting.get(lease.id)
        if found is not None:
            now = asyncio.get_running_loop().time()
            return found.again_at is not None and now >= found.again_at
        return self._exchange.now - lease.created_at >= GRACE_MILLISECONDS
