"""Gathering what changed of a branch since a backup, beside the state and cheaply.

Of a kind with a journal (`Manifest.journal`), the files that were written since are copied while
the engine works. Of any other, the whole state is copied at one instant, if it changed and is small
enough; a larger one waits for the next backup. What is copied stays in the folder of changes until
a newer backup holds it, so that each look copies only what changed since the last.
"""

from __future__ import annotations

import asyncio
import errno
import fnmatch
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from skerry.kernel.catalogue import Branch, ResourceRecord
from skerry.kernel.clock import NANOSECONDS
from skerry.kernel.errors import DISK_FULL, ENGINE_FAILED, NOT_FOUND
from skerry.kernel.manifest import Verb
from skerry.node.backup import digests
from skerry.node.backup.changes import FOLDER, Changed, ChangedBranch
from skerry.node.backup.index import Held
from skerry.node.volume.copying import copy_file
from skerry.node.volume.tree import open_beneath

if TYPE_CHECKING:
    from skerry.node.node import Node

MEMORY = "changes.sqlite"
STATE_BYTES_MAX = 256 << 20
STATE_FILES_MAX = 10_000
_JUST_NOW = 2 * NANOSECONDS
"""How much older than a cut a file's time of change may be, though it changed after it."""

_SHARED_MEMORY = "-shm"
"""Of SQLite: it changes by mere reading, and is made anew."""

Signature = frozenset[tuple[str, int, int]]
"""Names, sizes and times of change of some files."""


@dataclass(slots=True)
class _Staged:
    """What lies in the folder of changes for one directory."""

    base: int
    journals: dict[str, Signature] = field(default_factory=dict)
    states: dict[str, Signature] = field(default_factory=dict)
    held: dict[str, Changed] = field(default_factory=dict)
    too_large: set[str] = field(default_factory=set)
    looks: int = 0
    settled: bool = True


@dataclass(frozen=True, slots=True)
class Gathered:
    """What changed of a branch; whether that is news, and whether another look would be none."""

    branch: ChangedBranch
    news: bool
    settled: bool


class Gatherer:
    """Gathers changes of branches into one folder; one call at a time."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.folder = node.home.root / FOLDER
        self._memory = self.folder.with_name(MEMORY)
        self._staged: dict[str, _Staged] = {}

    def clear(self) -> None:
        """Remove what an earlier run of the node left. Blocks."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._memory.unlink(missing_ok=True)
        self.folder.mkdir(mode=0o700, parents=True)
        self._staged.clear()

    def drop(self, directory: str) -> None:
        """Forget a directory. Blocks."""
        self._staged.pop(directory, None)
        shutil.rmtree(self.folder / directory, ignore_errors=True)

    def known(self) -> set[str]:
        """Return the directories of which something is kept."""
        return set(self._staged)

    async def gather(self, branch: Branch, base: int) -> Gathered:
        """Gather what changed since a backup.

        Raises NOT_FOUND if the branch has gone, DISK_FULL, ENGINE_FAILED.
        """
        staged = self._staged.get(branch.directory)
        if staged is None or staged.base != base:
            await asyncio.to_thread(self.drop, branch.directory)
            staged = self._staged[branch.directory] = _Staged(base)
        began = self._node.clock.now()
        staged.looks, staged.settled = staged.looks + 1, True
        before = dict(staged.held)
        try:
            await asyncio.to_thread(self._journals, branch, staged, began - _JUST_NOW)
            changed = await asyncio.to_thread(self._changed_states, branch, staged)
            if changed:
                await self._copy_states(branch, staged, changed, began - _JUST_NOW)
        except OSError as error:
            # What is half copied is copied anew.
            await asyncio.to_thread(self.drop, branch.directory)
            if isinstance(error, FileNotFoundError):
                raise NOT_FOUND(f"{branch.app}/{branch.name} has gone.", why=str(error)) from error
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise (DISK_FULL if full else ENGINE_FAILED)(
                f"What changed of {branch.app}/{branch.name} cannot be copied.", why=str(error)
            ) from error
        found = ChangedBranch(
            app=branch.app,
            branch=branch.name,
            directory=branch.directory,
            base=base,
            began=began,
            cut=self._node.clock.now(),
            version=branch.version,
            records=tuple(branch.resources.values()),
            resources=tuple(staged.held.values()),
            left_out=tuple(sorted(staged.too_large)),
        )
        return Gathered(found, staged.held != before, staged.settled)

    def _kept(self, branch: Branch, *, journal: bool) -> Iterator[tuple[ResourceRecord, Path]]:
        """Yield the resources of a branch that are backed up and have a state, of one sort."""
        top = self._node.volume.path(branch.directory)
        for record in branch.resources.values():
            manifest = self._node.manifests.get(record.kind)
            if manifest is None or not manifest.able(Verb.BACKUP) or not manifest.keeps_state:
                continue
            if bool(manifest.journal) == journal and (top / record.name).is_dir():
                yield record, top / record.name

    # ---- journals ------------------------------------------------------------------------------

    def _journals(self, branch: Branch, staged: _Staged, recent: int) -> None:
        """Copy the files of journals that were written since the backup.

        One that was written just now is copied at the next look too: within one tick of the clock
        it could change again and keep its time of change.
        """
        for record, state in self._kept(branch, journal=True):
            patterns = self._node.manifests[record.kind].journal
            target = self.folder / branch.directory / record.name
            before = staged.journals.get(record.name, frozenset())
            fresh = frozenset(_written(state, patterns, staged.base - _JUST_NOW)) - before
            if not fresh:
                continue
            _copy_journal(state, target, fresh, staged.looks)
            settled = frozenset(each for each in fresh if each[2] < recent)
            staged.settled = staged.settled and settled == fresh
            staged.journals[record.name] = before | settled
            staged.held[record.name] = Changed(self._digested(branch, record), journal=True)

    # ---- whole states --------------------------------------------------------------------------

    def _changed_states(self, branch: Branch, staged: _Staged) -> dict[str, Signature]:
        """Return the small states that are not as at the last look, or not as in the backup."""
        found = {}
        for record, state in self._kept(branch, journal=False):
            if record.name in staged.too_large:
                continue
            signature = _signature(state)
            if signature is None:
                staged.too_large.add(record.name)
                staged.held.pop(record.name, None)
                continue
            before = staged.states.get(record.name)
            fresh = before is None and any(e[2] >= staged.base - _JUST_NOW for e in signature)
            if fresh or (before is not None and before != signature):
                found[record.name] = signature
        return found

    async def _copy_states(
        self, branch: Branch, staged: _Staged, changed: dict[str, Signature], recent: int
    ) -> None:
        """Copy states that changed, at one instant; just changed ones at the next look too."""
        top = self.folder / branch.directory
        for name in changed:
            await asyncio.to_thread(shutil.rmtree, top / name, ignore_errors=True)
        await asyncio.to_thread(top.mkdir, mode=0o700, exist_ok=True)
        await self._node.branches.copy_states(branch, frozenset(changed), top)
        for name, signature in changed.items():
            await asyncio.to_thread(_mark, top / name, staged.looks)
            held = await asyncio.to_thread(self._digested, branch, branch.resources[name])
            staged.held[name] = Changed(held, journal=False)
            settled = all(each[2] < recent for each in signature)
            staged.settled = staged.settled and settled
            staged.states[name] = signature if settled else frozenset()

    def _digested(self, branch: Branch, record: ResourceRecord) -> Held:
        """Return what lies in the folder of changes for a resource; only new files are read."""
        place = f"{branch.directory}/{record.name}"
        memory = digests.Memory(self._memory)
        try:
            tree = digests.of_tree(self.folder / place, memory, place)
        finally:
            memory.close()
        return Held(record, tree.files, tree.bytes, tree.digest)


