"""Restores beside the living: a branch that is what a branch was at a moment.

Each resource comes from the copy that gets closest to the moment. A kind that can go back in time
by itself (`Verb.BRANCH_AT`) is replayed to it, to the exact commit: from the last backup before
with the journal that was sent since, or from the first backup after. Any other is as it was in the
last backup before, or in the changes that were sent after that.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from skerry.kernel import events
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
from skerry.node.backup.onward import Fetch, Onward, lay_over, onward
from skerry.node.backup.repository import Repository, Snapshot

if TYPE_CHECKING:
    from skerry.node.node import Node

_ARRIVING = ".arriving"
"""Where fetched files lie in a new branch's directory until they are compared."""

_ROOM_BYTES = 64 << 20
"""What must be free besides the state itself."""

Progress = Callable[[int, int, str], None]


class Wish(msgspec.Struct, frozen=True):
    """What is to be brought back: a branch as a new branch; one resource of it, or all.

    With a `snapshot`, it is that backup alone; unless `onward`, which goes on from there.
    """

    app: str
    branch: str
    as_branch: str
    resource: str = ""
    at: int | None = None
    snapshot: str = ""
    onward: bool = False


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
    """A resource to be restored: its state, the journal laid over it, replayed to which moment."""

    state: Fetch
    moment: int
    journal: Fetch | None = None
    replay_to: int | None = None
    exact: bool = False

    @property
    def name(self) -> str:
        """The resource's name."""
        return self.state.held.record.name

    @property
    def fetches(self) -> list[Fetch]:
        """What is fetched of it, the state first; nothing of a resource without a state."""
        found = [self.state] if self.state.held.digest else []
        return [*found, *([self.journal] if self.journal else [])]


