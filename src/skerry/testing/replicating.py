"""Following a resource without a second node: its changes go to a directory beside it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from skerry.federation.replicas.desk import Desk
from skerry.federation.replicas.messages import Batch, Position
from skerry.federation.replicas.stream import Follower, Stream
from skerry.kernel import events
from skerry.kernel.catalogue import Branch
from skerry.kernel.events import AppReplicated, Replication
from skerry.kernel.replica import Replica
from skerry.node.archives import give
from skerry.testing.lab import RESOURCE, Lab

STANDBY = "standby"


class Copy:
    """What a standby would have of a resource; it takes a write only while `reachable`."""

    def __init__(self, lab: Lab, app: str, directory: Path) -> None:
        self._lab = lab
        self._app = app
        self._directory = directory
        self._sequence = 0
        self.reachable = asyncio.Event()
        self.reachable.set()
        self._replica: Replica = lab.manifest.load(lab.manifest.replica)(directory)

    async def take(self, batch: Batch) -> Position:
        """Apply a batch, as a standby does."""
        await self.reachable.wait()
        await asyncio.to_thread(self._apply, batch)
        return Position(batch.epoch, self._sequence)

    def _apply(self, batch: Batch) -> None:
        for item in batch.items:
            self._replica.apply(item.change)
        self._replica.sync()
        self._sequence = batch.last

    async def take_over(self) -> None:
        """Let the app go on from the copy, as if this node had had nothing else."""
        lab, app = self._lab, self._app
        lab.node.supervisor.kill_all(app)
        await lab.asleep(app)
        await lab.node.catalogue_log.append(events.encode(AppReplicated(app, None)))
        branch = lab.node.catalogue.branch(app, "main")
        state = lab.node.workshop.state(branch, branch.resources[RESOURCE])
        await asyncio.to_thread(shutil.rmtree, state)
        await asyncio.to_thread(shutil.copytree, self._directory, state)
        await asyncio.to_thread(give, state, lab.node.workshop.uid(app))


@contextlib.asynccontextmanager
async def read_from_copy(lab: Lab, app: str) -> AsyncIterator[str]:
    """Let a copy of an app's state be read, as a standby does; yield the name of its reader."""
    node, held = lab.node, lab.node.catalogue.app(app)
    await node.supervisor.sleep(app, "main")
    branch, name = held.branches["main"], f"{app}-copied"
    created = events.BranchCreated(
        app=name,
        branch="main",
        directory=f"{branch.directory}-copied",
        parent=None,
        version=branch.version,
        resources=tuple(branch.resources.values()),
        time=0,
    )
    versions = (held.versions[branch.version],)
    arrived = events.AppArrived(name, held.index, "copied", versions, (created,), {}, {})
    followed_event = events.AppFollowed(name, "elsewhere", Replication((STANDBY,)), arrived)
    await node.catalogue_log.append(events.encode(followed_event))
    reader = f"{name}-ro"

    async def renew(read: Branch, resource: str) -> None:
        source, target = (node.volume.path(each.directory) for each in (branch, read))
        await asyncio.to_thread(shutil.copytree, source / resource, target / resource)
        await asyncio.to_thread(give, target / resource, node.workshop.uid(read.app))

    before, node.supervisor.renew = node.supervisor.renew, renew
    try:
        yield reader
    finally:
        node.supervisor.renew = before
        await node.supervisor.sleep(reader, "main")
        await node.catalogue_log.append(events.encode(events.AppUnfollowed(name)))


@contextlib.asynccontextmanager
async def followed(lab: Lab, app: str, top: Path) -> AsyncIterator[Copy]:
    """Let a copy in a directory follow an app's resource; every write waits for it."""
    node = lab.node
    branch = node.catalogue.branch(app, "main")
    record = branch.resources[RESOURCE]
    await node.supervisor.sleep(app, "main")
    replication = Replication((STANDBY,), "node", 1)
    await node.catalogue_log.append(events.encode(AppReplicated(app, replication)))
    state = node.workshop.state(branch, record)
    await asyncio.to_thread(shutil.copytree, state, top / "copy")
    copy = Copy(lab, app, top / "copy")
    stream = Stream(app, 1, "node", lambda: True, node.clock)
    follower = stream.followers[STANDBY] = Follower(STANDBY, stream, copy.take, node.clock)
    stream.required = {STANDBY}
    follower.begin(0, set())
    sending = asyncio.create_task(follower.run())
    desk = Desk("main", RESOURCE, lab.manifest.load(lab.manifest.replica)(state), stream)
    await desk.start(node.workshop.journal(record), node.workshop.uid(app))
    node.tenure.hold(app, lambda: True)
    try:
        yield copy
    finally:
        node.tenure.drop(app)
        desk.stop()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
