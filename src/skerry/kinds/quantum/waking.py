"""Wakes resources that have jobs to go on with: at a start, after a kill, or when one is due."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

from skerry.kernel.errors import SkerryError
from skerry.kinds.quantum import alarm

KIND = "quantum"
WAKE_SECONDS = 20.0
LOOKS_EVERYWHERE = 15
"""One look in so many is at every branch, also where nothing has run since the last."""
_log = logging.getLogger(__name__)


class Waker:
    """Looks at the alarms of a node's resources, seldom at those of branches that sleep."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self._waiting: set[tuple[str, str]] = set()

    async def run(self) -> None:
        """Look again and again."""
        looks = 0
        while True:
            await self.look(everywhere=looks % LOOKS_EVERYWHERE == 0)
            looks += 1
            await asyncio.sleep(WAKE_SECONDS)

    async def look(self, *, everywhere: bool) -> None:
        """Wake what is due; between looks everywhere only where something runs or waited."""
        places = {(cell.app, cell.branch) for cell in self._node.supervisor.awake()}
        places |= self._waiting
        self._waiting = set()
        for branch, record in self._resources(None if everywhere else places):
            if await self._wake(branch, record):
                self._waiting.add((branch.app, branch.name))

    def _resources(self, places: Set[tuple[str, str]] | None) -> Iterator[tuple[Any, Any]]:
        """Yield the resources of this kind, of some branches or of all.

        Apps that never declared one are not looked into.
        """
        catalogue = self._node.catalogue
        for app in list(catalogue.apps.values()):
            if any(each.kind == KIND for v in app.versions.values() for each in v.spec.resources):
                chosen = app.branches if places is None else {b for a, b in places if a == app.name}
                for branch in [app.branches[name] for name in chosen if name in app.branches]:
                    for record in catalogue.declared(branch):
                        if record.kind == KIND:
                            yield branch, record

    async def _wake(self, branch: Any, record: Any) -> bool:
        """Wake a resource that has something to do now; tell whether it has now or later."""
        state: Path = self._node.workshop.state(branch, record)
        at = await asyncio.to_thread(alarm.due, state)
        if at is None or at > self._node.clock.now():
            return at is not None
        if self._node.supervisor.running(branch.app, branch.name, record.name) is None:
            try:
                await self._node.supervisor.ready(branch.app, branch.name, record.name)
            except SkerryError as error:
                _log.warning("%s/%s/%s: %s", branch.app, branch.name, record.name, error.what)
        return True
