"""The cut: clones of branches at one instant each, laid out as a backup, and what they hold.

Clones are made by the same freeze, clone and thaw as a branch, so writers wait no longer than for
one. They lie in the volume under names that are nobody's branch: whatever a crash leaves of them is
swept when the node starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import stat
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from skerry import __version__
from skerry.kernel.catalogue import Branch, Catalogue
from skerry.kernel.clock import NANOSECONDS, Clock
from skerry.kernel.errors import CONFLICT, DISK_FULL, NOT_FOUND, SkerryError
from skerry.kernel.events import event_of
from skerry.kernel.manifest import Verb
from skerry.node.backup import digests
from skerry.node.backup.index import (
    CLONE,
    CUT,
    FILE,
    FORMAT,
    NODE,
    Held,
    HeldBranch,
    HeldVersion,
    Index,
    Scope,
    encode,
)
from skerry.node.folded_log import FILE as SNAPSHOT
from skerry.node.log_file import LogFile

if TYPE_CHECKING:
    from skerry.node.node import Node

ATTEMPTS = 5
_JUST_NOW = 2 * NANOSECONDS
"""A file that changed so shortly before the cut could change again and keep its time of change."""

_PASSING = frozenset({"cut", "cache", "tmp", "digests.sqlite", "changes", "changes.sqlite"})
"""What this service keeps for a while only."""

_NONE: frozenset[str] = frozenset()
_NOTHING: Mapping[str, str] = {}
_SQLITE = b"SQLite format 3\0"

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Cut:
    """What is ready to be backed up: what it is, and the paths below the home that hold it."""

    index: Index
    home: Path
    paths: tuple[str, ...]


@asynccontextmanager
async def cut(
    node: Node, scope: Scope, progress: Progress, left_out: Mapping[str, str] = _NOTHING
) -> AsyncIterator[Cut]:
    """Yield a cut of a scope, without the apps that are left out; clones are removed at the end.

    Raises NOT_FOUND if nothing is in the scope, CONFLICT if branches come and go too fast,
    DISK_FULL.
    """
    clones: list[str] = []
    place = node.home.root / CUT
    try:
        yield await _Cutter(node, scope, progress, clones, left_out).make(place)
    finally:
        for name in clones:
            with contextlib.suppress(SkerryError):
                # It is not there if the clone itself failed.
                await asyncio.to_thread(node.volume.delete, name)
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)


class _Cutter:
    """Makes one cut."""

    def __init__(
        self,
        node: Node,
        scope: Scope,
        progress: Progress,
        clones: list[str],
        left_out: Mapping[str, str],
    ) -> None:
        self._node = node
        self._scope = scope
        self._progress = progress
        self._clones = clones
        self._refused = left_out
        self._left_out = [f"{app}: {why}" for app, why in left_out.items()]

    async def make(self, place: Path) -> Cut:
        node = self._node
        await asyncio.to_thread(_fresh, place)
        for _ in range(ATTEMPTS):
            if not self._scope.app:
                await asyncio.to_thread(_copy_node, node, place / NODE)
                await _leave_out(place / NODE / "log" / "catalogue", self._refused, node.clock)
            wanted = self._wanted(await _fold(place / NODE, node))
            held = await self._clone_all(wanted)
            if held is not None:
                break
        else:
            raise CONFLICT("Branches come and go while they are backed up.", hint="Try again.")
        versions = self._versions(held)
        scope = self._scope
        index = Index(
            format=FORMAT,
            node=node.name,
            skerry=__version__,
            scope=str(self._scope),
            time=max(each.cut for each in held) if held else node.clock.now(),
            branches=tuple(held),
            versions=versions,
            left_out=tuple(self._left_out),
            secrets=dict(node.catalogue.app(scope.app).secrets) if scope.app else {},
        )
        await asyncio.to_thread((place / FILE).write_bytes, encode(index))
        return Cut(index, node.home.root, tuple(self._paths(index)))

    def _wanted(self, catalogue: Catalogue) -> list[Branch]:
        """Return the branches of the scope; raise NOT_FOUND if it names one that is not there."""
        scope = self._scope
        if scope.branch:
            branch = catalogue.branch(scope.app, scope.branch)
            if scope.resource:
                catalogue.record(scope.app, scope.branch, scope.resource)
            return [branch]
        apps = [catalogue.app(scope.app)] if scope.app else list(catalogue.apps.values())
        allowed = [app for app in apps if app.name not in self._refused]
        return [branch for app in allowed for branch in app.branches.values()]

    async def _clone_all(self, wanted: Iterable[Branch]) -> list[HeldBranch] | None:
        """Clone every branch; None if one has gone or changed its directory meanwhile."""
        held = []
        branches = list(wanted)
        for number, branch in enumerate(branches):
            self._progress(number, len(branches), f"copying {branch.app}/{branch.name}")
            try:
                held.append(await self._clone(branch))
            except SkerryError as error:
                if error.problem is not NOT_FOUND:
                    raise
                return None
        return held

    async def _clone(self, branch: Branch) -> HeldBranch:
        """Clone a branch unless that has been done; say what it holds."""
        node, name = self._node, f"{CLONE}{branch.directory}"
        began = node.clock.now()
        now = node.catalogue.branch(branch.app, branch.name)
        if now.directory != branch.directory:
            raise NOT_FOUND(f"{branch.app}/{branch.name} has another directory.")
        if name in self._clones:
            await asyncio.to_thread(node.volume.delete, name)
        else:
            self._clones.append(name)
        await node.branches.snapshot(now, name, self._progress)
        ended = node.clock.now()
        held = await asyncio.to_thread(self._look, now, name, began)
        return HeldBranch(
            app=branch.app,
            branch=branch.name,
            directory=branch.directory,
            parent=branch.parent,
            version=branch.version,
            created=branch.created,
            began=began,
            cut=ended,
            records=tuple(now.resources.values()),
            resources=held,
        )

    def _look(self, branch: Branch, name: str, began: int) -> tuple[Held, ...]:
        """Digest every resource of a clone that can be backed up."""
        top = self._node.volume.path(name)
        found = []
        memory = digests.Memory(self._node.home.service("backup") / "digests.sqlite")
        try:
            for away in branch.away.values():
                gone = away.record.name
                if self._scope.holds(branch.app, branch.name, gone):
                    where = f"it is on the node {away.node}: back it up there"
                    self._left_out.append(f"{branch.app}/{branch.name}/{gone}: {where}")
            for record in branch.resources.values():
                if not self._scope.holds(branch.app, branch.name, record.name):
                    continue
                manifest = self._node.manifests.get(record.kind)
                if manifest is None or not manifest.able(Verb.BACKUP):
                    why = manifest.can[Verb.BACKUP].reason if manifest else "Its kind is unknown."
                    self._left_out.append(f"{branch.app}/{branch.name}/{record.name}: {why}")
                    continue
                state = top / record.name
                if not state.is_dir():
                    found.append(Held(record))
                    continue
                _mark_recent(state, began - _JUST_NOW)
                tree = digests.of_tree(state, memory, f"{branch.directory}/{record.name}")
                found.append(Held(record, tree.files, tree.bytes, tree.digest))
        finally:
            memory.close()
        return tuple(found)

    def _versions(self, held: list[HeldBranch]) -> tuple[HeldVersion, ...]:
        """Return the versions that the branches serve and whose code is there."""
        wanted = sorted({(each.app, each.version) for each in held})
        found = []
        for app, version in wanted:
            known = self._node.catalogue.app(app).versions.get(version)
            if known is not None and self._node.workshop.code(app, version).exists():
                found.append(HeldVersion(app, version, known.digest, known.spec))
        return tuple(found)

    def _paths(self, index: Index) -> Iterable[str]:
        yield CUT
        for version in index.versions:
            yield f"apps/{version.app}/{version.version}"
        for branch in index.branches:
            yield from branch.paths


def _fresh(place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700, parents=True)


def _copy_node(node: Node, target: Path) -> None:
    """Copy what makes the node itself: keys, logs, settings, and what its services keep.

    A log that is being written ends in a torn tail, which is recovered; a SQLite file is copied by
    its own means.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(mode=0o700)
    home = node.home.root
    own = home / "services" / "backup"
    try:
        shutil.copytree(
            home / "services",
            target / "services",
            ignore=lambda folder, names: {
                *(_PASSING if Path(folder) == own else _NONE),
                *_snapshots(folder, names),
            },
            copy_function=_copy_file,
        )
        # After the services: what follows a log may lie behind its copy, never before it.
        for name in ("keys", "log"):
            shutil.copytree(home / name, target / name, ignore=_snapshots)
        settings = home / "config.toml"
        if settings.exists():
            shutil.copy2(settings, target / settings.name)
    except OSError as error:
        raise DISK_FULL("The node's keys and logs cannot be copied.", why=str(error)) from error