def _written(state: Path, patterns: tuple[str, ...], since: int) -> Iterator[tuple[str, int, int]]:
    """Yield the files of a journal that were written since a moment.

    The state belongs to whoever runs in the cell, so no symbolic link below it is followed.
    """
    root = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        for pattern in patterns:
            folder = str(PurePosixPath(pattern).parent)
            try:
                opened = open_beneath(root, folder, os.O_RDONLY | os.O_DIRECTORY)
            except OSError:
                # It is not there yet: nothing was written.
                continue
            try:
                for name in os.listdir(opened):  # noqa: PTH208 (of what is open)
                    if not fnmatch.fnmatchcase(name, PurePosixPath(pattern).name):
                        continue
                    status = _status(name, opened)
                    if status and stat.S_ISREG(status.st_mode) and status.st_mtime_ns >= since:
                        yield f"{folder}/{name}", status.st_size, status.st_mtime_ns
            finally:
                os.close(opened)
    finally:
        os.close(root)


def _copy_journal(state: Path, target: Path, files: Signature, look: int) -> None:
    """Copy files while they may be written or removed; what vanished is in a later one.

    The number of the look goes into their times of change, so that two copies never look alike.
    """
    root = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        for relative, _, mtime in sorted(files):
            place = target / relative
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                source = open_beneath(root, relative, os.O_RDONLY | os.O_NONBLOCK)
            except FileNotFoundError:
                continue
            try:
                place.unlink(missing_ok=True)
                copy = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                try:
                    copy_file(source, copy, _uncounted)
                finally:
                    os.close(copy)
            finally:
                os.close(source)
            os.utime(place, ns=(mtime + look, mtime + look))
    finally:
        os.close(root)


def _mark(root: Path, look: int) -> None:
    """Put the number of the look into times of change, so that two copies never look alike."""
    for folder, _, files in os.walk(root):
        for name in files:
            place = os.path.join(folder, name)  # noqa: PTH118 (many files)
            status = os.lstat(place)
            if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
                changed = status.st_mtime_ns + look
                os.utime(place, ns=(changed, changed))


def _signature(state: Path) -> Signature | None:
    """Return what tells a state's changes; None if it is too large to be copied at every look."""
    found: set[tuple[str, int, int]] = set()
    total = 0
    for folder, _, files in os.walk(state):
        status = os.lstat(folder)
        found.add((folder, 0, status.st_mtime_ns))
        for name in files:
            if name.endswith(_SHARED_MEMORY):
                continue
            place = os.path.join(folder, name)  # noqa: PTH118 (many files)
            try:
                status = os.lstat(place)
            except FileNotFoundError:
                continue
            total += status.st_size
            found.add((place, status.st_size, status.st_mtime_ns))
            if total > STATE_BYTES_MAX or len(found) > STATE_FILES_MAX:
                return None
    return frozenset(found)


def _status(name: str, directory: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _uncounted(_count: int) -> None:
    """Count nothing."""
