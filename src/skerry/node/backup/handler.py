"""The commands of backups, and the clock that calls them when they are due."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from skerry.kernel.clock import NANOSECONDS
from skerry.kernel.commands import Nothing
from skerry.kernel.errors import CONFLICT, EXTRA_MISSING, INVALID, SkerryError
from skerry.kernel.names import MAIN, check_name
from skerry.node.backup import messages as m
from skerry.node.backup import object_lock, permission, recovery_key, restic
from skerry.node.backup.cut import Cut, cut
from skerry.node.backup.destination import Destination, check
from skerry.node.backup.drill import Drill
from skerry.node.backup.history import (
    Checked,
    Failed,
    Happening,
    History,
    Measured,
    Proof,
    Saved,
    Signed,
    Tidied,
    encode,
)
from skerry.node.backup.index import Scope
from skerry.node.backup.plan import (
    PRIMARY,
    SECOND,
    STORES,
    BackupConfig,
    Keep,
    parse_moment,
)
from skerry.node.backup.proof import AUDITED, Signer, audited
from skerry.node.backup.report import Status, report
from skerry.node.backup.repository import SUBSETS, Repository
from skerry.node.backup.restore import Restorer, Wish
from skerry.node.backup.sealed import SealedStores, first_that_holds, write_password
from skerry.node.backup.settings import Keeper, Settings
from skerry.node.backup.timetable import Job, Timetable
from skerry.node.log_file import LogFile

if TYPE_CHECKING:
    from skerry.node.node import Node

_TIDY_SECONDS = 20 * 3600
_MEASURE_SECONDS = 3600
_log = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]


class Backup:
    """Backups of one node. One run at a time works on stores; others wait for it."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._history = History()
        self._turn = asyncio.Lock()
        self._repositories: dict[str, Repository] = {}
        self._sealed = SealedStores(node, self._store, self._connect)
        self._asides: set[asyncio.Task[None]] = set()
        self._timetable = Timetable(node, self._plans, self._perform)

    async def start(self) -> None:
        """Open what is kept; remove scratch branches that a crash left; watch the clock."""
        folder = self._node.home.service("backup")
        self._folder = folder
        self._keeper = await asyncio.to_thread(Keeper, folder)
        self._signer = Signer(self._node.home.node_key())
        (folder / "log").mkdir(mode=0o700, exist_ok=True)
        self._record = await asyncio.to_thread(
            LogFile, folder / "log", self._node.clock, self._history.apply
        )
        self._scratch = folder / "scratch"
        self._scratch.mkdir(mode=0o700, exist_ok=True)
        await self._sweep()
        self._timetable.start()

    async def stop(self) -> None:
        """End what runs; a run that is cut short is healed by the next."""
        await self._timetable.stop()
        for task in self._asides:
            task.cancel()
        await asyncio.gather(*self._asides, return_exceptions=True)
        if hasattr(self, "_record"):
            await self._record.close()

    # ---- where to ------------------------------------------------------------------------------

    async def do_to(self, params: m.To, progress: Progress) -> m.Target:
        """See `backup.to`."""
        name = SECOND if params.second else PRIMARY
        if params.second:
            self._keeper.store(PRIMARY)
        destination = check(self._destination(params, name))
        refused = permission.refused(self._node, destination, Scope(), "operator")
        async with self._turn:
            progress(0, 0, "looking at the store")
            if destination.lock_days:
                await asyncio.to_thread(object_lock.lock, destination, self._node.clock.now())
            repository = await self._connect(name, destination)
            try:
                made = await repository.create()
            except SkerryError:
                await asyncio.to_thread(self._restore_password, name)
                raise
            stores = {**self._keeper.settings.stores, name: destination}
            settings = Settings(stores, self._keeper.settings.plan)
            await asyncio.to_thread(self._keeper.write, settings)
            self._repositories[name] = repository
        what = "It is empty and ready." if made else "Backups that lie there already are used."
        return m.Target(
            message=f"Backups go to {destination.url}, encrypted here. {what}",
            store=name,
            url=destination.url,
            left_out=tuple(f"{app}: {why}" for app, why in refused.items()),
            next="skerry backup key, and print what it shows",
        )

    def _destination(self, params: m.To, name: str) -> Destination:
        return Destination(
            url=params.url,
            password=self._password(params, name),
            endpoint=params.endpoint,
            region=params.region,
            access_key=params.access_key.strip(),
            secret_key=params.secret_key.strip(),
            append_only=params.append_only,
            lock_days=_within(params.object_lock_days, 0, 36500, "object-lock-days"),
            pack_mib=_within(params.pack_mib, 4, 128, "pack-mib"),
            connections=_within(params.connections, 1, 64, "connections"),
            upload_kib_s=_within(params.upload_kib_s, 0, 1 << 30, "upload-kib-s"),
            identity=params.identity,
            country=params.country,
            provider=params.provider,
            price=params.price,
        )

    def _password(self, params: m.To, name: str) -> str:
        """Return the password of backups at a place: from the key, as before, or a new one."""
        if params.key:
            known = recovery_key.decode(params.key)
            same = [each for each in known if each.url == params.url]
            return (same or known)[0].password
        before = self._keeper.settings.stores.get(name)
        return before.password if before and before.url == params.url else secrets.token_urlsafe(32)

    def _restore_password(self, name: str) -> None:
        before = self._keeper.settings.stores.get(name)
        if before is not None:
            self._keeper.write_password(name, before)

    async def _connect(self, name: str, destination: Destination) -> Repository:
        program = await restic.version(restic.find())
        password = await asyncio.to_thread(self._write_password, name, destination)
        places = restic.Places(password, self._folder / "cache" / name, self._folder / "tmp" / name)
        await asyncio.to_thread(places.make)
        engine = restic.Restic(program, destination, places)
        return Repository(engine, destination, self._node.clock)

    def _write_password(self, name: str, destination: Destination) -> Path:
        """Write the password's file; one that is derived from an app's key is in no backup."""
        if name in STORES:
            return self._keeper.write_password(name, destination)
        return write_password(self._folder, name, destination)

    def _store(self, name: str) -> Destination:
        return self._keeper.store(name)

    async def _stores_of(self, name: str, app: str) -> list[Repository]:
        """Return the stores where backups of an app may lie, the likeliest first."""
        return [*await self._sealed.of_app(name, app), await self._repository(name)]

    async def _repository(self, name: str) -> Repository:
        """Return a store's repository; raise INVALID for a name that is none, CONFLICT without."""
        if name not in STORES:
            raise INVALID(f"{name!r} is no store.", why=f"There are {' and '.join(STORES)}.")
        if name not in self._repositories:
            store = self._keeper.store(name)
            self._repositories[name] = await self._connect(name, store)
        return self._repositories[name]

    # ---- backups -------------------------------------------------------------------------------

    async def do_now(self, params: m.Now, progress: Progress) -> list[m.SavedInfo]:
        """See `backup.now`."""
        scope = _scope(params.app, params.branch, params.resource)
        self._keeper.store(PRIMARY)
        return await self._back_up(scope, progress, "operator")

    async def _back_up(self, scope: Scope, progress: Progress, principal: str) -> list[m.SavedInfo]:
        """Bring a cut to every store; raise the first failure after trying all.

        Stores to which the same apps may go get the same cut.
        """
        async with self._turn:
            saved: list[m.SavedInfo] = []
            failures: list[SkerryError] = []
            groups: dict[tuple[str, ...], tuple[dict[str, str], list[str]]] = {}
            for name, store in self._keeper.settings.stores.items():
                try:
                    refused = permission.refused(self._node, store, scope, principal)
                except SkerryError as error:
                    failures.append(await self._failed("backup", name, str(scope), error))
                    continue
                groups.setdefault(tuple(refused), (refused, []))[1].append(name)
            await self._sealed.forget()
            for refused, names in groups.values():
                left_out = {**self._sealed.left_out(scope), **refused}
                failures += await self._save_group(scope, left_out, names, saved, progress)
                for app in self._sealed.left_out(scope).keys() - refused.keys():
                    own = Scope(app)
                    failures += await self._save_group(own, {}, names, saved, progress)
            if failures:
                raise failures[0]
            return saved

    async def _save_group(
        self,
        scope: Scope,
        refused: dict[str, str],
        names: list[str],
        saved: list[m.SavedInfo],
        progress: Progress,
    ) -> list[SkerryError]:
        """Cut once and bring the cut to some stores; return what failed, on record."""
        failures: list[SkerryError] = []
        try:
            async with cut(self._node, scope, progress, refused) as made:
                for name in names:
                    try:
                        saved.append(await self._save(name, made, progress))
                    except SkerryError as error:
                        failures.append(await self._failed("backup", name, str(scope), error))
        except SkerryError as error:
            return [await self._failed("backup", name, str(scope), error) for name in names]
        return failures

    async def _save(self, name: str, made: Cut, progress: Progress) -> m.SavedInfo:
        index = made.index
        repository = await self._sealed.of_scope(name, index.scope)
        stored = await (repository or await self._repository(name)).save(made, progress)
        event = Saved(
            store=name,
            scope=index.scope,
            snapshot=stored.snapshot,
            cut=index.time,
            time=self._node.clock.now(),
            seconds=stored.seconds,
            bytes=stored.bytes,
            added=stored.added,
            files=stored.files,
        )
        await self._note(event)
        last = self._history.measured.get(name)
        if last is None or event.time - last.time > _MEASURE_SECONDS * NANOSECONDS:
            self._later(self._measure(name))
        return m.SavedInfo(
            store=name,
            scope=index.scope,
            snapshot=stored.snapshot,
            time=index.time,
            files=stored.files,
            bytes=stored.bytes,
            added_bytes=stored.added,
            seconds=stored.seconds,
            left_out=index.left_out,
        )

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that nobody waits for, before the node stops."""
        task = asyncio.create_task(work)
        self._asides.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._asides.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("a store could not be measured: %s", error)

    async def _measure(self, name: str) -> None:
        size = await (await self._repository(name)).size()
        await self._note(Measured(name, size, self._node.clock.now()))

    async def do_list(self, params: m.Listing, progress: Progress) -> list[m.BackupInfo]:
        """See `backup.list`; the newest first."""
        scope = None if params.app is None else str(Scope(params.app))
        repositories = [await self._repository(params.store)]
        for app in [params.app] if params.app else self._sealed.apps():
            repositories += await self._sealed.of_app(params.store, app)
        found = []
        for repository in repositories:
            with contextlib.suppress(SkerryError):
                # A store of an app that has no backup yet is not there.
                found += await repository.snapshots()
        return [
            m.BackupInfo(each.short, each.scope, each.time, each.node)
            for each in sorted(found, key=lambda each: -each.time)
            if scope is None or each.scope == scope or each.scope.startswith(f"{scope}:")
        ]

    # ---- proofs --------------------------------------------------------------------------------

    async def do_drill(self, params: m.DrillOf, progress: Progress) -> m.Drills:
        """See `backup.drill`."""
        node = self._node
        apps = [params.app] if params.app else sorted(node.catalogue.apps)
        found = []
        async with self._turn:
            for app in apps:
                try:
                    found.append(await self._drill(params.store, app, params.branch, progress))
                except SkerryError as error:
                    await self._failed("drill", params.store, str(Scope(app)), error)
                    raise
        if not found:
            raise CONFLICT("There is no app whose restore could be tried.")
        return m.Drills(tuple(found))

    async def _drill(self, store: str, app: str, branch: str, progress: Progress) -> m.DrillInfo:
        own = await self._sealed.of_scope(store, str(Scope(app)))
        repository = own or await self._repository(store)
        drill = Drill(self._node, store, repository, self._scratch)
        signed = self._signer.sign(await drill.run(app, branch, progress))
        entry = await self._prove(signed)
        return _drill_info(signed.proof, entry, signed.signature)

    async def _prove(self, signed: Signed) -> int:
        """Append a signed proof to the audit log and keep it; return its entry there."""
        entry = await self._node.audit.add(AUDITED, audited(signed))
        await self._note(signed)
        return entry

    async def _sweep(self) -> None:
        """Delete the scratch branches of drills that a crash cut short."""
        for mark in self._scratch.iterdir():
            app, _, branch = mark.name.partition(".")
            known = self._node.catalogue.apps.get(app)
            if known is not None and branch in known.branches:
                await self._node.branches.delete(app, branch)
            mark.unlink()

    async def do_check(self, params: m.CheckOf, progress: Progress) -> m.CheckedInfo:
        """See `backup.check`."""
        if params.repair:
            return await self._repair(params.store, progress)
        async with self._turn:
            progress(0, 0, "reading stored data")
            return await self._check(params.store, everything=params.everything)

    async def _repair(self, name: str, progress: Progress) -> m.CheckedInfo:
        """Set damaged packs aside, back everything up again, and drop what stays broken."""
        started = self._node.clock.monotonic()
        async with self._turn:
            repository = await self._repository(name)
            progress(0, 0, "reading all stored data")
            bad = await repository.repair()
        if bad:
            await self._back_up(Scope(), progress, "operator")
        async with self._turn:
            lost = await repository.drop_broken()
            await self._check(name, everything=True)
        what = f"set {len(bad)} damaged packs aside and stored their content again"
        if lost:
            what += f"; beyond repair were the backups {', '.join(lost)}"
        seconds = round(self._node.clock.monotonic() - started, 3)
        return m.CheckedInfo(name, what if bad else "nothing is damaged", seconds)

    async def _check(self, name: str, *, everything: bool = False) -> m.CheckedInfo:
        repository = await self._repository(name)
        before = self._history.checked.get(name)
        part = (before.part + 1) % SUBSETS if before else 0
        started = self._node.clock.monotonic()
        try:
            await repository.check(part, everything=everything)
        except SkerryError as error:
            await self._failed("check", name, "", error)
            raise
        seconds = round(self._node.clock.monotonic() - started, 3)
        await self._note(Checked(name, part, self._node.clock.now(), seconds))
        what = "all data" if everything else f"part {part + 1} of {SUBSETS}"
        return m.CheckedInfo(name, what, seconds)

    async def do_status(self, params: Nothing, progress: Progress) -> Status:
        """See `backup.status`; nothing is asked of a store."""
        settings = self._keeper.settings
        now = self._node.clock.now()
        currency = self._node.config.currency
        return report(settings.stores, settings.plan, self._history, now, currency)

    async def do_schedule(self, params: m.Schedule, progress: Progress) -> m.Plan:
        """See `backup.schedule`."""
        given = {key: value for key, value in msgspec.structs.asdict(params).items() if value}
        before = msgspec.structs.asdict(self._keeper.settings.plan)
        try:
            plan = BackupConfig(**{**before, **given})
        except ValueError as error:
            raise INVALID(f"{error}.", hint="skerry backup schedule --help") from error
        if given:
            settings = Settings(self._keeper.settings.stores, plan)
            await asyncio.to_thread(self._keeper.write, settings)
        return m.Plan(**msgspec.structs.asdict(plan))

    async def do_key(self, params: m.KeyOf, progress: Progress) -> m.KeyShown:
        """See `backup.key`."""
        self._keeper.store(PRIMARY)
        stores = [e for name in STORES if (e := self._keeper.settings.stores.get(name))]
        text = recovery_key.encode(stores)
        try:
            draw = recovery_key.svg if params.page else recovery_key.picture
            code, note = await asyncio.to_thread(draw, text), ""
        except SkerryError as error:
            if error.problem is not EXTRA_MISSING:
                raise
            code, note = "", f"{error.what} {error.hint}"
        urls = tuple(each.url for each in stores)
        return m.KeyShown(text, urls, code, note, params.page)

    # ---- restores ------------------------------------------------------------------------------

    async def do_restore(self, params: m.RestoreOf, progress: Progress) -> m.RestoredInfo:
        """See `backup.restore`."""
        if params.onto_new_node:
            raise INVALID(
                "A running node is not a new one.",
                why="The words at the command line of the new machine do it.",
                hint="skerry restore --onto-new-node --home <directory> --key FILE",
            )
        app = params.app or self._only_app()
        branch = params.as_branch
        if not branch:
            raise INVALID(
                "Say what the branch that is brought back shall be called.",
                why="A restore never overwrites the living one.",
                hint="skerry restore --as-branch rescue",
            )
        check_name(branch, "a branch")
        at = None if params.at is None else parse_moment(params.at, self._node.clock.now())
        wish = Wish(app, params.branch, branch, params.resource or "", at, params.snapshot)
        async with self._turn:
            stores = await self._stores_of(params.store, app)
            found = await first_that_holds(
                stores, lambda each: Restorer(self._node, each).as_branch(wish, progress)
            )
        empty = f" Empty are {', '.join(found.empty)}." if found.empty else ""
        return m.RestoredInfo(
            message=f"{app}/{branch} is what {params.branch} was.{empty}",
            app=app,
            branch=branch,
            seconds=found.seconds,
            files=found.files,
            bytes=found.bytes,
            sources=found.sources,
            next=f"skerry branch promote {branch} --app {app}, or skerry branch delete {branch}",
        )

    def _only_app(self) -> str:
        apps = list(self._node.catalogue.apps)
        if len(apps) != 1:
            raise INVALID("Say which app is meant.", hint="skerry restore --app <app>")
        return apps[0]

    # ---- the clock -----------------------------------------------------------------------------

    def _plans(self) -> Iterable[tuple[Scope, BackupConfig]]:
        """Return what is planned: the node's own, and that of every app which has a table."""
        if not self._keeper.settings.stores:
            return
        yield Scope(), self._keeper.settings.plan
        for app in self._node.catalogue.apps.values():
            branch = app.branches.get(MAIN)
            table = self._node.catalogue.spec(branch).services.get("backup") if branch else None
            if table is not None:
                yield Scope(app.name), msgspec.convert(table, BackupConfig)

    async def _perform(self, job: Job) -> None:
        """Carry out what is due; a failure is on record, and the next time tries again."""
        if job.drill:
            await self._nightly(job.scope)
            return
        await self._back_up(job.scope, _silent, "node")
        for name in self._keeper.settings.stores:
            await self._retain(name, job.scope, job.plan.kept)

    async def _nightly(self, scope: Scope) -> None:
        """Drill every store and app of a scope, then read the next part of what is stored."""
        apps = [scope.app] if scope.app else sorted(self._node.catalogue.apps)
        for name in self._keeper.settings.stores:
            for app in apps:
                if MAIN in self._node.catalogue.app(app).branches:
                    with contextlib.suppress(SkerryError):
                        # It is on record, and red in the status; the other apps are tried too.
                        await self.do_drill(m.DrillOf(app, store=name), _silent)
            if not scope.app:
                async with self._turn:
                    await self._check(name)

    async def _retain(self, name: str, scope: Scope, keep: Keep) -> None:
        """Once a day, remove what is old."""
        last = self._history.tidied.get((name, str(scope)))
        now = self._node.clock.now()
        if last is not None and now - last.time < _TIDY_SECONDS * NANOSECONDS:
            return
        async with self._turn:
            removed = await (await self._repository(name)).forget(scope, keep)
            for app in [scope.app] if scope.app else self._sealed.apps():
                for repository in await self._sealed.of_app(name, app):
                    removed += await repository.forget(Scope(app), keep)
            await self._note(Tidied(name, str(scope), removed, self._node.clock.now()))
            await self._measure(name)

    async def _note(self, event: Happening) -> None:
        await self._record.append(encode(event))

    async def _failed(self, what: str, store: str, scope: str, error: SkerryError) -> SkerryError:
        """Put a failure on record; return it."""
        event = Failed(what, store, scope, self._node.clock.now(), error.code, error.what)
        await self._note(event)
        return error


def _scope(app: str | None, branch: str | None, resource: str | None) -> Scope:
    """Return a scope; raise INVALID for a part without its whole."""
    if branch and not app:
        raise INVALID("Say whose branch it is.", hint="skerry backup now --app <app> --branch …")
    if resource and not branch:
        branch = MAIN
    if resource and not app:
        raise INVALID(
            "Say whose resource it is.", hint="skerry backup now --app <app> --resource …"
        )
    return Scope(app or "", branch or "", resource or "")


def _within(value: int, least: int, most: int, name: str) -> int:
    if not least <= value <= most:
        raise INVALID(f"--{name} is {least} to {most}, not {value}.")
    return value


def _drill_info(proof: Proof, entry: int, signature: str) -> m.DrillInfo:
    return m.DrillInfo(
        app=proof.app,
        branch=proof.branch,
        store=proof.store,
        snapshot=proof.snapshot,
        ok=proof.ok,
        restore_seconds=proof.restore_seconds,
        start_seconds=proof.start_seconds,
        files=proof.files,
        bytes=proof.bytes,
        counts=proof.counts,
        problem=proof.problem,
        entry=entry,
        signature=signature,
    )


def _silent(_done: int, _total: int, _text: str) -> None:
    """Report to nobody."""
