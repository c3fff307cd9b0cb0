"""The timetable: what is due in each minute, one after the other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from skerry.kernel.errors import SkerryError
from skerry.node.backup.index import Scope
from skerry.node.backup.plan import BackupConfig, is_due
from skerry.node.minutes import Minutes

if TYPE_CHECKING:
    from skerry.node.node import Node

QUEUE_MAX = 1000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """A backup of a scope, or a drill of it."""

    scope: Scope
    plan: BackupConfig
    drill: bool


Plans = Callable[[], Iterable[tuple[Scope, BackupConfig]]]
Perform = Callable[[Job], Awaitable[None]]


class Timetable:
    """Calls jobs as they are due; a job that still waits is not doubled.

    Minutes that passed while the machine slept are left out: the next backup is due soon enough.
    """

    def __init__(self, node: Node, plans: Plans, perform: Perform) -> None:
        self._minutes = Minutes(node.clock)
        self._plans = plans
        self._perform = perform
        self._waiting: dict[tuple[Scope, bool], Job] = {}
        self._more = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to watch the clock."""
        self._tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._work())]

    async def stop(self) -> None:
        """End the watch and what is being carried out."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            await self._minutes.wait()
            self.tick()

    def tick(self) -> None:
        """Queue what is due in this minute, unless the minute has been looked at."""
        minute = self._minutes.begun()
        if minute is None:
            return
        for job in self.due(minute):
            if len(self._waiting) < QUEUE_MAX:
                self._waiting.setdefault((job.scope, job.drill), job)
        self._more.set()

    def due(self, minute: datetime) -> list[Job]:
        """Return what is due in a minute, backups before drills."""
        plans = list(self._plans())
        found = [Job(scope, plan, False) for scope, plan in plans if is_due(plan.schedule, minute)]
        return found + [
            Job(scope, plan, True) for scope, plan in plans if is_due(plan.drill, minute)
        ]

    async def _work(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            while self._waiting:
                key = next(iter(self._waiting))
                job = self._waiting[key]
                try:
                    await self._perform(job)
                except SkerryError as error:
                    _log.warning("%s of %s: %s", _noun(job), job.scope, error.what)
                except Exception:
                    _log.exception("%s of %s failed", _noun(job), job.scope)
                finally:
                    self._waiting.pop(key, None)


def _noun(job: Job) -> str:
    return "drill" if job.drill else "backup"
