"""Deploys: a folder becomes a version, and a branch serves it without failing a request."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from skerry.kernel import events
from skerry.kernel.app import FILE_NAME, LENGTH_MAX, AppSpec, parse
from skerry.kernel.catalogue import Branch, Catalogue, ResourceRecord
from skerry.kernel.clock import Clock
from skerry.kernel.errors import CONFIG_INVALID, CONFLICT, NOT_FOUND, UNSUPPORTED
from skerry.kernel.log import Log
from skerry.kernel.manifest import Manifest
from skerry.kernel.names import MAIN
from skerry.kernel.service import Service
from skerry.node.abroad import Abroad
from skerry.node.archives import Archives
from skerry.node.branches import Branches
from skerry.node.cell.spec import packages_beside
from skerry.node.cells import SHARED, Cell, Running
from skerry.node.home import Home
from skerry.node.packages import Packages, compile_folder, preloaded
from skerry.node.policy.engine import Engine
from skerry.node.policy.files import with_cedar
from skerry.node.requirements import read_requirements
from skerry.node.supervisor import Supervisor
from skerry.node.tenure import Tenure
from skerry.node.workshop import Workshop

VERSIONS_KEPT = 20

Progress = Callable[[int, int, str], None]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Unpacked:
    """An upload that was unpacked: what it declares, and the digest of its files."""

    folder: Path
    spec: AppSpec
    digest: str


@dataclass(frozen=True, slots=True)
class Served:
    """What came of a deploy: the branch, the names of resources made anew, and remarks.

    Remarks tell what does not compile and which secrets have no value. It is `unchanged` if the
    branch served just this before.
    """

    branch: Branch
    added: list[str]
    remarks: list[str]
    unchanged: bool


class Deploys:
    """Adds versions and moves branches from one to another."""

    def __init__(
        self,
        *,
        home: Home,
        catalogue: Catalogue,
        log: Log,
        manifests: Mapping[str, Manifest],
        supervisor: Supervisor,
        workshop: Workshop,
        branches: Branches,
        archives: Archives,
        placement: Engine,
        services: Mapping[str, Service],
        clock: Clock,
        tenure: Tenure,
        abroad: Abroad,
    ) -> None:
        self._abroad = abroad
        self._home = home
        self._catalogue = catalogue
        self._log = log
        self._manifests = manifests
        self._services = services
        self._supervisor = supervisor
        self._workshop = workshop
        self._branches = branches
        self._archives = archives
        self._placement = placement
        self._environments = home.apps / ".environments"
        self._installer: Packages | None = None
        self._clock = clock
        self._tenure = tenure
        self._lock = asyncio.Lock()
        self._drains: set[asyncio.Task[None]] = set()

    async def deploy(self, upload: str, branch: str, progress: Progress) -> Served:
        """Serve an uploaded folder on a branch; one that is served already stays as it is.

        A version that does not start is forgotten, and what was served before is served still.
        """
        async with self._lock, self._unpacked(upload, branch, progress) as found:
            app = found.spec.name
            version = self._same(branch, found)
            remarks: list[str] = []
            if version is None:
                version, remarks = await self._add_version(found, progress)
            if branch not in self._catalogue.app(app).branches and branch != MAIN:
                await self._branches.create(app, branch, MAIN, None, progress)
            added: list[str] = []
            unchanged = self._is_served(app, branch, version)
            if not unchanged:
                try:
                    added = await self._serve(app, branch, version, progress)
                except BaseException:
                    await self._drop(app, version)
                    raise
            await self._forget_old_versions(app)
            remarks += self._unset_secrets(found.spec)
        return Served(self._catalogue.branch(app, branch), added, remarks, unchanged)

    def _same(self, branch: str, found: Unpacked) -> int | None:
        """Return the version that a branch serves, or that a new one will, if nothing changed."""
        app = self._catalogue.apps.get(found.spec.name)
        if app is None:
            return None
        served = app.branches.get(branch) or app.branches.get(MAIN)
        known = app.versions.get(served.version) if served else None
        if known is None or known.digest != found.digest:
            return None
        # As they are kept: what was read from a file may be of other types than what was kept.
        if _kept(known.spec) != _kept(found.spec):
            return None
        return known.version if self._workshop.code(app.name, known.version).exists() else None

    def _is_served(self, app: str, name: str, version: int) -> bool:
        """Tell whether a branch serves a version that has started once, with today's secrets."""
        known = self._catalogue.app(app)
        branch = known.branches.get(name)
        if branch is None or branch.version != version or version not in known.started:
            return False
        running = self._supervisor.cell(app, name).processes.values()
        return all(each.sealed == self._workshop.sealed(branch, each.key) for each in running)

    async def _drop(self, app: str, version: int) -> None:
        """Forget a version that did not start, unless a branch has it: its number is free again.

        That is so for the first version of an app, whose resources were made with it.
        """
        if any(version in each.history for each in self._catalogue.app(app).branches.values()):
            return
        await self._log.append(events.encode(events.VersionDropped(app, version)))
        place = self._workshop.code(app, version).parent
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Let nobody deploy meanwhile."""
        async with self._lock:
            yield

    async def adopt(self, app: str, version: int, spec: AppSpec, unpacked: Path) -> None:
        """Install the code of a version that came from another node; no branch serves it yet."""
        place = self._workshop.code(app, version)
        await asyncio.to_thread(_seal, unpacked)
        await asyncio.to_thread(_install, unpacked, place)
        await self._prepare_code(spec, place, lambda *_: None)

    async def rollback(
        self, app: str, branch: str, version: int | None, progress: Progress
    ) -> Branch:
        """Serve an earlier version on a branch."""
        async with self._lock:
            versions = sorted(self._catalogue.app(app).versions)
            if version is None:
                history = self._catalogue.branch(app, branch).history
                if len(history) < 2:
                    raise CONFLICT(f"Branch {branch} of {app} has served no version before.")
                version = history[-2]
            if version not in versions or not self._workshop.code(app, version).exists():
                raise NOT_FOUND(
                    f"{app} has no version {version}.",
                    why=f"The last {VERSIONS_KEPT} are kept, and as many that each branch served.",
                    hint=f"skerry rollback --app {app}",
                )
            spec = self._catalogue.app(app).versions[version].spec
            self._abroad.check_version(app, branch, spec)
            self._placement.admit(spec.policy, app, branch)
            await self._serve(app, branch, version, progress)
        return self._catalogue.branch(app, branch)

    @asynccontextmanager
    async def _unpacked(
        self, upload: str, branch: str, progress: Progress
    ) -> AsyncIterator[Unpacked]:
        """Unpack and check an upload; what is left of it afterwards is removed."""
        progress(0, 4, "unpacking")
        folder = self._archives.new_directory()
        try:
            await self._archives.unpack(upload, folder)
            file = folder / FILE_NAME
            if not file.exists():
                raise CONFIG_INVALID(f"The folder has no {FILE_NAME}.", hint="skerry init")
            spec = parse(_text(file), self._manifests, self._services)
            spec = await asyncio.to_thread(with_cedar, spec, folder)
            self._placement.admit(spec.policy, spec.name, branch)
            self._check_shared(spec)
            self._check_abroad(spec, branch)
            yield Unpacked(folder, spec, await asyncio.to_thread(_seal, folder))
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _add_version(self, found: Unpacked, progress: Progress) -> tuple[int, list[str]]:
        """Keep a version; the app comes to be with its first. Returns its number and remarks."""
        spec = found.spec
        if spec.name not in self._catalogue.apps:
            event = events.AppCreated(spec.name, self._catalogue.next_index)
            await self._log.append(events.encode(event))
        version = max(self._catalogue.app(spec.name).versions, default=0) + 1
        place = self._workshop.code(spec.name, version)
        # A deploy that failed or was cut off may have left something there.
        await asyncio.to_thread(shutil.rmtree, place.parent, ignore_errors=True)
        await asyncio.to_thread(_install, found.folder, place)
        remarks = await self._prepare_code(spec, place, progress)
        event_added = events.VersionAdded(spec.name, version, spec, found.digest)
        await self._log.append(events.encode(event_added))
        return version, remarks

    def _check_shared(self, spec: AppSpec) -> None:
        """Raise if an app that several nodes keep cannot have this version, or not from here."""
        followed = self._catalogue.standbys.get(spec.name)
        if followed is not None:
            raise CONFLICT(
                f"{spec.name} is on the node {followed.holder}; this one stands by for it.",
                hint=f"Deploy there: skerry --node <url of {followed.holder}> deploy",
            )
        self._tenure.check(spec.name)
        app = self._catalogue.apps.get(spec.name)
        if app is None or app.replication is None:
            return
        for each in spec.resources:
            manifest = self._manifests[each.kind]
            if manifest.keeps_state and not manifest.replica:
                raise UNSUPPORTED(
                    f"{spec.name} has standbys, and {each.name} ({each.kind}) cannot follow.",
                    why=f"{manifest.replicates.reason}.",
                    hint=f"skerry place {spec.name} --replicas 0",
                )

    def _check_abroad(self, spec: AppSpec, branch: str) -> None:
        """Raise CONFLICT if what is on other nodes does not allow this version on a branch."""
        self._abroad.check_version(spec.name, branch, spec)
        app = self._catalogue.apps.get(spec.name)
        if app is not None and branch not in app.branches and MAIN in app.branches:
            self._abroad.check_whole(app.branches[MAIN], "A copy")

    async def _prepare_code(self, spec: AppSpec, place: Path, progress: Progress) -> list[str]:
        """Install what the app requires beside its code, and compile the code; return remarks."""

        def report(line: str) -> None:
            progress(1, 4, line)

        if spec.requirements is not None:
            requirements = await asyncio.to_thread(read_requirements, place, spec.requirements)
            packages = await self._packages()
            await packages.install(requirements, packages_beside(place), report)
        return await compile_folder(place)

    def _unset_secrets(self, spec: AppSpec) -> list[str]:
        """Return a remark for each secret that an app names and that has no value."""
        known = self._catalogue.app(spec.name).secrets
        return [
            f"no value yet for {name}: skerry secret set {name} --app {spec.name}"
            for name in sorted({name for each in spec.resources for name in each.secrets})
            if name not in known
        ]

    async def _packages(self) -> Packages:
        """Return what installs requirements; asked first when an app has some."""
        if self._installer is None:
            kinds = [manifest.package for manifest in self._manifests.values()]
            self._installer = Packages(self._environments, await preloaded(kinds))
        return self._installer

    async def _serve(self, app: str, branch: str, version: int, progress: Progress) -> list[str]:
        """Start what serves the version, then make it current, then let the old one finish."""
        spec = self._catalogue.app(app).versions[version].spec
        added = await self._add_resources(app, branch, version, spec)
        before = self._catalogue.branch(app, branch)
        after = msgspec.structs.replace(before, version=version)
        cell = self._supervisor.cell(app, branch)
        progress(2, 4, "starting")
        self._supervisor.deploying[app, branch] = after
        try:
            async with cell.lock:
                await self._change_engines(cell, before, after)
            fresh = await self._start_functions(cell, after, spec)
            async with cell.lock:
                event = events.BranchDeployed(app, branch, version, self._clock.now())
                await self._log.append(events.encode(event))
                self._switch(cell, fresh)
        except BaseException:
            async with cell.lock:
                await self._change_engines(cell, after, before)
            raise
        finally:
            del self._supervisor.deploying[app, branch]
        progress(4, 4, "serving")
        return [record.name for record in added]

    async def _add_resources(
        self, app: str, branch: str, version: int, spec: AppSpec
    ) -> tuple[ResourceRecord, ...]:
        """Make the resources that a version declares anew; main comes to be with its first ones.

        They stay even if the version turns out not to start: what exists is never dropped unasked.
        """
        current = self._catalogue.app(app).branches.get(branch)
        away = {name: each.record for name, each in current.away.items()} if current else {}
        known = current.resources | away if current else {}
        self._check_kinds(spec, known)
        added = tuple(
            self._branches.new_record(each.kind, each.name)
            for each in spec.resources
            if each.name not in known
        )
        if current is None:
            await self._create_main(app, version, added)
        elif added:
            event = events.ResourcesAdded(app, branch, added)
            await self._log.append(events.encode(event))
        return added

    def _check_kinds(self, spec: AppSpec, known: Mapping[str, ResourceRecord]) -> None:
        for each in spec.resources:
            record = known.get(each.name)
            if record is not None and record.kind != each.kind:
                raise CONFLICT(
                    f"{each.name} is of kind {record.kind} and cannot become {each.kind}.",
                    why="Its state would be lost.",
                    hint="Give the new resource another name.",
                )

    async def _create_main(
        self, app: str, version: int, records: tuple[ResourceRecord, ...]
    ) -> None:
        event = events.BranchCreated(
            app=app,
            branch=MAIN,
            directory=await self._branches.make_directory(app),
            parent=None,
            version=version,
            resources=records,
            time=self._clock.now(),
        )
        await self._log.append(events.encode(event))

    async def _start_functions(self, cell: Cell, after: Branch, spec: AppSpec) -> list[Running]:
        """Start every function of the new version, so that a broken one changes nothing."""
        fresh: list[Running] = []
        try:
            for record in after.resources.values():
                declared = spec.resource(record.name) is not None
                if self._manifests[record.kind].own_process and declared:
                    running = await self._supervisor.start(cell, after, record.name)
                    fresh.append(running)
                    await running.channel.call("ready", record.name, seconds=60.0)
        except BaseException:
            for running in fresh:
                self._supervisor.leave(cell, running)
                self._drain(cell, running)
            raise
        return fresh

    async def _change_engines(self, cell: Cell, before: Branch, after: Branch) -> None:
        """Let engines run with the settings of another version, if they run and it matters.

        They are put to sleep, and the next byte wakes them; who waits for them does not notice.
        """
        versions = self._catalogue.app(after.app).versions
        old, new = versions[before.version].spec, versions[after.version].spec
        running = cell.processes.get(SHARED)
        served = running.resources if running else {}
        stale = running is not None and running.sealed != self._workshop.sealed(after, SHARED)
        for record in after.resources.values():
            if self._manifests[record.kind].own_process:
                continue
            changed = old.resource(record.name) != new.resource(record.name)
            if changed or stale or record.name not in served:
                await self._supervisor.sleep_engines_held(cell)
                return

    def _switch(self, cell: Cell, fresh: list[Running]) -> None:
        """From now on requests reach the new processes; the old ones finish what they have.

        So does a process that the new version does not declare.
        """
        for old in list(cell.processes.values()):
            if old.key != SHARED:
                self._supervisor.leave(cell, old)
                self._drain(cell, old)
        for running in fresh:
            cell.processes[running.key] = running
            cell.failures.pop(running.key, None)

    def _drain(self, cell: Cell, running: Running) -> None:
        task = asyncio.ensure_future(self._supervisor.stop(cell, running))
        self._drains.add(task)
        task.add_done_callback(self._drains.discard)

    async def _forget_old_versions(self, app: str) -> None:
        """Remove the code of versions that are old, also among those that each branch served.

        What is saved on one branch, again and again, leaves the others what they can go back to.
        """
        branches = self._catalogue.app(app).branches.values()
        served = {version for each in branches for version in each.history[-VERSIONS_KEPT:]}
        for version in sorted(self._catalogue.app(app).versions)[:-VERSIONS_KEPT]:
            place = self._workshop.code(app, version).parent
            if version not in served and place.exists():
                await asyncio.to_thread(shutil.rmtree, place)


def _kept(spec: AppSpec) -> bytes:
    """Return a declaration as the catalogue's log has it."""
    return msgspec.json.encode(spec, order="deterministic")


def _text(file: Path) -> str:
    """Read a skerry.toml; raise CONFIG_INVALID if it is too long or no text."""
    with file.open("rb") as source:
        data = source.read(4 * LENGTH_MAX)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise CONFIG_INVALID(f"{FILE_NAME} is not UTF-8.", why=str(error)) from error


def _seal(folder: Path) -> str:
    """Make a folder readable by all and writable by nobody else; return its digest.

    It holds for names, contents and what may be run, so that equal digests are equal code.
    """
    digest = hashlib.sha256()
    for place, names, files in os.walk(folder):
        names.sort()
        for name in sorted(files):
            path = Path(place, name)
            executable = path.stat().st_mode & 0o100
            digest.update(str(path.relative_to(folder)).encode() + b"\0")
            digest.update(b"x" if executable else b"-")
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
            path.chmod(0o755 if executable else 0o644)
        Path(place).chmod(0o755)
    return digest.hexdigest()


def _install(folder: Path, place: Path) -> None:
    """Move a folder to its place, in folders that cells may enter and not list."""
    place.parent.parent.mkdir(exist_ok=True)
    for parent in (place.parent.parent, place.parent):
        parent.mkdir(exist_ok=True)
        parent.chmod(0o711)
    shutil.move(folder, place)
