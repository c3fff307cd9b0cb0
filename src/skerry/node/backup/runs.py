"""Runs: a cut is made and brought to every store; what is old goes as retention says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from skerry.kernel.clock import NANOSECONDS
from skerry.kernel.errors import SkerryError
from skerry.node.backup import messages as m
from skerry.node.backup import permission
from skerry.node.backup.cut import Cut, cut
from skerry.node.backup.history import Measured, Saved, Tidied
from skerry.node.backup.index import Index, Scope
from skerry.node.backup.plan import Keep
from skerry.node.backup.record import Record
from skerry.node.backup.stores import Stores

if TYPE_CHECKING:
    from skerry.node.node import Node

_TIDY_SECONDS = 20 * 3600
_MEASURE_SECONDS = 3600
_log = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]
OnSaved = Callable[[str, Index], None]
"""Told which store a cut has reached, and what it holds."""


class Runs:
    """Backs up. One run at a time, which holds `turn`; others wait for it."""

    def __init__(
        self, node: Node, stores: Stores, record: Record, turn: asyncio.Lock, on_saved: OnSaved
    ) -> None:
        self._node = node
        self._stores = stores
        self._record = record
        self._turn = turn
        self._on_saved = on_saved
        self._asides: set[asyncio.Task[None]] = set()

    async def stop(self) -> None:
        """End what nobody waits for."""
        for task in self._asides:
            task.cancel()
        await self.settle()

    async def settle(self) -> None:
        """Wait for what nobody else waits for."""
        await asyncio.gather(*self._asides, return_exceptions=True)

    async def back_up(self, scope: Scope, progress: Progress, principal: str) -> list[m.SavedInfo]:
        """Bring a cut to every store; raise the first failure after trying all.

        Stores to which the same apps may go get the same cut.
        """
        async with self._turn:
            saved: list[m.SavedInfo] = []
            failures: list[SkerryError] = []
            groups: dict[tuple[str, ...], tuple[dict[str, str], list[str]]] = {}
            for name, store in self._stores.destinations.items():
                try:
                    refused = permission.refused(self._node, store, scope, principal)
                except SkerryError as error:
                    failures.append(await self._record.failed("backup", name, str(scope), error))
                    continue
                groups.setdefault(tuple(refused), (refused, []))[1].append(name)
            sealed = self._stores.sealed
            await sealed.forget()
            for refused, names in groups.values():
                left_out = {**sealed.left_out(scope), **refused}
                failures += await self._save_group(scope, left_out, names, saved, progress)
                for app in sealed.left_out(scope).keys() - refused.keys():
                    own = Scope(app)
                    failures += await self._save_group(own, {}, names, saved, progress)
            if failures:
                raise failures[0]
            return saved

    async def _save_group(
        self,
        scope: Scope,
        refused: dict[str, str],
        names: list[str],
        saved: list[m.SavedInfo],
        progress: Progress,
    ) -> list[SkerryError]:
        """Cut once and bring the cut to some stores; return what failed, on record."""
        failed = self._record.failed
        failures: list[SkerryError] = []
        try:
            async with cut(self._node, scope, progress, refused) as made:
                for name in names:
                    try:
                        saved.append(await self._save(name, made, progress))
                    except SkerryError as error:
                        failures.append(await failed("backup", name, str(scope), error))
        except SkerryError as error:
            return [await failed("backup", name, str(scope), error) for name in names]
        return failures

    async def _save(self, name: str, made: Cut, progress: Progress) -> m.SavedInfo:
        index = made.index
        repository = await self._stores.for_scope(name, index.scope)
        stored = await repository.save(made, progress)
        event = Saved(
            store=name,
            scope=index.scope,
            snapshot=stored.snapshot,
            cut=index.time,
            time=self._node.clock.now(),
            seconds=stored.seconds,
            bytes=stored.bytes,
            added=stored.added,
            files=stored.files,
        )
        await self._record.note(event)
        self._on_saved(name, index)
        last = self._record.history.measured.get(name)
        if last is None or event.time - last.time > _MEASURE_SECONDS * NANOSECONDS:
            self._later(self._measure(name))
        return m.SavedInfo(
            store=name,
            scope=index.scope,
            snapshot=stored.snapshot,
            time=index.time,
            files=stored.files,
            bytes=stored.bytes,
            added_bytes=stored.added,
            seconds=stored.seconds,
            left_out=index.left_out,
        )

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that nobody waits for, before the node stops."""
        task = asyncio.create_task(work)
        self._asides.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._asides.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("a store could not be measured: %s", error)

    async def _measure(self, name: str) -> None:
        size = await (await self._stores.repository(name)).size()
        await self._record.note(Measured(name, size, self._node.clock.now()))

    async def retain(self, name: str, scope: Scope, keep: Keep, changes: str) -> None:
        """Once a day, remove what is old; of changes, what is older than a span."""
        last = self._record.history.tidied.get((name, str(scope)))
        now = self._node.clock.now()
        if last is not None and now - last.time < _TIDY_SECONDS * NANOSECONDS:
            return
        async with self._turn:
            own = await self._stores.repository(name)
            removed = await own.forget(scope, keep, changes)
            sealed = self._stores.sealed
            for app in [scope.app] if scope.app else sealed.apps():
                for repository in await sealed.of_app(name, app):
                    removed += await repository.forget(Scope(app), keep)
            await self._record.note(Tidied(name, str(scope), removed, self._node.clock.now()))
            await self._measure(name)
