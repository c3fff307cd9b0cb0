"""Standing by: taking a copy of an app and following its changes, until it may be needed."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from skerry.federation.messages import Accepted
from skerry.federation.peers import Peers
from skerry.federation.receiving import Receiving
from skerry.federation.replicas import messages as r
from skerry.federation.wire import Chunks, Wire
from skerry.kernel import events
from skerry.kernel.catalogue import reader_directory
from skerry.kernel.errors import CONFLICT, FENCED, INVALID, NOT_FOUND, TOO_LARGE
from skerry.kernel.events import AppFollowed
from skerry.kernel.names import check_name, reader_name
from skerry.kernel.policy import Request, enforce
from skerry.kernel.replica import Replica
from skerry.node.archives import give
from skerry.node.audit.receipts import RECEIPT, of_deletion
from skerry.node.node import Node

LAST_BYTES_MAX = 8 << 20
"""How much of what came last is kept in memory, for standbys that did not get it."""

_batches = msgspec.msgpack.Decoder(r.Batch)


class Copy:
    """A copy of an app: how far it has come, and what applies changes to it.

    `changed` is the sequence number of the last change of each resource, `complete_at` when the
    copy was last known to lack nothing, in nanoseconds since 1970; 0 if it never was.
    """

    def __init__(self, node: Node, followed: AppFollowed, file: Path) -> None:
        self.holder = followed.holder
        self.epoch = followed.replication.epoch
        self.sequence = -1
        self.definition = b""
        self.last: deque[r.Batch] = deque()
        self.lock = asyncio.Lock()
        self.closed = False
        self.changed: dict[tuple[str, str], int] = {}
        self.complete_at = 0
        self._node = node
        self._followed = followed
        self._file = file
        self._replicas: dict[tuple[str, str], Replica] = {}
        self._bytes = 0

    def load(self) -> None:
        """Read how far the copy had come when the node stopped."""
        if self._file.exists():
            epoch, sequence, definition = self._file.read_text().split()
            if int(epoch) == self.epoch:
                self.sequence, self.definition = int(sequence), bytes.fromhex(definition)

    def note(self, sequence: int) -> None:
        """Keep how far the copy has come.

        That comes after the changes themselves are on the disk and is not synced: after a power cut
        it tells too little at worst.
        """
        self.sequence = sequence
        file = os.open(self._file, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            said = f"{self.epoch:<12} {sequence:<20} {self.definition.hex()}"
            os.pwrite(file, said.encode(), 0)
        finally:
            os.close(file)

    def apply(self, batch: r.Batch) -> None:
        """Apply changes, bring them to the disk, and note it."""
        touched = []
        for item in batch.items:
            replica = self.replica(item.branch, item.resource)
            if replica is not None:
                replica.apply(item.change)
                touched.append(replica)
                self.changed[item.branch, item.resource] = batch.last
        for replica in {id(each): each for each in touched}.values():
            replica.sync()
        self.note(batch.last)
        self.last.append(batch)
        self._bytes += _size(batch)
        while self._bytes > LAST_BYTES_MAX:
            self._bytes -= _size(self.last.popleft())

    def replica(self, branch: str, resource: str) -> Replica | None:
        """Return the replica of a resource; None for one that came after the last snapshot."""
        key = (branch, resource)
        if key not in self._replicas:
            found = next((b for b in self._followed.arrived.branches if b.branch == branch), None)
            records = {each.name: each for each in found.resources} if found else {}
            if found is None or resource not in records:
                raise CONFLICT(f"The copy has no {branch}/{resource}.")
            manifest = self._node.manifests[records[resource].kind]
            directory = self._node.volume.path(found.directory) / resource
            directory.mkdir(mode=0o700, exist_ok=True)
            made: Replica = manifest.load(manifest.replica)(directory)
            self._replicas[key] = made
        return self._replicas[key]

    def marks(self) -> r.Marks:
        """Return how far every file has come."""
        found: r.Marks = {}
        for branch in self._followed.arrived.branches:
            found[branch.branch] = {}
            for record in branch.resources:
                if self._node.manifests[record.kind].replica:
                    replica = self.replica(branch.branch, record.name)
                    assert replica is not None
                    found[branch.branch][record.name] = replica.marks()
        return found


class Following:
    """All copies of a node."""

    def __init__(
        self,
        node: Node,
        wire: Wire,
        receiving: Receiving,
        peers: Peers,
        folder: Path,
        check_holds: Callable[[str, str, int], Awaitable[None]],
    ) -> None:
        self._check_holds = check_holds
        self._node = node
        self._peers = peers
        self._receiving = receiving
        self._folder = folder
        self.copies: dict[str, Copy] = {}
        self.fences: dict[str, int] = {}
        wire.add("/replica/offer", self._offer, r.Standby)
        wire.add("/replica/follow", self._follow, r.Follow)
        wire.add("/replica/changes", self._changes, None)
        wire.add("/replica/position", self._position, r.OfApp)
        wire.add("/replica/drop", self._drop, r.OfApp)

    def start(self) -> None:
        """Take up the copies that the catalogue knows."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        for followed in self._node.catalogue.standbys.values():
            self._open(followed).load()
            self.fence(followed.app, followed.replication.epoch)

    def _open(self, followed: AppFollowed) -> Copy:
        app = followed.app
        copy = Copy(self._node, followed, self._folder / app)
        self.copies[app] = copy
        return copy

    def _name(self, peer: str) -> str:
        return self._peers.find(peer).card.name

    def fence(self, app: str, epoch: int) -> None:
        """Refuse every epoch before this one from now on."""
        self.fences[app] = max(epoch, self.fences.get(app, 0))

    def _admit(self, app: str, epoch: int) -> None:
        known = self.fences.get(app, 0)
        if epoch < known:
            raise FENCED(
                f"The epoch {epoch} of {app} is over.", why=f"{self._node.name} knows {known}."
            )

    async def _offer(self, peer: str, offer: r.Standby) -> Accepted:
        node = self._node
        check_name(offer.app, "an app")
        for branch in (*offer.branches, *offer.kept):
            check_name(branch, "a branch")
        asked = Request(f"node:{peer}", "app:receive", node.name, app=offer.app)
        enforce(node.policy, asked)
        if offer.app in node.catalogue.apps:
            raise CONFLICT(f"{node.name} has an app {offer.app} of its own.")
        self._receiving.check_kinds(offer.kinds)
        known = node.catalogue.standbys.get(offer.app)
        places = {each.branch: each.directory for each in known.arrived.branches} if known else {}
        missing = set(offer.kept) - set(places)
        if missing:
            raise CONFLICT(f"{node.name} has no copy of {', '.join(sorted(missing))}.")
        kept = {name: places[name] for name in offer.kept}
        return await self._receiving.expect(
            peer, offer.app, offer.branches, offer.bytes, keys=offer.data_keys, kept=kept
        )

    async def _follow(self, peer: str, follow: r.Follow) -> r.Position:
        """Make a copy that came whole the one that follows; drop the one before."""
        node = self._node
        app = follow.commit.versions[0].spec.name if follow.commit.versions else ""
        self._admit(app, follow.replication.epoch)
        await self._check_holds(peer, app, follow.replication.epoch)
        before = self.copies.get(app)
        if before is not None:
            async with before.lock:
                return await self._switch(peer, follow, app)
        if app in node.catalogue.apps:
            raise CONFLICT(f"{node.name} has an app {app} of its own.")
        return await self._switch(peer, follow, app)

    async def _switch(self, peer: str, follow: r.Follow, app: str) -> r.Position:
        node = self._node
        arrived = await self._receiving.copy(peer, follow.commit)
        old = node.catalogue.standbys.get(app)
        event = AppFollowed(app, self._name(peer), follow.replication, arrived)
        await node.catalogue_log.append(events.encode(event))
        self.fence(app, follow.replication.epoch)
        before = self.copies.get(app)
        copy = self._open(event)
        copy.definition = follow.definition
        sequence = follow.sequence
        if before is not None:
            copy.changed = before.changed
            if (before.holder, before.epoch) == (copy.holder, copy.epoch):
                # What came while the other node asked is here too.
                sequence = max(sequence, before.sequence)
            if before.sequence == sequence:
                copy.last = before.last
        await asyncio.to_thread(copy.note, sequence)
        if old is not None:
            for branch in old.arrived.branches:
                if not node.catalogue.has_directory(branch.directory):
                    await asyncio.to_thread(node.volume.delete, branch.directory)
            await self._drop_readers(old)
        return r.Position(copy.epoch, copy.sequence)

    async def _changes(self, peer: str, chunks: Chunks) -> r.Position:
        data = bytearray()
        async for chunk in chunks:
            data += chunk
            if len(data) > r.BATCH_BYTES_MAX:
                raise TOO_LARGE(f"A batch has at most {r.BATCH_BYTES_MAX} bytes.")
        try:
            batch = _batches.decode(data)
        except msgspec.DecodeError as error:
            raise INVALID("A batch is not well-formed.", why=f"{error}.") from error
        self._admit(batch.app, batch.epoch)
        copy = self._find(peer, batch.app)
        async with copy.lock:
            self._admit(batch.app, batch.epoch)
            if copy.closed or batch.after > copy.sequence:
                raise CONFLICT(f"The copy of {batch.app} has not come that far.")
            # The same node may have got the lease again: its stream goes on.
            copy.epoch = batch.epoch
            await asyncio.to_thread(copy.apply, batch)
        return r.Position(copy.epoch, copy.sequence)

    def _find(self, peer: str, app: str) -> Copy:
        copy = self.copies.get(app)
        if copy is None or copy.holder != self._name(peer):
            raise NOT_FOUND(f"{self._node.name} does not follow {app} from there.")
        return copy

    async def _position(self, peer: str, asked: r.OfApp) -> r.Position:
        copy = self.copies.get(asked.app)
        followed = self._node.catalogue.standbys.get(asked.app)
        if copy is None or followed is None or peer not in followed.replication.members:
            raise NOT_FOUND(f"{self._node.name} has no copy of {asked.app}.")
        return r.Position(copy.epoch, copy.sequence, copy.definition)

    async def _drop(self, peer: str, asked: r.OfApp) -> r.Heard:
        copy = self._find(peer, asked.app)
        async with copy.lock:
            copy.closed = True
            await self.forget(asked.app)
        return r.Heard()

    async def forget(self, app: str) -> None:
        """Remove a copy."""
        node = self._node
        followed = node.catalogue.standbys[app]
        await node.catalogue_log.append(events.encode(events.AppUnfollowed(app)))
        self.copies.pop(app, None)
        (self._folder / app).unlink(missing_ok=True)
        for branch in followed.arrived.branches:
            await asyncio.to_thread(node.volume.delete, branch.directory)
        await self._drop_readers(followed)
        await node.keyring.forget(app)
        await asyncio.to_thread(node.remove_code, app)
        said = of_deletion(app, "the copy of a standby was removed", holder=followed.holder)
        await node.audit.add(RECEIPT, said)

    async def take(self, app: str, epoch: int) -> tuple[r.Taken, r.Inheritance]:
        """Serve an app from its copy from now on; return how far the copy had come."""
        node = self._node
        copy = self.copies[app]
        async with copy.lock:
            copy.closed = True
            self.fence(app, epoch)
            followed = node.catalogue.standbys[app]
            marks = await asyncio.to_thread(copy.marks)
            await asyncio.to_thread(self._hand_over, followed)
            replication = msgspec.structs.replace(followed.replication, epoch=epoch)
            await node.catalogue_log.append(events.encode(events.AppTaken(app, replication)))
            self.copies.pop(app, None)
            (self._folder / app).unlink(missing_ok=True)
        await self._drop_readers(followed)
        last = tuple(copy.last)
        return r.Taken(epoch, marks), r.Inheritance(
            copy.epoch, copy.sequence, copy.definition, last
        )

    async def _drop_readers(self, followed: AppFollowed) -> None:
        """Remove what was read of a copy, and end what reads it, unless it is still wanted."""
        node = self._node
        name = reader_name(followed.app)
        if name is not None and name not in node.catalogue.readers:
            node.supervisor.kill_all(name)
        for branch in followed.arrived.branches:
            directory = reader_directory(branch.directory)
            if node.catalogue.has_directory(directory):
                continue
            if node.volume.path(directory).exists():
                await asyncio.to_thread(node.volume.delete, directory)

    def _hand_over(self, followed: AppFollowed) -> None:
        """Let the app's user here own what was applied."""
        owner = self._node.workshop.uid_of(followed.arrived.index)
        for branch in followed.arrived.branches:
            for record in branch.resources:
                place = self._node.volume.path(branch.directory) / record.name
                if place.is_dir():
                    give(place, owner)


def _size(batch: r.Batch) -> int:
    return sum(len(item.change.data) for item in batch.items)