@dataclass(frozen=True, slots=True)
class _Choice:
    """All that a restore takes: the backup of the branch, and a part for each resource."""

    branch: HeldBranch
    snapshot: Snapshot
    parts: tuple[_Part, ...]

    @property
    def replays(self) -> bool:
        """Whether any of it is replayed."""
        return any(part.replay_to is not None for part in self.parts)


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
        choice = await self._choose(wish)
        try:
            return await self._bring(wish, choice, started, progress)
        except SkerryError as error:
            if error.problem is not CONFLICT or not choice.replays:
                raise
        progress(0, 0, "the moment is out of reach of the log; taking the backup before it")
        choice = await self._choose(wish, replay=False)
        return await self._bring(wish, choice, started, progress)

    async def _choose(self, wish: Wish, *, replay: bool = True) -> _Choice:
        """Choose where every resource comes from; raise NOT_FOUND if there is no backup."""
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
        if last is not None and first is not None and last.directory != first.directory:
            # The branch was replaced in between: what came later has another past.
            first = None
        parts: dict[str, _Part] = {}
        if first is not None:
            parts |= self._replayed(first, after[0], wish)
        if last is not None:
            more: dict[str, Onward] = {}
            if wish.onward or not wish.snapshot:
                more = await onward(self._repository, last, at)
            for held in last.resources:
                if held.record.name not in parts and wish.resource in ("", held.record.name):
                    part = self._part(last, before[-1], held, more, at, replay=replay)
                    parts[held.record.name] = part
        branch, snapshot = (last, before[-1:]) if last is not None else (first, after[:1])
        if branch is None or not parts:
            raise NOT_FOUND(
                f"No backup of {wish.app}/{wish.branch} is old enough.",
                why="Only a kind that keeps its log can be taken back from a later one.",
                hint="skerry backup list",
            )
        return _Choice(branch, snapshot[0], tuple(parts.values()))

    def _replayed(self, first: HeldBranch, snapshot: Snapshot, wish: Wish) -> dict[str, _Part]:
        """Return the parts that are taken from a backup after the moment, and replayed to it."""
        found = {}
        for held in first.resources:
            if wish.resource in ("", held.record.name) and self._replays(held):
                assert wish.at is not None, "there is an after"
                state = _of_backup(first, snapshot, held)
                found[held.record.name] = _Part(state, wish.at, None, wish.at, True)
        return found

    def _part(
        self,
        last: HeldBranch,
        snapshot: Snapshot,
        held: Held,
        more: Mapping[str, Onward],
        at: int | None,
        *,
        replay: bool,
    ) -> _Part:
        """Return the part of a resource from the backup before the moment and what goes on."""
        state, latest = _of_backup(last, snapshot, held), at is None
        after = more.get(held.record.name)
        if after is not None and not after.journal:
            return _Part(after.fetch, after.moment, exact=latest)
        if after is not None and replay and self._replays(held):
            exact = after.reached or latest
            return _Part(state, after.moment, after.fetch, after.moment, exact)
        return _Part(state, last.cut, exact=latest)

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
        self, wish: Wish, choice: _Choice, started: float, progress: Progress
    ) -> Restored:
        node = self._node
        fetches = [each for part in choice.parts for each in part.fetches]
        total = sum(each.held.bytes for each in fetches)
        self._need_room(total)
        directory = await node.branches.make_directory(wish.app)
        try:
            found = await self._fetch(directory, choice.parts, total, progress)
            records = await self._register(wish, directory, choice, progress)
        except BaseException:
            await asyncio.to_thread(node.volume.delete, directory)
            raise
        await self._replay(wish, choice.parts)
        names = {part.name for part in choice.parts}
        return Restored(
            sources=tuple(_source(part) for part in choice.parts),
            empty=tuple(sorted(self._stateful(records) - names)),
            seconds=round(node.clock.monotonic() - started, 3),
            files=sum(each.held.files for each in fetches),
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
        """Fetch all of every part into a new directory, and compare it with what was sent."""
        top = self._node.volume.path(directory)
        found: dict[str, str] = {}
        fetches = [(part.name, each) for part in parts for each in part.fetches]
        for snapshot in dict.fromkeys(each.snapshot for _, each in fetches):
            mine = [(name, each) for name, each in fetches if each.snapshot == snapshot]
            paths = [each.path for _, each in mine]
            place = top / _ARRIVING / snapshot
            await asyncio.to_thread(place.mkdir, parents=True)
            await self._repository.restore(snapshot, paths, place, progress, total=total)
            for _, each in mine:
                await asyncio.to_thread(verify, place / each.path, each.held)
        for name, each in fetches:
            place = top / _ARRIVING / each.snapshot / each.path
            await asyncio.to_thread(lay_over, place, top / name)
            found[f"{name}: changes" if name in found else name] = each.held.digest
        await asyncio.to_thread(shutil.rmtree, top / _ARRIVING, ignore_errors=True)
        return found

    async def _register(
        self, wish: Wish, directory: str, choice: _Choice, progress: Progress
    ) -> tuple[ResourceRecord, ...]:
        """Enter the branch in the catalogue; only now does it exist."""
        node = self._node
        branch = choice.branch
        index = await self._index(choice.snapshot)
        version = await self._version(index, branch, choice.snapshot, progress)
        records = tuple(
            ResourceRecord(node.branches.new_id(), each.lineage, each.kind, each.name)
            for each in branch.records
        )
        top = node.volume.path(directory)
        owner = node.workshop.uid(wish.app)
        for part in choice.parts:
            state = top / part.name
            if not part.fetches:
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
                    await node.supervisor.ready(wish.app, wish.as_branch, part.name)
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


def _of_backup(branch: HeldBranch, snapshot: Snapshot, held: Held) -> Fetch:
    return Fetch(snapshot.id, f"volume/{branch.clone}/{held.record.name}", held)


def _source(part: _Part) -> Source:
    last = part.journal or part.state
    return Source(part.name, last.snapshot[:12], part.moment, part.exact)


def _place_code(code: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    target.parent.chmod(0o711)
    shutil.rmtree(target, ignore_errors=True)
    code.rename(target)
