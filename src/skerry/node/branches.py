"""Branches: copying, replacing and deleting whole environments at one instant."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from skerry.kernel import events
from skerry.kernel.catalogue import Branch, Catalogue, ResourceRecord
from skerry.kernel.clock import Clock, Entropy
from skerry.kernel.errors import ALREADY_EXISTS, CONFLICT, NOT_FOUND, UNSUPPORTED, SkerryError
from skerry.kernel.kind import RECOVER_FILE, Recover
from skerry.kernel.log import Log
from skerry.kernel.manifest import Manifest, Verb
from skerry.kernel.names import MAIN, check_name
from skerry.node.abroad import Abroad
from skerry.node.archives import give
from skerry.node.cells import Cell, Running
from skerry.node.keys.at_rest import AtRest
from skerry.node.keys.ring import OpenKey
from skerry.node.supervisor import Supervisor
from skerry.node.together import together
from skerry.node.volume import Immutable, Volume
from skerry.node.volume.copying import copy_file
from skerry.node.volume.tree import TreeCopy
from skerry.node.workshop import Workshop

FREEZE_SECONDS = 600.0

Progress = Callable[[int, int, str], None]

_log = logging.getLogger(__name__)


class Branches:
    """What can be done to branches; every change is in the catalogue before it is acknowledged."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        log: Log,
        manifests: Mapping[str, Manifest],
        supervisor: Supervisor,
        workshop: Workshop,
        volume: Volume,
        clock: Clock,
        entropy: Entropy,
        at_rest: AtRest,
        abroad: Abroad,
        on_copied: Callable[[], None],
    ) -> None:
        self._abroad = abroad
        self._on_copied = on_copied
        self._catalogue = catalogue
        self._log = log
        self._manifests = manifests
        self._supervisor = supervisor
        self._workshop = workshop
        self._volume = volume
        self._clock = clock
        self._entropy = entropy
        self._at_rest = at_rest
        self._changing: set[tuple[str, str]] = set()

    @contextmanager
    def _change(self, app: str, *names: str) -> Iterator[None]:
        """Let nobody else make, replace or delete these branches meanwhile. Raises CONFLICT."""
        places = {(app, name) for name in names}
        if places & self._changing:
            raise CONFLICT(
                f"{' or '.join(sorted(names))} of {app} is being changed already.",
                hint=f"skerry branch list --app {app}",
            )
        self._changing |= places
        try:
            yield
        finally:
            self._changing -= places

    @asynccontextmanager
    async def held(self, app: str) -> AsyncIterator[list[Branch]]:
        """Yield the branches of an app, which nobody changes, makes or deletes meanwhile."""
        names = list(self._catalogue.app(app).branches)
        with self._change(app, *names):
            yield [self._catalogue.branch(app, name) for name in names]

    def is_changing(self, app: str) -> bool:
        """Tell whether somebody is changing a branch of an app just now."""
        return any(place[0] == app for place in self._changing)

    @asynccontextmanager
    async def copied(
        self, branch: Branch, progress: Progress, only: str = ""
    ) -> AsyncIterator[Path]:
        """Yield a copy of a branch's directory, of one instant; it is removed at the end.

        With `only`, that resource is in it, and where a copy takes time no other is copied.
        """
        if only and not self._volume.atomic:
            directory = await self.make_directory(branch.app)
        else:
            directory = await self._clone(branch, progress)
        try:
            if only and not self._volume.atomic:
                state = self._volume.path(branch.directory) / only
                if await asyncio.to_thread(state.is_dir):
                    target = self._volume.path(directory)
                    await self.copy_states(branch, frozenset({only}), target)
            yield self._volume.path(directory)
        finally:
            await asyncio.to_thread(self._volume.delete, directory)

    async def sweep(self) -> int:
        """Delete the directories that no branch has: a crash left them. Returns how many."""
        found = await asyncio.to_thread(self._volume.names)
        left = [name for name in found if not self._catalogue.has_directory(name)]
        for name in left:
            await asyncio.to_thread(self._volume.delete, name)
        for branch in self._catalogue.branches():
            await self.clear_away(branch)
        return len(left)

    async def clear_away(self, branch: Branch) -> None:
        """Remove what resources that are on other nodes have left here."""
        for name in branch.away:
            place = self._volume.path(branch.directory) / name
            # Two who find out at once where it is may both clear.
            with contextlib.suppress(FileNotFoundError):
                await asyncio.to_thread(shutil.rmtree, place)

    def new_id(self) -> str:
        """Return an id for a directory or a resource: 16 hexadecimal digits."""
        return self._entropy.bytes(8).hex()

    def new_record(self, kind: str, name: str) -> ResourceRecord:
        """Return the record of a resource that nobody has had before."""
        resource_id = self.new_id()
        return ResourceRecord(resource_id, resource_id, kind, name)

    async def make_directory(self, app: str, brought: OpenKey | None = None) -> str:
        """Make the directory of a branch without a parent; return its name.

        `brought` is the data key of an app that is on its way here and has none here yet.
        """
        directory = self.new_id()
        key = await self._at_rest.key_of(app, brought)
        await asyncio.to_thread(self._volume.create, directory, key)
        return directory

    async def create(
        self, app: str, name: str, source: str, moment: int | None, progress: Progress
    ) -> Branch:
        """Copy a branch, as it is or as it was, with all its resources."""
        check_name(name, "a branch")
        with self._change(app, name):
            return await self._create(app, name, source, moment, progress)

    async def _create(
        self, app: str, name: str, source: str, moment: int | None, progress: Progress
    ) -> Branch:
        self._abroad.check_own(app, "A branch")
        parent = self._catalogue.branch(app, source)
        self._abroad.check_whole(parent, "A copy")
        if name in self._catalogue.app(app).branches:
            raise ALREADY_EXISTS(
                f"{app} has a branch {name} already.",
                hint=f"skerry branch reset {name}, or skerry branch delete {name}",
            )
        if moment is not None:
            self._check_moment(parent)
            await self._check_reached(parent, moment)
        directory = await self._clone(parent, progress)
        records = tuple(
            ResourceRecord(self.new_id(), each.lineage, each.kind, each.name)
            for each in parent.resources.values()
        )
        try:
            if moment is not None:
                await asyncio.to_thread(self._ask_to_recover, parent, directory, moment)
            event = events.BranchCreated(
                app=app,
                branch=name,
                directory=directory,
                parent=source,
                version=parent.version,
                resources=records,
                time=self._clock.now(),
            )
            await self._log.append(events.encode(event))
            branch = self._catalogue.branch(app, name)
        except BaseException:
            await asyncio.to_thread(self._volume.delete, directory)
            raise
        if moment is not None:
            await self._recover(app, name)
        return branch

    async def _recover(self, app: str, name: str) -> None:
        """Start what goes back in time, so that a moment out of reach leaves no branch behind."""
        branch = self._catalogue.branch(app, name)
        try:
            for record in self._catalogue.declared(branch):
                if self._manifests[record.kind].able(Verb.BRANCH_AT):
                    await self._supervisor.ready(app, name, record.name)
        except BaseException:
            await self._delete(branch)
            raise

    def _check_moment(self, parent: Branch) -> None:
        unable = [
            f"{each.name} ({each.kind})"
            for each in parent.resources.values()
            if not self._manifests[each.kind].able(Verb.BRANCH_AT)
            and self._manifests[each.kind].keeps_state
        ]
        if unable:
            raise UNSUPPORTED(
                "Not every resource can go back to a past moment.",
                why=f"These cannot: {', '.join(unable)}.",
                hint="skerry branch create <name>",
            )

    async def _check_reached(self, parent: Branch, moment: int) -> None:
        """Raise CONFLICT if an engine that runs cannot reach a moment.

        Copying holds the engines, and gives up what they were doing to reach more.
        """
        cell = self._supervisor.cell(parent.app, parent.name)
        await together(
            each.channel.call("check_moment", moment)
            for each in cell.processes.values()
            if each.usable and self._keeps_state(each)
        )
        self._supervisor.forget_if_empty(cell)

    def _ask_to_recover(self, parent: Branch, directory: str, moment: int) -> None:
        """Tell each engine of a copy to go back to a moment when it starts."""
        owner = self._workshop.uid(parent.app)
        for record in parent.resources.values():
            if self._manifests[record.kind].able(Verb.BRANCH_AT):
                file = self._volume.path(directory) / record.name / RECOVER_FILE
                file.write_bytes(msgspec.json.encode(Recover(moment)))
                give(file.parent, owner, deep=False)
                give(file, owner, deep=False)

    async def _clone(self, source: Branch, progress: Progress) -> str:
        """Copy the directory of a branch at one instant; return the copy's name."""
        target = self.new_id()
        try:
            await self._copy(source, target, progress)
        except BaseException:
            with contextlib.suppress(SkerryError):
                # A clone that failed has left nothing to delete.
                await asyncio.to_thread(self._volume.delete, target)
            raise
        return target

    async def snapshot(self, source: Branch, target: str, progress: Progress) -> None:
        """Copy a branch's directory at one instant, for a backup; no branch comes of it.

        The copy is the caller's to delete; at the node's start it is swept. Raises NOT_FOUND if the
        branch has gone.
        """
        await self._copy(source, target, progress)

    async def _copy(self, source: Branch, target: str, progress: Progress) -> None:
        cell = self._supervisor.cell(source.app, source.name)
        loop = asyncio.get_running_loop()

        def report(done: int, total: int) -> None:
            loop.call_soon_threadsafe(progress, done, total, "copying")

        async with cell.lock, self._frozen(cell) as thaw:
            await asyncio.to_thread(
                self._volume.clone,
                self._catalogue.branch(source.app, source.name).directory,
                target,
                immutable=self._immutable(source),
                progress=report,
                copied=lambda: asyncio.run_coroutine_threadsafe(thaw(), loop).result(),
            )
        self._supervisor.forget_if_empty(cell)
        self._on_copied()

    async def copy_states(self, source: Branch, names: frozenset[str], target: Path) -> None:
        """Copy the states of some resources, at one instant, into folders of their names.

        Only these are held meanwhile. Raises NOT_FOUND if the branch has another directory now.
        """
        cell = self._supervisor.cell(source.app, source.name)
        async with cell.lock:
            now = self._catalogue.branch(source.app, source.name)
            if now.directory != source.directory:
                raise NOT_FOUND(f"{source.app}/{source.name} has another directory.")
            async with self._frozen(cell, names):
                await asyncio.to_thread(self._copy_states, source, names, target)
        self._supervisor.forget_if_empty(cell)

    def _copy_states(self, source: Branch, names: frozenset[str], target: Path) -> None:
        top, immutable = self._volume.path(source.directory), self._immutable(source)
        for name in sorted(names):
            within = partial(_below, immutable, name)
            TreeCopy(top / name, target / name, copy_file, within, _untold).run()

    def _immutable(self, branch: Branch) -> Callable[[PurePosixPath], bool]:
        """Tell the volume which folders hold files that never change."""
        folders = {
            PurePosixPath(record.name, folder)
            for record in branch.resources.values()
            for folder in self._manifests[record.kind].immutable
        }
        return lambda path: any(path == each or each in path.parents for each in folders)

    @asynccontextmanager
    async def _frozen(
        self, cell: Cell, only: frozenset[str] | None = None
    ) -> AsyncIterator[Callable[[], Coroutine[Any, Any, None]]]:
        """Hold writers of a cell whose lock is held, all or some; yield what lets them go early.

        Functions write to embedded state themselves, and are held by the engine's lock on it: so
        the engines of what is bound to a running function run too. Processes without state are left
        alone: one that is just starting holds its own slot, and waits for engines that would wait
        for it.
        """
        bound = await self._supervisor.wake_bound_held(cell)
        processes = [
            each
            for each in cell.processes.values()
            if self._keeps_state(each) and (only is None or only & set(each.resources))
        ]
        names = None if only is None else sorted(only)
        thawed = False

        async def thaw() -> None:
            nonlocal thawed
            if not thawed:
                thawed = True
                await together(each.channel.call("thaw", {"only": names}) for each in processes)

        try:
            wanted = {"wake": sorted(bound), "only": names}
            await together(
                each.channel.call("prepare", wanted, seconds=FREEZE_SECONDS) for each in processes
            )
            how = {"atomic": self._volume.atomic and only is None, "only": names}
            await together(
                each.channel.call("freeze", how, seconds=FREEZE_SECONDS) for each in processes
            )
            yield thaw
        finally:
            await thaw()

    def _keeps_state(self, running: Running) -> bool:
        """Tell whether a process serves anything that there is to hold."""
        records = (self._catalogue.record_of(each) for each in running.resources.values())
        kinds = (self._manifests[record.kind] for record in records if record is not None)
        return any(kind.keeps_state for kind in kinds)

    async def delete(self, app: str, name: str) -> None:
        """Delete a branch for good."""
        branch = self._catalogue.branch(app, name)
        if name == MAIN:
            raise CONFLICT(
                "main is production and is not deleted alone.", hint=f"skerry app delete {app}"
            )
        self._abroad.check_own(app, "Deleting a branch")
        with self._change(app, name):
            self._abroad.check_whole(branch, "Deleting a branch")
            await self._delete(branch)

    async def _delete(self, branch: Branch) -> None:
        await self._supervisor.sleep(branch.app, branch.name)
        await self._log.append(events.encode(events.BranchDeleted(branch.app, branch.name)))
        await self.discard(branch)

    async def discard(self, branch: Branch) -> None:
        """Remove what a branch that is gone from the catalogue has left: processes and files.

        A request may have woken it between its sleep and its end in the catalogue.
        """
        await self._supervisor.sleep(branch.app, branch.name)
        away = [each.record for each in branch.away.values()]
        for record in (*branch.resources.values(), *away):
            self._workshop.clear_run(record.id)
        await asyncio.to_thread(self._volume.delete, branch.directory)

    async def reset(self, app: str, name: str, progress: Progress) -> Branch:
        """Replace a branch's state with a new copy of its parent's."""
        branch = self._catalogue.branch(app, name)
        if branch.parent is None:
            raise CONFLICT(f"{name} has no parent.", why="It was not made as a copy.")
        if branch.parent not in self._catalogue.app(app).branches:
            raise NOT_FOUND(
                f"The parent of {name}, {branch.parent}, is gone.",
                hint=f"skerry branch create {name}-again",
            )
        parent = self._catalogue.branch(app, branch.parent)
        self._abroad.check_own(app, "Resetting a branch")
        with self._change(app, name):
            for each in (branch, parent):
                self._abroad.check_whole(each, "Resetting a branch")
            old = await self._replace(branch, parent, progress)
        await asyncio.to_thread(self._volume.delete, old)
        return self._catalogue.branch(app, name)

    async def encrypt(self, app: str, name: str, progress: Progress) -> bool:
        """Copy a branch's state under the data key that its app has in use; remove the old copy.

        Requests that come meanwhile wait: what is written to the old copy would be lost. Returns
        False if it lies under that key already. Raises UNSUPPORTED where the file system does not
        encrypt directories, STORE_UNREACHABLE while a key is locked, and DISK_FULL.
        """
        key = await self._at_rest.key_of(app)
        if key is None:
            raise UNSUPPORTED(
                "The file system of the volume does not encrypt directories.",
                hint="skerry docs keys",
            )
        with self._change(app, name):
            old = await self._encrypt(app, name, key, progress)
        if old:
            await asyncio.to_thread(self._volume.delete, old)
        return bool(old)

    async def _encrypt(self, app: str, name: str, key: bytes, progress: Progress) -> str:
        """Give a branch a directory under a key; return the name of its old one, or ''."""
        loop = asyncio.get_running_loop()
        cell = self._supervisor.cell(app, name)

        def report(done: int, total: int) -> None:
            loop.call_soon_threadsafe(progress, done, total, f"encrypting {app}/{name}")

        async with cell.lock:
            branch = self._catalogue.branch(app, name)
            place = self._volume.path(branch.directory)
            if await asyncio.to_thread(self._at_rest.is_under, place, key):
                return ""
            await self._supervisor.sleep_held(cell)
            target = self.new_id()
            await asyncio.to_thread(
                self._volume.clone,
                branch.directory,
                target,
                immutable=self._immutable(branch),
                progress=report,
                key=key,
            )
            event = events.BranchReplaced(
                app=app, branch=name, directory=target, source=name, version=branch.version
            )
            # If this fails the entry may be in the log: the copy is left to the next start's sweep.
            await self._log.append(events.encode(event))
        self._supervisor.forget_if_empty(cell)
        self._on_copied()
        return branch.directory

    async def promote(self, app: str, name: str, progress: Progress) -> Branch:
        """Make a copy of a branch's state and version main's; keep main's own as a branch.

        Returns the branch that holds what main was before.
        """
        if name == MAIN:
            raise CONFLICT("main is main already.")
        with self._change(app, MAIN, name):
            return await self._promote(app, name, progress)

    async def _promote(self, app: str, name: str, progress: Progress) -> Branch:
        self._abroad.check_own(app, "Promoting a branch")
        main = self._catalogue.branch(app, MAIN)
        branch = self._catalogue.branch(app, name)
        for each in (main, branch):
            self._abroad.check_whole(each, "Promoting a branch")
        records = tuple(
            ResourceRecord(self.new_id(), each.lineage, each.kind, each.name)
            for each in main.resources.values()
        )
        version = main.version
        old = await self._replace(main, branch, progress)
        number = 1
        while (kept := f"main-before-{number}") in self._catalogue.app(app).branches:
            number += 1
        event = events.BranchCreated(
            app=app,
            branch=kept,
            directory=old,
            parent=MAIN,
            version=version,
            resources=records,
            time=self._clock.now(),
        )
        await self._log.append(events.encode(event))
        return self._catalogue.branch(app, kept)

    async def _replace(self, branch: Branch, source: Branch, progress: Progress) -> str:
        """Give a branch a copy of another's directory; return the name of its old one.

        Requests that come meanwhile wait for the branch's lock, and wake the new state.
        """
        directory = await self._clone(source, progress)
        cell = self._supervisor.cell(branch.app, branch.name)
        async with cell.lock:
            await self._supervisor.sleep_held(cell)
            old = branch.directory
            event = events.BranchReplaced(
                app=branch.app,
                branch=branch.name,
                directory=directory,
                source=source.name,
                version=source.version,
            )
            await self._log.append(events.encode(event))
        missing = [each for each in source.resources.values() if each.name not in branch.resources]
        if missing:
            added = tuple(
                ResourceRecord(self.new_id(), each.lineage, each.kind, each.name)
                for each in missing
            )
            more = events.ResourcesAdded(branch.app, branch.name, added)
            await self._log.append(events.encode(more))
        return old


def _below(immutable: Immutable, name: str, path: PurePosixPath) -> bool:
    """Tell of a folder of one resource what is known of it below its branch."""
    return immutable(name / path)


def _untold(_done: int, _total: int) -> None:
    """Report to nobody."""
