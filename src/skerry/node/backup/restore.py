"""Restores beside the living: a branch that is what a branch was at a moment.

Each resource comes from the backup that gets closest to the moment. A kind that can go back in time
by itself (`Verb.BRANCH_AT`) is taken from the first backup after the moment and replayed to it, to
the exact commit; any other is as it was in the last backup before.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from skerry.kernel import catalogue as events
from skerry.kernel.catalogue import ResourceRecord
from skerry.kernel.errors import (
    ALREADY_EXISTS,
    CONFLICT,
    CORRUPT,
    DISK_FULL,
    NOT_FOUND,
    SkerryError,
)
from skerry.kernel.kind import RECOVER_FILE, Recover
from skerry.kernel.manifest import Verb
from skerry.kernel.names import check_name
from skerry.node.archives import give
from skerry.node.backup import digests
from skerry.node.backup.index import Held, HeldBranch, Index, parse_scope
from skerry.node.backup.messages import Source
from skerry.node.backup.repository import Repository, Snapshot

if TYPE_CHECKING:
    from skerry.node.node import Node

_ROOM_BYTES = 64 << 20
"""What must be free besides the state itself."""

Progress = Callable[[int, int, str], None]


class Wish(msgspec.Struct, frozen=True):
    """What is to be brought back: a branch as a new branch; one resource of it, or all."""

    app: str
    branch: str
    as_branch: str
    resource: str = ""
    at: int | None = None
    snapshot: str = ""


@dataclass(frozen=True, slots=True)
class Restored:
    """A branch that was brought back; `digests` are of its files before any engine touched them."""

    sources: tuple[Source, ...]
    empty: tuple[str, ...]
    seconds: float
    files: int
    bytes: int
    digests: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Part:
    """A resource to be restored: from which backup, and replayed to which moment."""

    held: Held
    branch: HeldBranch
    snapshot: Snapshot
    replay_to: int | None


class Restorer:
    """Brings branches back from one store."""

    def __init__(self, node: Node, repository: Repository) -> None:
        self._node = node
        self._repository = repository
        self._indexes: dict[str, Index] = {}

    async def as_branch(self, wish: Wish, progress: Progress) -> Restored:
        """Make the new branch; nothing is left of one that fails.

        Raises NOT_FOUND, ALREADY_EXISTS, DISK_FULL, CORRUPT, and what the store raises.
        """
        node = self._node
        check_name(wish.as_branch, "a branch")
        app = node.catalogue.apps.get(wish.app)
        if app is not None and wish.as_branch in app.branches:
            raise ALREADY_EXISTS(
                f"{wish.app} has a branch {wish.as_branch} already.",
                hint=f"skerry branch delete {wish.as_branch} --app {wish.app}",
            )
        started = node.clock.monotonic()
        parts = await self._choose(wish)
        try:
            return await self._bring(wish, parts, started, progress)
        except SkerryError as error:
            if error.problem is not CONFLICT or not any(e.replay_to is not None for e in parts):
                raise
        progress(0, 0, "the moment is out of reach of the log; taking the backup before it")
        parts = await self._choose(wish, replay=False)
        return await self._bring(wish, parts, started, progress)

    async def _choose(self, wish: Wish, *, replay: bool = True) -> list[_Part]:
        """Choose the backup of every resource; raise NOT_FOUND if there is none."""
        covering = [
            each
            for each in await self._repository.snapshots()
            if parse_scope(each.scope).holds(wish.app, wish.branch, wish.resource)
            and (not wish.snapshot or each.id.startswith(wish.snapshot))
        ]
        at = wish.at
        before = [each for each in covering if at is None or each.time <= at]
        after = [each for each in covering if at is not None and each.began >= at]
        if not before and not after:
            what = ":".join(part for part in (wish.app, wish.branch, wish.resource) if part)
            raise NOT_FOUND(
                f"There is no backup of {what} that can be used.",
                why=f"{len(covering)} backups hold it." if covering else "",
                hint="skerry backup list",
            )
        last = await self._held(before[-1], wish) if before else None
        first = await self._held(after[0], wish) if after and replay else None
        parts: list[_Part] = []
        for branch, snapshot, to in ((first, after[:1], at), (last, before[-1:], None)):
            for held in branch.resources if branch else ():
                known = any(part.held.record.name == held.record.name for part in parts)
                unwanted = wish.resource not in ("", held.record.name)
                if known or unwanted or (to is not None and not self._replays(held)):
                    continue
                assert branch is not None, "its resources are looked at"
                parts.append(_Part(held, branch, snapshot[0], to))
        if not parts:
            raise NOT_FOUND(
                f"No backup of {wish.app}/{wish.branch} is old enough.",
                why="Only a kind that keeps its log can be taken back from a later one.",
                hint="skerry backup list",
            )
        return parts

    def _replays(self, held: Held) -> bool:
        manifest = self._node.manifests.get(held.record.kind)
        able = manifest is not None and manifest.able(Verb.BRANCH_AT)
        return able and bool(held.digest)

    async def _held(self, snapshot: Snapshot, wish: Wish) -> HeldBranch | None:
        index = await self._index(snapshot)
        return index.branch(wish.app, wish.branch)

    async def _index(self, snapshot: Snapshot) -> Index:
        if snapshot.id not in self._indexes:
            self._indexes[snapshot.id] = await self._repository.index(snapshot.id)
        return self._indexes[snapshot.id]

    async def _bring(
        self, wish: Wish, parts: Sequence[_Part], started: float, progress: Progress
    ) -> Restored:
        node = self._node
        total = sum(part.held.bytes for part in parts)
        self._need_room(total)
        directory = await node.branches.make_directory()
        try:
            found = await self._fetch(directory, parts, total, progress)
            records = await self._register(wish, directory, parts, progress)
        except BaseException:
            await asyncio.to_thread(node.volume.delete, directory)
            raise
        await self._replay(wish, parts)
        names = {part.held.record.name for part in parts}
        return Restored(
            sources=tuple(_source(part, wish.at) for part in parts),
            empty=tuple(sorted(self._stateful(records) - names)),
            seconds=round(node.clock.monotonic() - started, 3),
            files=sum(part.held.files for part in parts),
            bytes=total,
            digests=found,
        )

    def _need_room(self, total: int) -> None:
        free = shutil.disk_usage(self._node.volume.directory).free
        if free < total + _ROOM_BYTES:
            raise DISK_FULL(
                f"The restore needs {total >> 20} MiB and {free >> 20} MiB are free.",
                why="Nothing was fetched.",
                hint="Delete branches that nobody needs, or enlarge the volume.",
            )

    async def _fetch(
        self, directory: str, parts: Sequence[_Part], total: int, progress: Progress
    ) -> dict[str, str]:
        """Fetch the state of every part into a new directory, and compare it with the backup's."""
        top = self._node.volume.path(directory)
        found = {}
        for snapshot in {part.snapshot.id: part.snapshot for part in parts}.values():
            mine = [part for part in parts if part.snapshot is snapshot and part.held.digest]
            paths = [_path(part) for part in mine]
            if paths:
                await self._repository.restore(snapshot.id, paths, top, progress, total=total)
            for part in mine:
                name = part.held.record.name
                (top / _path(part)).rename(top / name)
                found[name] = await asyncio.to_thread(verify, top / name, part.held)
        await asyncio.to_thread(shutil.rmtree, top / "volume", ignore_errors=True)
        return found

    async def _register(
        self, wish: Wish, directory: str, parts: Sequence[_Part], progress: Progress
    ) -> tuple[ResourceRecord, ...]:
        """Enter the branch in the catalogue; only now does it exist."""
        node = self._node
        index = await self._index(parts[0].snapshot)
        branch = parts[0].branch
        version = await self._version(index, branch, parts[0].snapshot, progress)
        records = tuple(
            ResourceRecord(node.branches.new_id(), each.lineage, each.kind, each.name)
            for each in branch.records
        )
        top = node.volume.path(directory)
        owner = node.workshop.uid(wish.app)
        for part in parts:
            state = top / part.held.record.name
            if not part.held.digest:
                continue
            if part.replay_to is not None:
                text = msgspec.json.encode(Recover(part.replay_to))
                await asyncio.to_thread((state / RECOVER_FILE).write_bytes, text)
            await asyncio.to_thread(give, state, owner)
        known = node.catalogue.app(wish.app).branches
        event = events.BranchCreated(
            app=wish.app,
            branch=wish.as_branch,
            directory=directory,
            parent=wish.branch if wish.branch in known else None,
            version=version,
            resources=records,
            time=node.clock.now(),
        )
        await node.catalogue_log.append(events.encode(event))
        return records

    async def _version(
        self, index: Index, branch: HeldBranch, snapshot: Snapshot, progress: Progress
    ) -> int:
        """Return the version that the branch served, with its code; brought back if it has gone."""
        node = self._node
        held = index.version(branch.app, branch.version)
        app = node.catalogue.apps.get(branch.app)
        known = app.versions.get(branch.version) if app else None
        same = known is not None and (held is None or known.digest == held.digest)
        if same and node.workshop.code(branch.app, branch.version).exists():
            return branch.version
        if held is None:
            raise NOT_FOUND(f"The backup holds no code of {branch.app}.", hint="skerry backup list")
        if app is None:
            created = events.AppCreated(branch.app, node.catalogue.next_index)
            await node.catalogue_log.append(events.encode(created))
            for name, sealed in index.secrets.items():
                set_again = events.SecretSet(branch.app, name, sealed)
                await node.catalogue_log.append(events.encode(set_again))
        number = max(node.catalogue.app(branch.app).versions, default=0) + 1
        await self._fetch_code(snapshot, branch, number, progress)
        added = events.VersionAdded(branch.app, number, held.spec, held.digest)
        await node.catalogue_log.append(events.encode(added))
        return number

    async def _fetch_code(
        self, snapshot: Snapshot, branch: HeldBranch, number: int, progress: Progress
    ) -> None:
        path = f"apps/{branch.app}/{branch.version}"
        folder = self._node.home.apps / ".restored"
        target = self._node.home.apps / branch.app / str(number)
        try:
            await self._repository.restore(snapshot.id, [path], folder, progress)
            await asyncio.to_thread(_place_code, folder / path, target)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _replay(self, wish: Wish, parts: Sequence[_Part]) -> None:
        """Start what goes back in time, so that a moment out of reach leaves no branch behind."""
        node = self._node
        try:
            for part in parts:
                if part.replay_to is not None:
                    name = part.held.record.name
                    await node.supervisor.ready(wish.app, wish.as_branch, name)
        except BaseException:
            with contextlib.suppress(SkerryError):
                await node.branches.delete(wish.app, wish.as_branch)
            raise

    def _stateful(self, records: Sequence[ResourceRecord]) -> set[str]:
        return {each.name for each in records if self._node.manifests[each.kind].keeps_state}


def verify(state: Path, held: Held) -> str:
    """Return the digest of a restored tree; raise CORRUPT if it is not that of the cut. Blocks."""
    tree = digests.of_tree(state)
    if tree.digest != held.digest:
        raise CORRUPT(
            f"What was restored of {held.record.name} is not what was backed up.",
            why=f"{tree.files} files of {tree.bytes} bytes came back; the cut had {held.files} "
            f"of {held.bytes}."
            if tree.bytes != held.bytes
            else "The content differs.",
            hint="skerry backup check --everything",
        )
    return tree.digest


def _path(part: _Part) -> str:
    return f"volume/{part.branch.clone}/{part.held.record.name}"


def _source(part: _Part, at: int | None) -> Source:
    exact = part.replay_to is not None
    moment = part.replay_to if part.replay_to is not None else part.branch.cut
    return Source(part.held.record.name, part.snapshot.short, moment, exact or at is None)


def _place_code(code: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    target.parent.chmod(0o711)
    shutil.rmtree(target, ignore_errors=True)
    code.rename(target)
