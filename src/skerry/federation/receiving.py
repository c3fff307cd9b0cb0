"""Moving an app to another node: the side that takes. See `placing` for the order of things."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from skerry.federation import messages as m
from skerry.federation.guests import Guests, Standing
from skerry.federation.placing import check_free
from skerry.federation.wire import Chunks, Wire
from skerry.kernel import events
from skerry.kernel.catalogue import ResourceRecord
from skerry.kernel.errors import BUSY, DISK_FULL, INVALID, NOT_FOUND, UNSUPPORTED
from skerry.kernel.names import check_name
from skerry.kernel.policy import Request, enforce
from skerry.node import parcels
from skerry.node.archives import give
from skerry.node.keys.ring import OpenKey
from skerry.node.keys.sealing import Header, Reader
from skerry.node.node import Node

TRANSFERS_MAX = 4
HEAD_BYTES_MAX = 1 << 20
DATA_KEYS_MAX = 100
SPARE = 1.2
"""A parcel lies in the spool and in the volume for a moment, its last part at least."""


@dataclass
class _Arriving:
    """An app on its way here: where the state of each branch and the code of versions lie.

    `kept` are directories that were here before, and stay if the app does not come. `only` is the
    resource that comes alone: as a guest, or, if it `returns`, into the branches that it is of.
    """

    peer: str
    app: str
    keys: tuple[OpenKey, ...]
    directories: dict[str, str] = field(default_factory=dict)
    code: dict[int, Path] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    only: str = ""
    returns: bool = False
    standing: Standing | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Receiving:
    """Takes apps from other nodes."""

    def __init__(self, node: Node, wire: Wire, guests: Guests) -> None:
        self._node = node
        self._guests = guests
        self._arriving: dict[str, _Arriving] = {}
        wire.add("/place/offer", self._offer, m.Offer)
        wire.add("/guest/offer", self._offer, m.Offer)
        wire.add("/guest/still", self._still, m.Transfer)
        wire.add("/place/parcel", self._parcel, None)
        wire.add("/place/commit", self._commit, m.Commit)
        wire.add("/place/outcome", self._outcome, m.Transfer)

    async def _offer(self, peer: str, offer: m.Offer) -> m.Accepted:
        node = self._node
        check_name(offer.app, "an app")
        for branch in offer.branches:
            check_name(branch, "a branch")
        enforce(node.policy, Request(f"node:{peer}", "app:receive", node.name, app=offer.app))
        if offer.resource:
            check_name(offer.resource, "a resource")
            if self._guests.comes_back(peer, offer):
                return await self._expect_back(peer, offer)
        check_free(node, offer.app)
        self.check_kinds(offer.kinds)
        accepted = await self.expect(
            peer, offer.app, offer.branches, offer.bytes, keys=offer.data_keys
        )
        self._arriving[accepted.transfer].only = offer.resource
        return accepted

    async def _expect_back(self, peer: str, offer: m.Offer) -> m.Accepted:
        """Make room for a resource that comes back, beside what stayed."""
        directories = await self._guests.make_room(offer)
        accepted = await self.expect(
            peer, offer.app, (), offer.bytes, keys=offer.data_keys, kept=directories
        )
        arriving = self._arriving[accepted.transfer]
        arriving.only, arriving.returns = offer.resource, True
        return accepted

    def check_kinds(self, kinds: tuple[str, ...]) -> None:
        """Raise UNSUPPORTED if this node lacks a kind."""
        unknown = sorted(set(kinds) - set(self._node.manifests))
        if unknown:
            raise UNSUPPORTED(f"{self._node.name} does not have the kind {', '.join(unknown)}.")

    async def expect(
        self,
        peer: str,
        app: str,
        branches: tuple[str, ...],
        size: int,
        *,
        keys: tuple[tuple[str, bytes], ...],
        kept: dict[str, str] | None = None,
    ) -> m.Accepted:
        """Make room for an app; `kept` are the directories of branches that are here already.

        `keys` are the app's data keys. Raises DISK_FULL, INVALID without keys, and BUSY if too many
        apps are on their way.
        """
        node = self._node
        opened = _data_keys(keys)
        free = (await asyncio.to_thread(shutil.disk_usage, node.home.volume)).free
        if free < size * SPARE:
            raise DISK_FULL(f"{node.name} has {free >> 20} MiB free, which is not enough.")
        for transfer in [key for key, each in self._arriving.items() if each.peer == peer]:
            if self._arriving[transfer].app == app:
                await self._forget(transfer)
        if len(self._arriving) >= TRANSFERS_MAX:
            raise BUSY(f"{TRANSFERS_MAX} apps are on their way to {node.name} already.")
        transfer = node.entropy.bytes(16).hex()
        directories = dict(kept or {})
        arriving = _Arriving(peer, app, opened, directories, kept=frozenset(directories.values()))
        self._arriving[transfer] = arriving
        for branch in branches:
            directories[branch] = await node.branches.make_directory(app, opened[0])
        return m.Accepted(transfer)

    def _find(self, peer: str, transfer: str) -> _Arriving:
        found = self._arriving.get(transfer)
        if found is None or found.peer != peer:
            raise NOT_FOUND(
                "There is no such move.", why="It was given up, or this node restarted."
            )
        return found

    async def _parcel(self, peer: str, chunks: Chunks) -> m.Received:
        head, rest = await _split(chunks)
        arriving = self._find(peer, head.transfer)
        async with arriving.lock:
            file = self._node.archives.path(await self._node.archives.receive(rest))
            try:
                target = self._target(arriving, head)
                only = arriving.only if head.branch else ""
                await asyncio.to_thread(_unpack, file, target, head.gone, arriving.keys[0], only)
                size = file.stat().st_size
            finally:
                file.unlink()
        return m.Received(size)

    def _target(self, arriving: _Arriving, head: m.ParcelHead) -> Path:
        """Return the directory that a parcel is for."""
        if head.branch:
            if head.branch not in arriving.directories:
                raise INVALID(f"The move has no branch {head.branch[:40]}.")
            return self._node.volume.path(arriving.directories[head.branch])
        if head.version not in arriving.code:
            arriving.code[head.version] = self._node.archives.new_directory()
        return arriving.code[head.version]

    async def _commit(self, peer: str, commit: m.Commit) -> m.Outcome:
        arriving = self._find(peer, commit.transfer)
        node = self._node
        if arriving.returns:
            return await self._take_back(arriving, commit)
        async with arriving.lock, node.deploys.held():
            check_free(node, arriving.app)
            event = await self._take(arriving, commit)
            if arriving.only:
                event = self._guests.as_guest(event, peer, arriving.only)
            await node.catalogue_log.append(events.encode(event))
        return m.Outcome(arriving.app in node.catalogue.apps)

    async def give_up(self, app: str) -> None:
        """Give up what comes back to an app, unless it has come: it will not come from now on."""
        for transfer, arriving in list(self._arriving.items()):
            if arriving.returns and arriving.app == app:
                async with arriving.lock:
                    await self._forget(transfer)

    async def stop(self) -> None:
        """Let apps go on that stand still."""
        for arriving in self._arriving.values():
            if arriving.standing is not None:
                await arriving.standing.release()

    async def _still(self, peer: str, asked: m.Transfer) -> m.Outcome:
        """Let the app stand still that a resource comes back to."""
        arriving = self._find(peer, asked.transfer)
        if not arriving.returns:
            raise INVALID("The move is of a whole app.")
        async with arriving.lock:
            await self._stand_still(arriving)
        return m.Outcome(False)

    async def _stand_still(self, arriving: _Arriving) -> Standing:
        if arriving.standing is None or arriving.standing.is_over:
            arriving.standing = await self._guests.stand_still(arriving.app)
        return arriving.standing

    async def _take_back(self, arriving: _Arriving, commit: m.Commit) -> m.Outcome:
        """Put a resource that has come back where it was."""
        async with arriving.lock:
            _check_whole(arriving, commit)
            standing = await self._stand_still(arriving)
            try:
                owner = self._node.workshop.uid(arriving.app)
                await asyncio.to_thread(self._give, arriving, commit, owner)
                await self._guests.take_back(arriving.app, arriving.only, arriving.keys, commit)
                self._arriving.pop(commit.transfer, None)
            finally:
                await standing.release()
            await self._clear_code(arriving)
        return m.Outcome(True)

    async def copy(self, peer: str, commit: m.Commit) -> events.AppArrived:
        """Return what a copy that has come whole would arrive as; nobody serves it yet."""
        arriving = self._find(peer, commit.transfer)
        async with arriving.lock, self._node.deploys.held():
            return await self._take(arriving, commit)

    async def _take(self, arriving: _Arriving, commit: m.Commit) -> events.AppArrived:
        """Put what has come in its place. Raises INVALID and what policy says."""
        node = self._node
        _check_whole(arriving, commit)
        specs = {each.version: each.spec for each in commit.versions}
        for branch in commit.branches:
            node.placement.admit(specs[branch.version].policy, arriving.app, branch.name)
        for each in commit.versions:
            code = arriving.code.pop(each.version)
            if node.workshop.code(arriving.app, each.version).exists():
                await asyncio.to_thread(shutil.rmtree, code)
                continue
            await node.deploys.adopt(arriving.app, each.version, each.spec, code)
        known = node.catalogue.standbys.get(arriving.app)
        index = node.catalogue.next_index if known is None else known.arrived.index
        owner = node.workshop.uid_of(index)
        await asyncio.to_thread(self._give, arriving, commit, owner)
        for key in reversed(arriving.keys):
            await node.keyring.adopt(arriving.app, *key)
        event = self._event(arriving, commit, index)
        self._arriving.pop(commit.transfer, None)
        return event

    def _give(self, arriving: _Arriving, commit: m.Commit, owner: int | None) -> None:
        """Give the state to the app's user here, and bring all of it to the disk."""
        node = self._node
        for branch in commit.branches:
            directory = node.volume.path(arriving.directories[branch.name])
            for record in branch.records:
                place = directory / record.name
                if place.is_dir():
                    give(place, owner)
        node.volume.sync()

    def _event(self, arriving: _Arriving, commit: m.Commit, index: int) -> events.AppArrived:
        node, app = self._node, arriving.app
        keys = {}
        for branch in commit.branches:
            for each in branch.records:
                keys[f"resource/{each.id}"] = each.own_key
                keys[f"lineage/{each.lineage}"] = each.lineage_key
        return events.AppArrived(
            app=app,
            index=index,
            transfer=commit.transfer,
            versions=tuple(
                events.VersionAdded(app, each.version, each.spec, each.digest)
                for each in commit.versions
            ),
            branches=tuple(
                events.BranchCreated(
                    app=app,
                    branch=each.name,
                    directory=arriving.directories[each.name],
                    parent=each.parent,
                    version=each.version,
                    resources=tuple(
                        ResourceRecord(r.id, r.lineage, r.kind, r.name) for r in each.records
                    ),
                    time=each.created,
                )
                for each in commit.branches
            ),
            secrets={
                name: node.vault.seal(app, name, value) for name, value in commit.secrets.items()
            },
            keys={name: node.vault.seal_key(name, key) for name, key in keys.items()},
        )

    async def _outcome(self, peer: str, question: m.Transfer) -> m.Outcome:
        """Say whether a move was completed; one that was not will not be from now on."""
        found = self._arriving.get(question.transfer)
        if found is not None and found.peer == peer:
            async with found.lock:
                await self._forget(question.transfer)
        app = self._node.catalogue.apps.get(question.app)
        if app is None:
            return m.Outcome(False)
        return m.Outcome(question.transfer in (app.transfer, *app.returns.values()))

    async def _forget(self, transfer: str) -> None:
        """Give a move up, with what has come of it."""
        arriving = self._arriving.pop(transfer, None)
        if arriving is None:
            return
        for directory in set(arriving.directories.values()) - arriving.kept:
            await asyncio.to_thread(self._node.volume.delete, directory)
        await self._clear_code(arriving)
        if arriving.standing is not None:
            await arriving.standing.release()
        if arriving.returns and arriving.app in self._node.catalogue.apps:
            for branch in self._node.catalogue.app(arriving.app).branches.values():
                await self._node.branches.clear_away(branch)

    async def _clear_code(self, arriving: _Arriving) -> None:
        for path in arriving.code.values():
            await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)


