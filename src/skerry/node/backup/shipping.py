"""Shipping: what changed since the last backup goes to the stores every few minutes.

So a machine that is lost loses `wal_every_seconds` of work at most, not the time between backups.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from skerry import __version__
from skerry.kernel.catalogue import Branch
from skerry.kernel.errors import CONFLICT, NOT_FOUND, SkerryError
from skerry.kernel.names import MAIN
from skerry.node.backup import changes as since
from skerry.node.backup import permission
from skerry.node.backup.changes import ChangedBranch, Changes
from skerry.node.backup.gather import Gatherer
from skerry.node.backup.history import Shipped
from skerry.node.backup.index import Index, Scope, parse_scope
from skerry.node.backup.record import Record
from skerry.node.backup.stores import Stores

if TYPE_CHECKING:
    from skerry.node.node import Node

LOOK_SECONDS = 1.0
SCAN_SECONDS = 10.0
"""How long no branch is looked at, at most, while none is due: there may be very many, asleep."""
IDLE_SECONDS = 10.0
"""How often it is looked whether there is a store by now, while there is none."""
_log = logging.getLogger(__name__)

Every = Callable[[str], int]
"""Tells how many seconds an app's changes may wait; 0 for ever."""


class Shipping:
    """Looks at every branch that is awake, or was at the last look, and sends what changed."""

    def __init__(self, node: Node, stores: Stores, record: Record, every: Every) -> None:
        self._node = node
        self._stores = stores
        self._record = record
        self._every = every
        self._gatherer = Gatherer(node)
        self._bases: dict[str, dict[str, int]] = {}
        self._gathered: dict[str, ChangedBranch] = {}
        self._pending: dict[str, set[str]] = {}
        self._looked: dict[str, int] = {}
        self._tried: dict[str, float] = {}
        self._quiet: set[str] = set()
        self._failing: set[str] = set()
        self._scan_at = 0.0
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look."""
        await asyncio.to_thread(self._gatherer.clear)
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """End; what is on its way is sent again after the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def saved(self, store: str, index: Index) -> None:
        """Go on from a backup that has reached a store."""
        scope = parse_scope(index.scope)
        self._scan_at = 0.0
        if scope.resource or store not in self._bases:
            return
        for each in index.branches:
            self._bases[store][each.directory] = each.began
            self._quiet.discard(each.directory)

    def forget(self, store: str) -> None:
        """Look anew at what a store holds: it may be another one now."""
        self._bases.pop(store, None)

    def safe(self, store: str) -> int | None:
        """Return the moment before which nothing is missing in a store, if that is known.

        Previews that no backup holds yet, and apps that may not go there, are not counted.
        """
        bases, pending = self._bases.get(store), self._pending.get(store, set())
        if bases is None or store in self._failing:
            return None
        destination = self._stores.destinations[store]
        moments = []
        for branch in self._node.catalogue.branches():
            directory, looked = branch.directory, self._looked.get(branch.directory)
            if directory not in bases and branch.name != MAIN:
                continue
            found = self._gathered.get(directory)
            ahead = found is not None and (found.left_out or bases.get(directory) != found.base)
            if looked is None or directory not in bases or directory in pending or ahead:
                if permission.may_go(self._node, destination, branch.app):
                    return None
                continue
            moments.append(looked)
        return min(moments, default=None)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS if self._stores.destinations else IDLE_SECONDS)
            try:
                await self.ship()
            except SkerryError as error:
                _log.warning("changes could not be sent: %s", error.what)
            except Exception:
                _log.exception("changes could not be sent")

    async def ship(self, at_once: str | None = None, store: str = "") -> None:
        """Send what changed of every branch that is due, and at once of all of the named app.

        To one store, or to all. One that fails is on record, once, and is tried again when the next
        branch is due.
        """
        async with self._turn:
            early = self._node.clock.monotonic() < self._scan_at
            if not self._stores.destinations or (early and at_once is None):
                return
            due = list(self._due(at_once))
            if not due:
                return
            for name in self._stores.destinations:
                await self._guarded(name, self._learn(name))
            try:
                await self._look(due, at_once)
            except SkerryError as error:
                for name in self._stores.destinations:
                    await self._fails(name, error)
                return
            for name in self._stores.destinations:
                if self._pending.get(name) and store in ("", name):
                    await self._guarded(name, self._send(name))

    def _due(self, at_once: str | None) -> Iterable[Branch]:
        """Yield the branches that are to be looked at now.

        An app whose data key is held outside the node waits for its own backups: what is gathered
        here would outlive the key.
        """
        now = self._node.clock.monotonic()
        soonest = now + SCAN_SECONDS
        every: dict[str, int] = {}
        for branch in self._node.catalogue.branches():
            if branch.app not in every:
                held = self._node.keyring.is_external(branch.app)
                every[branch.app] = -1 if held else self._every(branch.app)
            seconds = every[branch.app]
            if seconds < 0:
                continue
            last = self._tried.get(branch.directory)
            waited = seconds and (last is None or now - last >= seconds)
            if waited or branch.app == at_once:
                last = self._tried[branch.directory] = now
                yield branch
            if seconds:
                soonest = min(soonest, (last or now) + seconds)
        self._scan_at = soonest

    async def _learn(self, store: str) -> None:
        """Find out from which backups in a store changes may go on."""
        if store in self._bases:
            return
        repository = await self._stores.repository(store)
        newest = {}
        for each in await repository.snapshots():
            if not parse_scope(each.scope).resource:
                newest[each.scope] = each
        found: dict[str, int] = {}
        for each in sorted(newest.values(), key=lambda snapshot: snapshot.time):
            for branch in (await repository.index(each.id)).branches:
                found[branch.directory] = branch.began
        self._bases[store] = found

    async def _look(self, due: list[Branch], at_once: str | None) -> None:
        """Gather what changed of some branches."""
        await self._drop_gone()
        awake = {(cell.app, cell.branch) for cell in self._node.supervisor.awake()}
        for branch in due:
            directory = branch.directory
            base = max((e[directory] for e in self._bases.values() if directory in e), default=None)
            if base is None:
                continue
            began = self._node.clock.now()
            is_awake = (branch.app, branch.name) in awake
            asked = branch.app == at_once
            if is_awake or asked or directory not in self._quiet:
                try:
                    found = await self._gatherer.gather(branch, base)
                except SkerryError as error:
                    if error.problem in (NOT_FOUND, CONFLICT):
                        # It was deleted or replaced meanwhile; the next look sees what is there.
                        continue
                    raise
                self._gathered[directory] = found.branch
                if found.news or (asked and found.branch.resources):
                    for name in self._stores.destinations:
                        self._pending.setdefault(name, set()).add(directory)
                at_rest = found.settled and not is_awake
                (self._quiet.add if at_rest else self._quiet.discard)(directory)
            self._looked[directory] = began

    async def _drop_gone(self) -> None:
        """Forget the directories that no branch has any more."""
        living = {branch.directory for branch in self._node.catalogue.branches()}
        for directory in self._gatherer.known() - living:
            await asyncio.to_thread(self._gatherer.drop, directory)
        for known in (self._gathered, self._looked, self._tried):
            for directory in set(known) - living:
                del known[directory]
        self._quiet &= living
        self._pending = {store: each & living for store, each in self._pending.items()}

    async def _send(self, store: str) -> None:
        """Bring all that is gathered, and may go there, to a store."""
        changes = self._allowed(store)
        if changes.branches:
            place = self._gatherer.folder / since.FILE
            await asyncio.to_thread(place.write_bytes, since.encode(changes))
            repository = await self._stores.repository(store)
            stored = await repository.ship(self._node.home.root, changes)
            event = Shipped(
                store=store,
                snapshot=stored.snapshot,
                began=changes.began,
                time=self._node.clock.now(),
                seconds=stored.seconds,
                added=stored.added,
            )
            await self._record.note(event)
        self._pending[store].clear()

    def _allowed(self, store: str) -> Changes:
        """Return what goes on from a backup in a store, of the apps that may go there."""
        bases = self._bases.get(store, {})
        found = [
            each
            for each in self._gathered.values()
            if each.resources and bases.get(each.directory) == each.base
        ]
        destination = self._stores.destinations[store]
        allowed = {}
        for app in {each.app for each in found}:
            try:
                allowed[app] = not permission.refused(self._node, destination, Scope(app), "node")
            except SkerryError as error:
                _log.info("changes of %s stay here: %s", app, error.what)
                allowed[app] = False
        branches = tuple(each for each in found if allowed[each.app])
        return Changes(since.FORMAT, self._node.name, __version__, branches)

    async def _guarded(self, store: str, work: Awaitable[None]) -> None:
        """Do something with a store; a failure is on record when it begins."""
        try:
            await work
        except SkerryError as error:
            await self._fails(store, error)
        else:
            self._failing.discard(store)

    async def _fails(self, store: str, error: SkerryError) -> None:
        if store not in self._failing:
            self._failing.add(store)
            await self._record.failed("changes", store, "node", error)
        _log.warning("changes do not reach %s: %s", store, error.what)
