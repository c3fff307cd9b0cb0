"""The commands of backups, and the clock that calls them when they are due."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from skerry.kernel.commands import Nothing
from skerry.kernel.errors import EXTRA_MISSING, INVALID, SkerryError
from skerry.kernel.ledger import Reading
from skerry.kernel.names import MAIN, check_name
from skerry.node.backup import messages as m
from skerry.node.backup import permission, recovery_key
from skerry.node.backup.index import Scope
from skerry.node.backup.plan import PRIMARY, STORES, BackupConfig, parse_moment, span_seconds
from skerry.node.backup.proofs import Proofs
from skerry.node.backup.record import Record
from skerry.node.backup.report import Status, report
from skerry.node.backup.restore import Restorer, Wish
from skerry.node.backup.runs import Runs
from skerry.node.backup.sealed import first_that_holds
from skerry.node.backup.settings import Keeper
from skerry.node.backup.shipping import Shipping
from skerry.node.backup.stores import Stores
from skerry.node.backup.timetable import Job, Timetable

if TYPE_CHECKING:
    from skerry.node.node import Node

Progress = Callable[[int, int, str], None]


class Backup:
    """Backups of one node. One run at a time works on stores; others wait for it."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._turn = asyncio.Lock()
        self.record = Record(node)
        self.timetable = Timetable(node, self.plans, self.perform)

    async def start(self) -> None:
        """Open what is kept; remove scratch branches that a crash left; watch the clock."""
        node = self._node
        folder = node.home.service("backup")
        await self.record.open(folder / "log")
        self.stores = Stores(node, await asyncio.to_thread(Keeper, folder))
        self.shipping = Shipping(node, self.stores, self.record, self._every)
        self.runs = Runs(node, self.stores, self.record, self._turn, self.shipping.saved)
        self.proofs = Proofs(node, self.stores, self.record, self._turn, self.runs.back_up)
        await self.proofs.sweep()
        await self.shipping.start()
        self.timetable.start()

    async def stop(self) -> None:
        """End what runs; a run that is cut short is healed by the next."""
        await self.timetable.stop()
        if hasattr(self, "shipping"):
            await self.shipping.stop()
        if hasattr(self, "runs"):
            await self.runs.stop()
        await self.record.close()

    def accounts(self) -> set[str]:
        """Return the ledger's accounts of backups, besides those of apps."""
        return self.record.accounts()

    def readings(self) -> Iterator[Reading]:
        """Yield what was sent and kept, for the ledger."""
        return self.record.readings()

    # ---- commands ------------------------------------------------------------------------------

    async def do_to(self, params: m.To, progress: Progress) -> m.Target:
        """See `backup.to`."""
        name, destination = self.stores.wanted(params)
        refused = permission.refused(self._node, destination, Scope(), "operator")
        async with self._turn:
            progress(0, 0, "looking at the store")
            made = await self.stores.take(name, destination)
            self.shipping.forget(name)
        what = "It is empty and ready." if made else "Backups that lie there already are used."
        return m.Target(
            message=f"Backups go to {destination.url}, encrypted here. {what}",
            store=name,
            url=destination.url,
            left_out=tuple(f"{app}: {why}" for app, why in refused.items()),
            next="skerry backup key, and print what it shows",
        )

    async def do_now(self, params: m.Now, progress: Progress) -> list[m.SavedInfo]:
        """See `backup.now`."""
        scope = _scope(params.app, params.branch, params.resource)
        self.stores.need(PRIMARY)
        return await self.runs.back_up(scope, progress, "operator")

    async def do_list(self, params: m.Listing, progress: Progress) -> list[m.BackupInfo]:
        """See `backup.list`; the newest first."""
        scope = None if params.app is None else str(Scope(params.app))
        repositories = [await self.stores.repository(params.store)]
        for app in [params.app] if params.app else self.stores.sealed.apps():
            repositories += await self.stores.sealed.of_app(params.store, app)
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

    async def do_drill(self, params: m.DrillOf, progress: Progress) -> m.Drills:
        """See `backup.drill`."""
        return await self.proofs.drill(params, progress)

    async def do_check(self, params: m.CheckOf, progress: Progress) -> m.CheckedInfo:
        """See `backup.check`."""
        return await self.proofs.check(params, progress)

    async def do_status(self, params: Nothing, progress: Progress) -> Status:
        """See `backup.status`; nothing is asked of a store."""
        node, stores = self._node, self.stores.destinations
        safe = {name: self.shipping.safe(name) for name in stores}
        now, currency = node.clock.now(), node.config.currency
        return report(stores, self.stores.plan, self.record.history, safe, now, currency)

    async def do_schedule(self, params: m.Schedule, progress: Progress) -> m.Plan:
        """See `backup.schedule`."""
        asked = msgspec.structs.asdict(params).items()
        given = {key: value for key, value in asked if value not in (None, "")}
        before = msgspec.structs.asdict(self.stores.plan)
        try:
            plan = BackupConfig(**{**before, **given})
        except ValueError as error:
            raise INVALID(f"{error}.", hint="skerry backup schedule --help") from error
        if given:
            await self.stores.keep_plan(plan)
        return m.Plan(**msgspec.structs.asdict(plan))

    async def do_key(self, params: m.KeyOf, progress: Progress) -> m.KeyShown:
        """See `backup.key`."""
        self.stores.need(PRIMARY)
        stores = [e for name in STORES if (e := self.stores.destinations.get(name))]
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
        await self.shipping.ship(at_once=app, store=params.store)
        async with self._turn:
            places = await self.stores.of_app(params.store, app)
            found = await first_that_holds(
                places, lambda each: Restorer(self._node, each).as_branch(wish, progress)
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

    def plans(self) -> Iterable[tuple[Scope, BackupConfig]]:
        """Yield what is planned: the node's own, and that of every app which has a table."""
        if not self.stores.destinations:
            return
        yield Scope(), self.stores.plan
        for app in self._node.catalogue.apps:
            plan = self._own_plan(app)
            if plan is not None:
                yield Scope(app), plan

    def _own_plan(self, app: str) -> BackupConfig | None:
        branch = self._node.catalogue.app(app).branches.get(MAIN)
        table = self._node.catalogue.spec(branch).services.get("backup") if branch else None
        return None if table is None else msgspec.convert(table, BackupConfig)

    def _every(self, app: str) -> int:
        """Return how many seconds an app's changes may wait: as it says itself, or the node."""
        return (self._own_plan(app) or self.stores.plan).wal_every_seconds

    async def perform(self, job: Job) -> None:
        """Carry out what is due; a failure is on record, and the next time tries again."""
        if job.drill:
            await self.proofs.nightly(job.scope)
            return
        await self.runs.back_up(job.scope, _silent, "node")
        longest = max((plan.keep for _, plan in self.plans()), key=span_seconds)
        for name in self.stores.destinations:
            await self.runs.retain(name, job.scope, job.plan.kept, longest)


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


def _silent(_done: int, _total: int, _text: str) -> None:
    """Report to nobody."""
