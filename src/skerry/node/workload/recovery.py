"""After a restart of the node, or the loss of a keeper: what lives is taken over, the rest is
cleaned up, and what is wanted and paid for is started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from skerry.kernel.clock import Clock
from skerry.kernel.errors import SkerryError
from skerry.node.sandbox.cgroup import Cgroups
from skerry.node.workload.order import Process
from skerry.node.workload.record import Record
from skerry.node.workload.registry import Registry
from skerry.node.workload.spec import Exit, State

LOST_SECONDS = 2.0
RECOVERIES_MAX = 4
_log = logging.getLogger(__name__)


class Recovery:
    """Finds workloads again. `launch` starts a keeper, `tell` passes a change on."""

    def __init__(
        self,
        known: Registry,
        cgroups: Cgroups,
        clock: Clock,
        launch: Callable[[Record], Awaitable[None]],
        tell: Callable[[Record], None],
    ) -> None:
        self._known = known
        self._cgroups = cgroups
        self._clock = clock
        self._launch = launch
        self._tell = tell
        self._recovering = asyncio.Semaphore(RECOVERIES_MAX)
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    async def find_all(self) -> None:
        """Take over the keepers that live, and begin to start anew what should run."""
        records = list(self._known)
        found = await asyncio.gather(*(self._adopt(each) for each in records))
        for record, lives in zip(records, found, strict=True):
            if not lives:
                self._in_background(self._recover(record))

    async def stop(self) -> None:
        """Start nothing any more."""
        self._closing = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def changed(self, record: Record) -> None:
        """Take note of a change; look after a workload whose keeper has gone without a word."""
        self._tell(record)
        if record.connected or self._closing or record.kept.state == State.ENDED:
            return
        if record in self._known and record.was_running:
            self._in_background(self._after_loss(record))

    async def _adopt(self, record: Record) -> bool:
        """Take over a keeper that lives; false if there is none."""
        try:
            return await record.adopt(self.changed)
        except (SkerryError, OSError):
            _log.exception("the keeper of %s does not answer", record.name)
            return False

    async def _recover(self, record: Record) -> None:
        """Clean up after a keeper that is gone, and start again what is wanted."""
        try:
            async with self._recovering, record.changing:
                if record in self._known and not record.connected:
                    await self._clean_and_revive(record)
        except (SkerryError, OSError):
            _log.exception("the workload %s could not be found again", record.name)

    async def _clean_and_revive(self, record: Record) -> None:
        await asyncio.to_thread(self.clean_up, record)
        record.kept = await asyncio.to_thread(record.folder.state)
        if record.kept.state == State.ENDED:
            return
        if not record.wish.run:
            await self._note_end(record, Exit("stopped", at=self._clock.now()))
            return
        await self._revive(record)

    async def _revive(self, record: Record) -> None:
        """Start a workload whose keeper was lost, unless its time is over."""
        expires = record.wish.expires
        if expires is not None and self._clock.now() >= expires:
            await self._note_end(record, Exit("expired", at=self._clock.now()))
            return
        lost = Exit("lost", text="Its keeper was ended from outside.", at=self._clock.now())
        await asyncio.to_thread(record.note_lost, lost)
        await self._launch(record)

    async def _note_end(self, record: Record, ended: Exit) -> None:
        await asyncio.to_thread(record.note_end, ended)
        self._tell(record)

    def clean_up(self, record: Record) -> None:
        """End what a keeper that was killed left behind. Blocks."""
        first = record.folder.state().first
        if first is not None and Process.of(first.pid) == first:
            with contextlib.suppress(ProcessLookupError):
                os.kill(first.pid, 9)
        if self._cgroups.exists(record.order.group):
            group = self._cgroups.create(record.order.group)
            group.kill()
            group.remove()

    async def _after_loss(self, record: Record) -> None:
        await asyncio.sleep(LOST_SECONDS)
        if record in self._known and not record.connected:
            _log.warning("the keeper of the workload %s was lost", record.name)
            if not await self._adopt(record):
                await self._recover(record)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
