"""Reading from copies: what a standby serves of an app that another node writes.

Each resource of a reader (`kernel.catalogue`) has a folder of its own beside the copy. An engine
that can go on from what comes is fed (`FedReplica`); every other one is given a fresh copy, made
while nothing is applied: when it wakes, and again when what it serves is out of date. Files share
their blocks with the copy where the volume can, and a copy is made less often the longer it takes.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from skerry.federation.replicas.following import Copy, Following
from skerry.federation.replicas.messages import Position
from skerry.kernel.catalogue import Branch
from skerry.kernel.clock import NANOSECONDS
from skerry.kernel.errors import BUSY, SkerryError
from skerry.kernel.manifest import Manifest
from skerry.kernel.replica import FedReplica, Replica
from skerry.node.archives import give
from skerry.node.cell.spec import AS_OF
from skerry.node.cells import Cell, Running
from skerry.node.node import Node
from skerry.node.volume import encryption
from skerry.node.volume.copying import copy_folder
from skerry.node.volume.tree import Immutable
from skerry.node.volume.volume import remove_tree

LOOK_SECONDS = 0.25
ASK_SECONDS = 1.0
"""How often the node that writes is asked how far it is, while somebody reads."""
CALM_SECONDS = 60.0
"""How long nobody has read before nobody is looked for: longer than any process takes to start."""
RENEW_SECONDS = 2.0
"""How old what is read may be before it is renewed, if something has changed."""
RENEW_SHARE = 10.0
"""A renewal that took long is not repeated before so many times that."""

_log = logging.getLogger("skerry.federation")

AskHead = Callable[[str], Awaitable[Position]]
"""Asks the node that serves an app how far its stream is."""


@dataclass(slots=True)
class _Served:
    """What a resource is read from: up to which change, as of when, and when it may be renewed."""

    sequence: int
    as_of: int
    next_at: float
    replica: FedReplica | None = None


class _Head(NamedTuple):
    """How far the node was that writes, and when it was asked: monotonic, and since 1970."""

    asked: float
    asked_at: int
    head: Position | None


class Reading:
    """Renews what readers serve, and says how old it is."""

    def __init__(self, node: Node, following: Following, ask_head: AskHead) -> None:
        self._node = node
        self._following = following
        self._ask_head = ask_head
        self._served: dict[tuple[str, str], _Served] = {}
        self._heads: dict[str, _Head] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._watching: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()
        self._read_at = 0.0

    def start(self) -> None:
        """Let readers wake."""
        self._node.supervisor.renew = self.renew
        self._watching = asyncio.create_task(self._watch_for_ever())

    async def stop(self) -> None:
        """Renew nothing any more."""
        tasks = [*([self._watching] if self._watching else []), *self._leaving]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def age_of(self, app: str) -> float | None:
        """Return how many seconds ago the copy of an app was known to lack nothing."""
        copy = self._following.copies.get(app)
        if copy is None or not copy.complete_at:
            return None
        return max(0.0, (self._node.clock.now() - copy.complete_at) / NANOSECONDS)

    async def renew(self, branch: Branch, resource: str) -> None:
        """See `Supervisor.renew`. Raises BUSY while the copy is not there."""
        self._read_at = self._node.clock.monotonic()
        self._wanted.set()
        copy = self._following.copies.get(branch.origin)
        source = self._source(branch, resource)
        if copy is None or source is None:
            raise BUSY(f"The copy of {branch.origin} is not complete.", hint="skerry nodes")
        await self._ask(branch.origin, copy)
        clock = self._node.clock
        began = clock.monotonic()
        async with copy.lock:
            if copy.closed:
                raise BUSY(f"{branch.origin} is about to be served by another node.")
            replica = await asyncio.to_thread(self._bring, branch, resource, source)
            sequence = copy.sequence
        took = clock.monotonic() - began
        wait = max(RENEW_SECONDS, RENEW_SHARE * took)
        found = _Served(sequence, copy.complete_at, clock.monotonic() + wait, replica)
        self._served[branch.directory, resource] = found
        await asyncio.to_thread(self._tell_age, branch, resource, found)

    def _source(self, branch: Branch, resource: str) -> Path | None:
        """Return where the copy of a resource lies."""
        followed = self._node.catalogue.standbys.get(branch.origin)
        for each in followed.arrived.branches if followed else ():
            if each.branch == branch.name:
                return self._node.volume.path(each.directory) / resource
        return None

    def _bring(self, branch: Branch, resource: str, source: Path) -> FedReplica | None:
        """Bring a reader's folder up to the copy: fed if it can be, or made anew."""
        node = self._node
        manifest = node.manifests[branch.resources[resource].kind]
        top = node.volume.path(branch.directory)
        if not top.exists():
            node.volume.create(branch.directory, encryption.protection_of(source.parent))
        target = top / resource
        shape: type[Replica] = manifest.load(manifest.replica)
        fed = shape if issubclass(shape, FedReplica) else None
        if fed is None or not target.exists() or not fed(target).can_be_fed(source):
            self._copy(manifest, source, target)
            give(target, node.workshop.uid(branch.app))
        node.workshop.make_directories(branch, branch.resources[resource])
        if fed is None:
            return None
        replica = fed(target)
        self._feed(replica, source, branch)
        return replica

    def _copy(self, manifest: Manifest, source: Path, target: Path) -> None:
        """Put a fresh copy in the place of the old one; what has that open still reads it."""
        fresh = target.with_name(f".{target.name}.new")
        old = target.with_name(f".{target.name}.old")
        for left in (fresh, old):
            if left.exists():
                remove_tree(left)
        if source.is_dir():
            copy_folder(self._node.volume, source, fresh, _immutable(manifest))
        else:
            fresh.mkdir(mode=0o700)
        if target.exists():
            target.rename(old)
        fresh.rename(target)
        if old.exists():
            remove_tree(old)

    def _feed(self, replica: FedReplica, source: Path, branch: Branch) -> None:
        owner = self._node.workshop.uid(branch.app)
        for path in replica.feed(source):
            give(path.parent, owner, deep=False)
            give(path, owner, deep=False)

    # ---- while somebody reads -----------------------------------------------------------------

    async def _watch_for_ever(self) -> None:
        """Look after readers that are awake; while there is none, wait until one wakes."""
        clock = self._node.clock
        while True:
            await self._wanted.wait()
            await asyncio.sleep(LOOK_SECONDS)
            for cell in self._node.supervisor.awake():
                branch = self._reader(cell)
                if branch is not None:
                    self._read_at = clock.monotonic()
                copy = self._following.copies.get(branch.origin) if branch else None
                if branch is None or copy is None or copy.closed:
                    continue
                try:
                    await self._look_after(cell, branch, copy)
                except (SkerryError, OSError):
                    _log.exception("what is read of %s was not renewed", branch.origin)
            if clock.monotonic() - self._read_at >= CALM_SECONDS:
                self._wanted.clear()

    def _reader(self, cell: Cell) -> Branch | None:
        catalogue = self._node.catalogue
        app = catalogue.readers.get(cell.app) if cell.app not in catalogue.apps else None
        return app.branches.get(cell.branch) if app else None

    async def _look_after(self, cell: Cell, branch: Branch, copy: Copy) -> None:
        """Feed what can be fed, and let those end whose copy is out of date."""
        await self._ask(branch.origin, copy)
        now = self._node.clock.monotonic()
        for running in list(cell.processes.values()):
            served = self._served.get((branch.directory, running.key))
            source = self._source(branch, running.key)
            if served is None or source is None:
                # The whole branch was copied anew, into another folder.
                self._let_end(cell, running)
                continue
            changed = copy.changed.get((branch.name, running.key), -1)
            if served.replica is not None and changed > served.sequence:
                async with copy.lock:
                    await asyncio.to_thread(self._feed, served.replica, source, branch)
                    served.sequence = copy.sequence
            if changed <= served.sequence:
                served.as_of = copy.complete_at
            elif now >= served.next_at:
                self._let_end(cell, running)
            await asyncio.to_thread(self._tell_age, branch, running.key, served)

    def _let_end(self, cell: Cell, running: Running) -> None:
        """Give a process no new work; whoever comes next wakes one over a fresh copy."""
        supervisor = self._node.supervisor
        supervisor.leave(cell, running)
        task = asyncio.create_task(supervisor.stop(cell, running))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _ask(self, app: str, copy: Copy) -> None:
        """Note as of when the copy is complete: when the other node was as far as this one is."""
        clock = self._node.clock
        known = self._heads.get(app)
        if known is None or clock.monotonic() - known.asked >= ASK_SECONDS:
            asked, asked_at = clock.monotonic(), clock.now()
            try:
                head = await self._ask_head(app)
            except SkerryError as error:
                _log.info("how far %s is where it is served cannot be known: %s", app, error)
                head = None
            known = self._heads[app] = _Head(asked, asked_at, head)
        head = known.head
        if head is not None and head.epoch == copy.epoch and copy.sequence >= head.sequence:
            copy.complete_at = known.asked_at

    def _tell_age(self, branch: Branch, resource: str, served: _Served) -> None:
        """Write down for the resource's process as of when it answers."""
        run = self._node.workshop.run(branch.resources[resource])
        if not served.as_of or not run.is_dir():
            return
        moment = datetime.datetime.fromtimestamp(served.as_of / NANOSECONDS, datetime.UTC)
        fresh = run / f"{AS_OF}.new"
        fresh.write_text(moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"))
        fresh.chmod(0o644)
        fresh.rename(run / AS_OF)


def _immutable(manifest: Manifest) -> Immutable:
    """Tell which folders of a resource hold files that never change."""
    names = {PurePosixPath(each) for each in manifest.immutable}
    return names.__contains__
