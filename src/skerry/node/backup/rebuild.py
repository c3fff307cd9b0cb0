"""Rebuild a lost machine: a home, complete, from a store and the recovery key alone.

Everything is fetched beside the home and takes its place by one rename when it is whole, so that an
interrupted rebuild leaves nothing and is simply run again.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from skerry.kernel.catalogue import Catalogue
from skerry.kernel.clock import SystemClock
from skerry.kernel.errors import CONFLICT, DISK_FULL, NOT_FOUND, SkerryError
from skerry.kernel.kind import RECOVER_FILE, Recover
from skerry.node.archives import give
from skerry.node.backup import recovery_key, restic
from skerry.node.backup.destination import Destination
from skerry.node.backup.history import History, Saved, encode
from skerry.node.backup.index import CUT, NODE, Held, HeldBranch, Index
from skerry.node.backup.onward import lay_over, onward
from skerry.node.backup.plan import STORES
from skerry.node.backup.rate import Rate
from skerry.node.backup.repository import Repository, Snapshot
from skerry.node.backup.restore import verify
from skerry.node.home import write_secret
from skerry.node.log_file import LogFile
from skerry.node.sandbox import identities
from skerry.node.volume import Volume, open_volume

Progress = Callable[[int, int, str], None]

_ROOM_BYTES = 64 << 20
_BRANCH_MODE = 0o711


class Rebuilt(msgspec.Struct, frozen=True):
    """A home that was rebuilt."""

    home: str
    node: str
    snapshot: str
    cut: int
    branches: int
    files: int
    bytes: int
    seconds: float


async def rebuild(home: Path, key: str, at: int | None, progress: Progress) -> Rebuilt:
    """Make a home from the newest backup of the whole node, or the last one before a moment.

    Raises INVALID for a damaged key, CONFLICT if the home holds something, NOT_FOUND without a
    backup, CORRUPT if anything is not as it was backed up, and what the store raises.
    """
    clock = SystemClock()
    started = clock.monotonic()
    stores = recovery_key.decode(key)
    if await asyncio.to_thread(_holds_something, home):
        raise CONFLICT(
            f"{home} holds something already.",
            why="A node is rebuilt into an empty home only.",
            hint="skerry restore --onto-new-node --home <directory>",
        )
    staging = home.with_name(f"{home.name}.restoring")
    await asyncio.to_thread(shutil.rmtree, staging, ignore_errors=True)
    staging.mkdir(parents=True, mode=_BRANCH_MODE)
    staging.chmod(_BRANCH_MODE)
    try:
        source = await _open(stores, staging, at)
        index = await source.repository.index(source.snapshot.id)
        reached = await _Rebuilding(staging, source, index, at, progress).run()
        await asyncio.to_thread(_take_place, staging, home)
    except BaseException:
        await asyncio.to_thread(shutil.rmtree, staging, ignore_errors=True)
        raise
    held = [each for branch in index.branches for each in branch.resources]
    return Rebuilt(
        home=str(home),
        node=index.node,
        snapshot=source.snapshot.short,
        cut=reached,
        branches=len(index.branches),
        files=sum(each.files for each in held),
        bytes=index.bytes,
        seconds=round(clock.monotonic() - started, 3),
    )


class _Source(msgspec.Struct, frozen=True):
    """A store that answers, which of the two it is, and the backup that is taken from it."""

    store: str
    repository: Repository
    snapshot: Snapshot


async def _open(stores: list[Destination], staging: Path, at: int | None) -> _Source:
    """Return the first store that holds a backup of the whole node; raise what the last one did."""
    program = await restic.version(restic.find())
    failure: SkerryError = NOT_FOUND("The recovery key names no store.")
    for name, store in zip(STORES, stores, strict=False):
        folder = staging / "services" / "backup" / "rebuild"
        folder.mkdir(parents=True, exist_ok=True)
        write_secret(folder / "password", store.password.encode())
        places = restic.Places(folder / "password", folder / "cache", folder / "tmp")
        places.make()
        clock = SystemClock()
        rate = Rate(store.requests_per_second, clock) if store.requests_per_second else None
        repository = Repository(restic.Restic(program, store, places, rate), store, clock)
        try:
            found = await repository.snapshots()
        except SkerryError as error:
            failure = error
            continue
        whole = [e for e in found if e.scope == "node" and (at is None or e.time <= at)]
        if whole:
            return _Source(name, repository, whole[-1])
        failure = NOT_FOUND(
            f"{store.url} holds no backup of a whole node{' that old' if at else ''}.",
            why=f"It holds {len(found)} others." if found else "",
        )
    raise failure


class _Rebuilding:
    """Fetches one home into a folder."""

    def __init__(
        self, staging: Path, source: _Source, index: Index, at: int | None, progress: Progress
    ) -> None:
        self._at = at
        self._staging = staging
        self._source = source
        self._index = index
        self._progress = progress

    async def run(self) -> int:
        """Fetch, verify and arrange everything; return the moment of what is newest."""
        free = shutil.disk_usage(self._staging).free
        if free < self._index.bytes + _ROOM_BYTES:
            raise DISK_FULL(
                f"The node needs {self._index.bytes >> 20} MiB and {free >> 20} MiB are free.",
                why="Nothing was fetched.",
            )
        place = self._staging / "volume"
        place.mkdir()
        volume = await asyncio.to_thread(open_volume, place, None)
        for branch in self._index.branches:
            await asyncio.to_thread(volume.create, branch.clone)
        await self._source.repository.restore(
            self._source.snapshot.id,
            list(self._paths()),
            self._staging,
            self._progress,
            total=self._index.bytes,
            locks=False,
        )
        for number, branch in enumerate(self._index.branches):
            self._progress(number, len(self._index.branches), f"verifying {branch.app}")
            await asyncio.to_thread(self._arrange, volume, branch)
        newest = [self._index.time]
        for branch in self._index.branches:
            newest += await self._go_on(volume.path(branch.directory), branch)
        await self._settle_node()
        return max(newest)

    def _paths(self) -> list[str]:
        found = [CUT, *(f"apps/{e.app}/{e.version}" for e in self._index.versions)]
        for branch in self._index.branches:
            found += branch.paths
        return found

    def _arrange(self, volume: Volume, branch: HeldBranch) -> None:
        """Verify the state of a branch and give it the name that the catalogue knows."""
        top = volume.path(branch.clone)
        for held in branch.resources:
            if held.digest:
                verify(top / held.record.name, held)
        top.chmod(_BRANCH_MODE)
        top.rename(volume.path(branch.directory))

    async def _go_on(self, top: Path, branch: HeldBranch) -> list[int]:
        """Take a branch on with what was sent after the backup; return the moments reached.

        A journal is laid over its state and replayed by the engine at its first start.
        """
        moments = []
        for name, after in (await onward(self._source.repository, branch, self._at)).items():
            state, place = top / name, top / ".arriving"
            if after.journal and not state.is_dir():
                continue
            await self._source.repository.restore(
                after.fetch.snapshot, [after.fetch.path], place, self._progress, locks=False
            )
            await asyncio.to_thread(verify, place / after.fetch.path, after.fetch.held)
            if not after.journal:
                await asyncio.to_thread(shutil.rmtree, state, ignore_errors=True)
            await asyncio.to_thread(lay_over, place / after.fetch.path, state)
            await asyncio.to_thread(shutil.rmtree, place)
            if after.journal:
                wish = msgspec.json.encode(Recover(after.moment, or_stay=True))
                await asyncio.to_thread((state / RECOVER_FILE).write_bytes, wish)
            moments.append(after.moment)
        return moments

    async def _settle_node(self) -> None:
        """Put keys, logs and settings in their place, and give each app's state to its user."""
        staging = self._staging
        own = staging / CUT / NODE
        await asyncio.to_thread(_move_all, own, staging)
        await asyncio.to_thread(_keep_name, staging / "config.toml", self._index.node)
        catalogue = Catalogue()
        log = await asyncio.to_thread(
            LogFile, staging / "log" / "catalogue", SystemClock(), catalogue.apply
        )
        await log.close()
        await asyncio.to_thread(self._give, catalogue)
        await self._note_backup()
        for name in ("cut", "rebuild"):
            await asyncio.to_thread(
                shutil.rmtree, staging / "services" / "backup" / name, ignore_errors=True
            )

    async def _note_backup(self) -> None:
        """Put the backup itself on record: what it holds was copied before it was complete."""
        held = [each for branch in self._index.branches for each in branch.resources]
        event = Saved(
            store=self._source.store,
            scope=self._index.scope,
            snapshot=self._source.snapshot.short,
            cut=self._index.time,
            time=self._index.time,
            seconds=0.0,
            bytes=self._index.bytes,
            added=0,
            files=sum(each.files for each in held),
        )
        folder = self._staging / "services" / "backup" / "log"
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        log = await asyncio.to_thread(LogFile, folder, SystemClock(), History().apply)
        await log.append(encode(event))
        await log.close()

    def _give(self, catalogue: Catalogue) -> None:
        """Let each app's user own its state: user ids are this machine's."""
        users = identities()
        apps = self._staging / "apps"
        for each in (apps, *apps.iterdir()) if apps.exists() else ():
            each.chmod(_BRANCH_MODE)
        if users is None:
            return
        for branch in self._index.branches:
            uid = users.identity(catalogue.app(branch.app).index).uid
            for held in branch.resources:
                state = _state(self._staging, branch, held)
                if state.is_dir():
                    give(state, uid)


def _state(staging: Path, branch: HeldBranch, held: Held) -> Path:
    return staging / "volume" / branch.directory / held.record.name


def _move_all(source: Path, target: Path) -> None:
    """Move what lies in one folder into another, into folders that are there already too."""
    for each in sorted(source.iterdir()):
        place = target / each.name
        if each.is_dir() and place.is_dir():
            _move_all(each, place)
        else:
            each.rename(place)


def _keep_name(file: Path, name: str) -> None:
    """Keep the node's name, which else would be made from the new machine's."""
    text = file.read_text() if file.exists() else ""
    lines = text.partition("\n[")[0].splitlines()
    if not any(line.split("=")[0].strip() == "name" for line in lines):
        file.write_text(f'name = "{name}"\n{text}')


def _holds_something(home: Path) -> bool:
    return home.exists() and any(home.iterdir())


def _take_place(staging: Path, home: Path) -> None:
    """Make the staged home the home, durable."""
    os.sync()
    if home.exists():
        home.rmdir()
    staging.rename(home)