def _snapshots(_: str, names: Sequence[str]) -> set[str]:
    """Name the snapshot beside a log: it may be ahead of the log's copy, and is made again."""
    beside_log = any(name.endswith(".log") for name in names)
    return {SNAPSHOT} & set(names) if beside_log else set()


def _copy_file(source: str, target: str) -> None:
    """Copy a file of a service; a SQLite file as it is after its last commit."""
    name = Path(source).name
    if name.endswith(("-wal", "-shm", "-journal")) or not Path(source).is_file():
        return
    with open(source, "rb") as file:  # noqa: PTH123 (copytree's own words)
        is_database = file.read(len(_SQLITE)) == _SQLITE
    if not is_database:
        shutil.copy2(source, target)
        return
    import apsw  # noqa: PLC0415 (heavy: not before the first backup)

    with (
        closing(apsw.Connection(source, flags=apsw.SQLITE_OPEN_READONLY)) as origin,
        closing(apsw.Connection(target)) as copy,
        copy.backup("main", origin, "main") as backup,
    ):
        backup.step()
    shutil.copymode(source, target)


async def _leave_out(copied: Path, apps: Mapping[str, str], clock: Clock) -> None:
    """Write a copied catalogue anew without the apps that may not go: their code, their secrets."""
    if not apps:
        return
    bodies: list[bytes] = []
    log = await asyncio.to_thread(LogFile, copied, clock, bodies.append)
    await log.close()
    await asyncio.to_thread(_fresh, copied)
    kept = await asyncio.to_thread(LogFile, copied, clock, lambda _: None)
    for body in bodies:
        if event_of(body).app not in apps:
            await kept.append(body)
    await kept.close()


async def _fold(copied: Path, node: Node) -> Catalogue:
    """Return the catalogue that a copied log tells: the clones must be those of its branches."""
    if not await asyncio.to_thread(copied.is_dir):
        return node.catalogue
    catalogue = Catalogue()
    log = await asyncio.to_thread(
        LogFile, copied / "log" / "catalogue", node.clock, catalogue.apply
    )
    await log.close()
    return catalogue


def _mark_recent(root: Path, since: int) -> None:
    """Give files that changed just before the cut a time of change that is theirs alone.

    Else a change within the same tick of the clock after the cut would look like none to the next
    backup. Files that are shared by hard link never change.
    """
    for folder, _, files in os.walk(root):
        for name in files:
            place = os.path.join(folder, name)  # noqa: PTH118 (many files)
            status = os.lstat(place)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
                continue
            if status.st_mtime_ns >= since:
                os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
