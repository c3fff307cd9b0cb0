"""The scheduler: it calls the words that kinds declare as due, on main, once a minute."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from skerry.kernel import cron
from skerry.kernel.catalogue import Branch, Catalogue
from skerry.kernel.clock import Clock
from skerry.kernel.errors import SkerryError
from skerry.kernel.manifest import Manifest, Schedule
from skerry.kernel.names import MAIN
from skerry.node.minutes import Minutes
from skerry.node.supervisor import Supervisor
from skerry.node.workshop import Workshop

MINUTE = timedelta(minutes=1)
WORD_SECONDS_MAX = 3600.0
RUNS_MAX = 100

_log = logging.getLogger(__name__)


class Scheduler:
    """Runs what is due."""

    def __init__(
        self,
        catalogue: Catalogue,
        manifests: Mapping[str, Manifest],
        supervisor: Supervisor,
        workshop: Workshop,
        clock: Clock,
    ) -> None:
        self._catalogue = catalogue
        self._manifests = manifests
        self._supervisor = supervisor
        self._workshop = workshop
        self.minutes = Minutes(clock)
        self._runs: dict[tuple[str, str, str], asyncio.Task[None]] = {}

    async def run_for_ever(self) -> None:
        """Look at each minute as it begins."""
        while True:
            await self.minutes.wait()
            self.tick()

    def tick(self) -> None:
        """Start what is due in this minute, unless the minute has been looked at."""
        minute = self.minutes.begun()
        if minute is None:
            return
        try:
            for branch, name, schedule in self.due(minute):
                self._start(branch, name, schedule, minute)
        except Exception:
            _log.exception("what is due at %s could not be found out", minute)

    def due(self, minute: datetime) -> Iterator[tuple[Branch, str, Schedule]]:
        """Yield what is due in a minute: the branch, the resource and the schedule."""
        for app in self._catalogue.apps.values():
            branch = app.branches.get(MAIN)
            if branch is None:
                continue
            for record in self._catalogue.declared(branch):
                manifest = self._manifests[record.kind]
                if not manifest.schedules:
                    continue
                config = self._workshop.resource(branch, record.name).config
                for schedule in manifest.load(manifest.schedules)(config):
                    if cron.parse(schedule.expression).next_time(minute - MINUTE) == minute:
                        yield branch, record.name, schedule

    def _start(self, branch: Branch, name: str, schedule: Schedule, minute: datetime) -> None:
        key = (branch.app, name, schedule.expression)
        if key in self._runs or len(self._runs) >= RUNS_MAX:
            _log.warning("%s of %s is left out: a run is under way", schedule.expression, key[:2])
            return
        task = asyncio.ensure_future(self._call(branch, name, schedule, minute))
        self._runs[key] = task
        task.add_done_callback(lambda _: self._runs.pop(key, None))

    async def _call(self, branch: Branch, name: str, schedule: Schedule, minute: datetime) -> None:
        params = {**schedule.params, "time": minute.isoformat()}
        try:
            running = await self._supervisor.wake(branch.app, branch.name, name)
            call = {"resource": name, "word": schedule.word, "params": params}
            await running.channel.call("word", call, seconds=WORD_SECONDS_MAX)
        except SkerryError as error:
            _log.warning("%s/%s: cron %s: %s", branch.app, name, schedule.expression, error.what)
