"""Serving an app that has standbys: by the lease, and with every standby brought along.

    acquire ── serve (renew, bring standbys, tell them of changes) ── lease lost ── acquire …
       │
       └── another node has taken the app over: see `fencing`

Nothing is served and nothing acknowledged while the lease is not held.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from skerry.federation.calls import Calls
from skerry.federation.messages import Accepted
from skerry.federation.peers import Peers
from skerry.federation.placing import Move, Placing
from skerry.federation.replicas import messages as r
from skerry.federation.replicas.desk import Desk
from skerry.federation.replicas.stream import Follower, Stream
from skerry.kernel import events
from skerry.kernel.catalogue import App, Branch
from skerry.kernel.clock import Clock
from skerry.kernel.errors import CONFLICT, FENCED, NOT_FOUND, TIMED_OUT, SkerryError
from skerry.kernel.events import Replication
from skerry.kernel.lease import Lease, Leases
from skerry.kernel.policy import Request, enforce
from skerry.node.audit.receipts import RECEIPT
from skerry.node.node import Node

LEASE_SECONDS = 4.0
RENEWALS = 4
"""How often a lease is renewed within its time."""
RETRY_SECONDS = 0.5
TICK_SECONDS = 0.25
DROP_SECONDS = 3.0
"""A standby that is so far behind is not waited for, if there is another one."""
BRING_SECONDS = 2.0
BATCH_SECONDS = 10.0
ASK_SECONDS = 1.0
SETTLE_SECONDS = 20.0
"""How long a deploy waits for the standbys, where it has to survive this node."""
SETTLE_LOOK_SECONDS = 0.05

_log = logging.getLogger("skerry.federation")


@dataclass(frozen=True, slots=True)
class Tools:
    """What a node brings to hold an app; `fenced` is called when another node has it."""

    node: Node
    own_id: str
    calls: Calls
    peers: Peers
    placing: Placing
    leases: Leases
    clock: Clock
    lease_seconds: float
    announce: Callable[[str, int], Awaitable[None]]


class Holding:
    """An app that this node serves, or is about to serve."""

    def __init__(
        self,
        app: str,
        tools: Tools,
        inheritance: r.Inheritance | None = None,
        lease: Lease | None = None,
    ) -> None:
        self.app = app
        self._first = lease
        self._inheritance = inheritance
        self._tools = tools
        self._node = tools.node
        self._lease: Lease | None = None
        self._final: Lease | None = None
        self._desks: dict[str, Desk] = {}
        self._listed: set[str] = set()
        self._joining: set[str] = set()
        self._next_try: dict[str, float] = {}
        self.stream = Stream(app, 0, "", self.may_serve, tools.node.clock)
        self.stream.sequence = inheritance.sequence if inheritance else 0
        self._began = self.stream.sequence
        self.serving = asyncio.Event()
        self.fenced: Lease | None = None
        self.keeps_lease = False
        self.is_ending = False

    def listed(self) -> set[str]:
        """Return the standbys that may take over."""
        streaming = {each.node for each in self.stream.followers.values() if each.streaming}
        return self._listed & streaming

    def _current(self) -> Replication:
        """Return how the app is replicated; raise CONFLICT if it is not any more."""
        found = self.replication
        if found is None:
            raise CONFLICT(f"{self.app} has no standbys any more.")
        return found

    @property
    def replication(self) -> Replication | None:
        """Say how the app is replicated; None if it is not any more."""
        found = self._node.catalogue.apps.get(self.app)
        return found.replication if found else None

    def may_serve(self) -> bool:
        """Tell whether the lease is held at this moment."""
        lease = self._lease
        return lease is not None and self._tools.clock.monotonic() * 1e9 < lease.expires_ns

    async def run(self) -> None:
        """Serve whenever the lease can be had; return when another node has it, or on no more."""
        while self.replication is not None and self.fenced is None:
            lease = await self._acquire()
            if lease is None:
                continue
            self._lease = lease
            try:
                await self._serve(lease)
            finally:
                self._stop_serving()

    async def _acquire(self) -> Lease | None:
        """Try once to take the lease; note who has it if it is another node."""
        leases, own = self._tools.leases, self._tools.own_id
        first, self._first = self._first, None
        if first is not None:
            self._listed = set(first.replicas)
            return first
        try:
            current = await leases.current(self.app)
            if current is not None and current.holder != own:
                self.fenced = current
                return None
            epoch = self._current().epoch
            if current is None and epoch:
                await self._check_nobody_knows_more(epoch)
            listed = current.replicas if current else ()
            found = await leases.acquire(
                self.app, own, self._tools.lease_seconds, tuple(listed), after=epoch
            )
        except SkerryError as error:
            _log.warning("the lease of %s cannot be had yet: %s", self.app, error)
            await asyncio.sleep(RETRY_SECONDS)
            return None
        self._listed = set(listed)
        return found

    async def _check_nobody_knows_more(self, epoch: int) -> None:
        """Raise CONFLICT unless most nodes of the app say that nobody served it after this one.

        Leases that were there are gone, so what their store says does not settle who is to serve.
        """
        members = self._current().members
        found = await asyncio.gather(*(self._ask_epoch(each) for each in members))
        known = [each for each in found if each is not None]
        if max(known, default=0) > epoch or 2 * len(known) <= len(members):
            raise CONFLICT(
                f"The leases of {self.app} were lost, and another node may have served it since.",
                why=f"{len(known)} of {len(members)} nodes answer.",
            )

    async def _ask_epoch(self, member: str) -> int | None:
        tools = self._tools
        if member == tools.own_id:
            return self._current().epoch
        try:
            peer = tools.peers.find(member)
            asked = r.OfApp(self.app)
            found = await tools.calls.ask(
                peer, "/replica/epoch", asked, r.Position, seconds=ASK_SECONDS
            )
        except SkerryError as error:
            _log.info("what %s knows of %s cannot be asked: %s", member, self.app, error)
            return None
        return found.epoch

    async def release(self) -> None:
        """Give the lease back, so that a standby need not wait for its end.

        Of an app that has no standbys any more, or is gone, nobody may take it.
        """
        lease, self._final = self._final, None
        if lease is None or self.keeps_lease:
            return
        leases = self._tools.leases
        try:
            if self.is_ending or self.replication is None:
                lease = await leases.renew(lease, self._tools.lease_seconds, ())
            await leases.release(lease)
        except SkerryError as error:
            _log.info("the lease of %s ends by itself: %s", self.app, error)

    async def _serve(self, lease: Lease) -> None:
        replication = self.replication
        if replication is None:
            return
        replication = msgspec.structs.replace(replication, epoch=lease.epoch)
        event = events.AppReplicated(self.app, replication)
        await self._node.catalogue_log.append(events.encode(event))
        stream = self.stream
        stream.epoch, stream.survive = lease.epoch, replication.survive
        self._note_followers(replication)
        stream.required = set(self._listed) & set(stream.followers)
        if self._inheritance is not None:
            await self._resume_all(self._inheritance)
        await self._open_desks()
        self._node.tenure.hold(self.app, self.may_serve, self.settle)
        self.serving.set()
        _log.info("%s is served here, epoch %d", self.app, lease.epoch)
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(self._send_to(e)) for e in stream.followers.values()]
            running.append(tasks.create_task(self._bring_for_ever()))
            running.append(tasks.create_task(self._announce(lease.epoch)))
            try:
                await self._keep()
            finally:
                for each in running:
                    each.cancel()

    async def _send_to(self, follower: Follower) -> None:
        """Send changes to a standby; stop serving if it knows a newer epoch."""
        try:
            await follower.run()
        except SkerryError as error:
            _log.warning("%s is not served here any more: %s", self.app, error)
            self._lease = None

    async def _announce(self, epoch: int) -> None:
        await self._tools.announce(self.app, epoch)

    def _note_followers(self, replication: Replication) -> None:
        known = self.stream.followers
        for member in replication.members:
            if member != self._tools.own_id and member not in known:
                known[member] = Follower(
                    member, self.stream, self._sender(member), self._node.clock
                )
        for each in known.values():
            # Standbys of an earlier epoch are told of this one, with their state as it is.
            each.pause()

    async def _resume_all(self, inheritance: r.Inheritance) -> None:
        """Let those go on from where they stood that have nothing which this node lacks."""
        self._inheritance = None
        followers = list(self.stream.followers.values())
        await asyncio.gather(*(self._resume(each, inheritance) for each in followers))

    async def _resume(self, follower: Follower, inheritance: r.Inheritance) -> None:
        tools = self._tools
        try:
            found = await tools.calls.ask(
                tools.peers.find(follower.node),
                "/replica/position",
                r.OfApp(self.app),
                r.Position,
                seconds=ASK_SECONDS,
            )
        except SkerryError as error:
            follower.trouble = error.what
            return
        left = [each for each in inheritance.last if each.last > found.sequence]
        is_covered = found.sequence == inheritance.sequence or (
            bool(left) and left[0].after <= found.sequence < inheritance.sequence
        )
        same = (inheritance.epoch, inheritance.definition) == (found.epoch, found.definition)
        if same and is_covered:
            items = [(batch.last, item) for batch in left for item in batch.items]
            app = self._node.catalogue.app(self.app)
            directories = {each.name: each.directory for each in app.branches.values()}
            follower.resume(found.sequence, items, directories)

    def _sender(self, member: str) -> Callable[[r.Batch], Awaitable[r.Position]]:
        line = self._tools.calls.line(self._tools.peers.find(member))

        async def send(batch: r.Batch) -> r.Position:
            data = msgspec.msgpack.encode(batch)
            return await line.ask("/replica/changes", data, r.Position, BATCH_SECONDS)

        return send

    def _stop_serving(self) -> None:
        self._lease, self._final = None, self._lease
        self.serving.clear()
        self._node.tenure.drop(self.app)
        if self.replication is not None:
            self._node.supervisor.kill_all(self.app)
        for desk in self._desks.values():
            desk.stop()
        self._desks.clear()
        self.stream.wake()

    async def _keep(self) -> None:
        """Renew the lease, and list in it who may take over; return when it is lost or given up."""
        renewed = self._tools.clock.monotonic()
        while self.may_serve() and self.replication is not None:
            await asyncio.sleep(TICK_SECONDS)
            await self._open_desks()
            listed, required = self._wanted()
            due = self._tools.clock.monotonic() - renewed >= self._tools.lease_seconds / RENEWALS
            if due or listed != self._listed:
                self._joining = listed - self._listed
                # Whoever joins is waited for before it is listed; whoever leaves, until it is not.
                self.stream.required |= required
                if not await self._renew(listed):
                    continue
                renewed = self._tools.clock.monotonic()
            self.stream.required = required
            self.stream.wake()

    async def _renew(self, listed: set[str]) -> bool:
        lease = self._lease
        if lease is None:
            return False
        try:
            self._lease = await self._tools.leases.renew(
                lease, self._tools.lease_seconds, tuple(sorted(listed))
            )
        except SkerryError as error:
            _log.warning("the lease of %s was not renewed: %s", self.app, error)
            if error.problem is FENCED:
                self._lease = None
            return False
        self._listed = listed
        self._joining = set()
        return True

    async def settle(self) -> None:
        """See `Tenure.settle`: those that may take over have to know the app as it is now."""
        clock = self._node.clock
        deadline = clock.monotonic() + SETTLE_SECONDS
        while self.stream.survive == "node":
            app = self._node.catalogue.apps.get(self.app)
            if app is None or app.replication is None:
                return
            if not self.may_serve():
                raise FENCED(f"This node does not hold the lease of {self.app} any more.")
            definition = self._definition(app)
            may = [self.stream.followers.get(each) for each in self._listed | self._joining]
            if may and all(each is not None and each.definition == definition for each in may):
                return
            if clock.monotonic() > deadline:
                raise TIMED_OUT(
                    f"The standbys of {self.app} do not know of this change.",
                    why="It is made on this node, and is lost if a standby takes over now.",
                    hint="skerry nodes",
                )
            await asyncio.sleep(SETTLE_LOOK_SECONDS)

    def _wanted(self) -> tuple[set[str], set[str]]:
        """Return which standbys the lease should list, and which a write should wait for."""
        stream, now = self.stream, self._node.clock.monotonic()
        fit = {
            each.node
            for each in stream.followers.values()
            if each.streaming
            and (each.behind_since is None or now - each.behind_since < DROP_SECONDS)
        }
        unchanged = stream.sequence == self._began
        if not fit or unchanged:
            # Nobody can be acknowledged meanwhile, so those who were fit last still lack nothing.
            kept = self._listed & set(stream.followers)
            if stream.survive == "node" or unchanged:
                fit |= kept
        joining = {
            each
            for each in fit - self._listed
            if stream.followers[each].acknowledged >= stream.confirmed
        }
        if joining:
            # Whoever joins knows of every deploy that was acknowledged.
            app = self._node.catalogue.apps.get(self.app)
            definition = self._definition(app) if app is not None else b""
            joining = {e for e in joining if stream.followers[e].definition == definition}
        return (fit & self._listed) | joining, fit

    async def _open_desks(self) -> None:
        """Listen for the writes to every resource."""
        node = self._node
        app = node.catalogue.apps.get(self.app)
        if app is None:
            return
        for branch in app.branches.values():
            for record in branch.resources.values():
                manifest = node.manifests[record.kind]
                key = f"{branch.directory}/{record.id}"
                if not manifest.replica or key in self._desks:
                    continue
                directory = node.workshop.state(branch, record)
                await asyncio.to_thread(node.workshop.make_directories, branch, record)
                replica = await asyncio.to_thread(manifest.load(manifest.replica), directory)
                desk = Desk(branch.name, record.name, replica, self.stream)
                await desk.start(node.workshop.journal(record), node.workshop.uid(self.app))
                self._desks[key] = desk

    async def _bring_for_ever(self) -> None:
        """Give every standby what it lacks, as often as it lacks something."""
        while True:
            app = self._node.catalogue.apps.get(self.app)
            if app is None:
                return
            definition = self._definition(app)
            # Those that need only be told come first, so that writers can go on.
            followers = sorted(self.stream.followers.values(), key=lambda each: not each.streaming)
            for follower in followers:
                for branch in follower.outgrown():
                    # It keeps what it has, and may take over, until the new snapshot is there.
                    follower.directories.pop(branch, None)
                    follower.definition = b""
                if not follower.streaming or follower.definition != definition:
                    await self._try_to_bring(follower)
            await asyncio.sleep(TICK_SECONDS)

    async def _try_to_bring(self, follower: Follower) -> None:
        now = self._node.clock.monotonic()
        if now < self._next_try.get(follower.node, 0.0):
            return
        try:
            await self._bring(follower)
        except SkerryError as error:
            self._next_try[follower.node] = now + BRING_SECONDS
            follower.trouble = error.what
            if error.problem in (CONFLICT, NOT_FOUND):
                follower.lose(error.what)
            _log.info("%s does not follow %s yet: %s", follower.node, self.app, error)

    def _definition(self, app: App) -> bytes:
        """Return the digest of all that a standby has to know of an app, except its state."""
        commit = self._tools.placing.everything("", app)
        keys = [each.id for each in self._node.keyring.of(app.name)]
        said = msgspec.json.encode((commit, self.replication, keys), order="sorted")
        return hashlib.sha256(said).digest()

    async def _bring(self, follower: Follower) -> None:
        """Send a standby the branches that it has not, and all that it needs to serve the app."""
        node, tools = self._node, self._tools
        peer = tools.peers.find(follower.node)
        decision = enforce(
            node.policy,
            Request("node", "resource:replicate", where=peer.card.name, app=self.app),
        )
        async with node.deploys.held(), node.branches.held(self.app) as branches:
            definition = self._definition(node.catalogue.app(self.app))
            new = [
                each
                for each in branches
                if not follower.streaming or follower.directories.get(each.name) != each.directory
            ]
            move = await self._offer(follower, branches, new)
            for branch in new:
                async with node.branches.copied(branch, lambda *_: None) as copy:
                    await tools.placing.send(move, branch.name, copy)
            await tools.placing.send_code(move, self.app)
            await self._follow(follower, move, new, definition)
            follower.definition = definition
            follower.directories = {each.name: each.directory for each in branches}
        if new:
            said = tools.placing.receipt(
                self.app, new, peer, decision, "resource:replicate", standby=True
            )
            await node.audit.add(RECEIPT, said)

    async def _offer(self, follower: Follower, branches: list[Branch], new: list[Branch]) -> Move:
        replication = self._current()
        tools = self._tools
        peer = tools.peers.find(follower.node)
        kinds = {record.kind for branch in branches for record in branch.resources.values()}
        names = {each.name for each in new}
        key, data_keys = await tools.placing.keys_of(self.app)
        offer = r.Standby(
            app=self.app,
            kinds=tuple(sorted(kinds)),
            branches=tuple(sorted(names)),
            kept=tuple(each.name for each in branches if each.name not in names),
            members=replication.members,
            bytes=await tools.placing.bytes_of(new),
            data_keys=data_keys,
        )
        accepted = await tools.calls.ask(peer, "/replica/offer", offer, Accepted)
        return Move(peer, accepted.transfer, self.app, key)

    async def _follow(
        self, follower: Follower, move: Move, new: list[Branch], definition: bytes
    ) -> None:
        """Let the new branches stand still, send what has changed, and let the standby follow."""
        node, tools = self._node, self._tools
        cells = [node.supervisor.cell(self.app, each.name) for each in new]
        async with contextlib.AsyncExitStack() as stack:
            for cell in cells:
                await stack.enter_async_context(cell.lock)
            alone = not any(each.streaming for each in self.stream.followers.values())
            for cell in cells:
                if alone and self.stream.survive == "node":
                    # What is in flight may wait for just this standby, which waits for it here.
                    node.supervisor.kill_cell(cell)
                await node.supervisor.sleep_held(cell)
            for branch in new:
                path = node.volume.path(branch.directory)
                await tools.placing.send(move, branch.name, path)
            replication = self._current()
            commit = tools.placing.everything(move.transfer, node.catalogue.app(self.app))
            position = follower.position if follower.streaming else self.stream.sequence
            follow = r.Follow(commit, replication, position, definition)
            await tools.calls.ask(move.peer, "/replica/follow", follow, r.Position, seconds=60.0)
            follower.begin(position, {each.name for each in new})
        for cell in cells:
            node.supervisor.forget_if_empty(cell)