def _data_keys(keys: tuple[tuple[str, bytes], ...]) -> tuple[OpenKey, ...]:
    """Return the data keys that an app brings, the one in use first; raise INVALID."""
    if not keys:
        raise INVALID("The app comes without its data keys.", why="That node may be older.")
    return tuple(m.check_key(*each) for each in keys[:DATA_KEYS_MAX])


def _check_whole(arriving: _Arriving, commit: m.Commit) -> None:
    """Raise INVALID unless all that a commit names has come."""
    names = {branch.name for branch in commit.branches}
    versions = {each.version for each in commit.versions}
    served = {branch.version for branch in commit.branches}
    if names != set(arriving.directories) or versions != set(arriving.code):
        raise INVALID("The move is not whole: a branch or a version has not come.")
    if not served <= versions or any(each.spec.name != arriving.app for each in commit.versions):
        raise INVALID("The move contradicts itself.")


def _unpack(file: Path, target: Path, gone: tuple[str, ...], key: OpenKey, only: str) -> None:
    parcels.remove(target, gone, only)
    with file.open("rb") as opened:
        parcels.unpack(Reader(opened, lambda header: _key(header, key)), target, only)


def _key(header: Header, key: OpenKey) -> bytes:
    """Return the key of a parcel; it is the one that came with the offer, and no other."""
    if header.key != key.id:
        raise INVALID("The parcel is sealed under another key than the app's.")
    return key.key


async def _split(chunks: Chunks) -> tuple[m.ParcelHead, AsyncIterator[bytes]]:
    """Return a parcel's first line, and the rest of its stream."""
    buffer = b""
    async for chunk in chunks:
        buffer += chunk
        if b"\n" in buffer:
            break
        if len(buffer) > HEAD_BYTES_MAX:
            raise INVALID("The head of a parcel is too long.")
    line, _, early = buffer.partition(b"\n")
    try:
        head = msgspec.json.decode(line, type=m.ParcelHead)
    except msgspec.DecodeError as error:
        raise INVALID("The head of a parcel is not well-formed.", why=f"{error}.") from error

    async def rest() -> AsyncIterator[bytes]:
        yield early
        async for chunk in chunks:
            yield chunk

    return head, rest()
