"""Proofs: restores that are tried, and stored data that is read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.kernel.errors import CONFLICT, SkerryError
from skerry.kernel.names import MAIN
from skerry.node.backup import messages as m
from skerry.node.backup.drill import Drill
from skerry.node.backup.history import Checked, Proof, Signed
from skerry.node.backup.index import Scope
from skerry.node.backup.proof import AUDITED, Signer, audited
from skerry.node.backup.record import Record
from skerry.node.backup.repository import SUBSETS
from skerry.node.backup.stores import Stores

if TYPE_CHECKING:
    from skerry.node.node import Node

Progress = Callable[[int, int, str], None]
BackUp = Callable[[Scope, Progress, str], Awaitable[object]]


class Proofs:
    """Drills and checks, each of which holds `turn`."""

    def __init__(
        self,
        node: Node,
        stores: Stores,
        record: Record,
        turn: asyncio.Lock,
        back_up: BackUp,
    ) -> None:
        self._node = node
        self._stores = stores
        self._record = record
        self._turn = turn
        self._back_up = back_up
        self._signer = Signer(node.home.node_key())
        self._scratch: Path = node.home.service("backup") / "scratch"

    async def sweep(self) -> None:
        """Delete the scratch branches of drills that a crash cut short."""
        self._scratch.mkdir(mode=0o700, exist_ok=True)
        for mark in self._scratch.iterdir():
            app, _, branch = mark.name.partition(".")
            known = self._node.catalogue.apps.get(app)
            if known is not None and branch in known.branches:
                await self._node.branches.delete(app, branch)
            mark.unlink()

    async def drill(self, params: m.DrillOf, progress: Progress) -> m.Drills:
        """Try the restore of one app or all; a failure is on record."""
        apps = [params.app] if params.app else sorted(self._node.catalogue.apps)
        found = []
        async with self._turn:
            for app in apps:
                try:
                    found.append(await self._drill(params.store, app, params.branch, progress))
                except SkerryError as error:
                    await self._record.failed("drill", params.store, str(Scope(app)), error)
                    raise
        if not found:
            raise CONFLICT("There is no app whose restore could be tried.")
        return m.Drills(tuple(found))

    async def _drill(self, store: str, app: str, branch: str, progress: Progress) -> m.DrillInfo:
        repository = await self._stores.for_scope(store, str(Scope(app)))
        drill = Drill(self._node, store, repository, self._scratch)
        signed = self._signer.sign(await drill.run(app, branch, progress))
        entry = await self._prove(signed)
        return _drill_info(signed.proof, entry, signed.signature)

    async def _prove(self, signed: Signed) -> int:
        """Append a signed proof to the audit log and keep it; return its entry there."""
        entry = await self._node.audit.add(AUDITED, audited(signed))
        await self._record.note(signed)
        return entry

    async def check(self, params: m.CheckOf, progress: Progress) -> m.CheckedInfo:
        """Read stored data, the next part or all of it; or repair what is damaged."""
        if params.repair:
            return await self._repair(params.store, progress)
        async with self._turn:
            progress(0, 0, "reading stored data")
            return await self._check(params.store, everything=params.everything)

    async def _repair(self, name: str, progress: Progress) -> m.CheckedInfo:
        """Set damaged packs aside, back everything up again, and drop what stays broken."""
        started = self._node.clock.monotonic()
        async with self._turn:
            repository = await self._stores.repository(name)
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
        repository = await self._stores.repository(name)
        before = self._record.history.checked.get(name)
        part = (before.part + 1) % SUBSETS if before else 0
        started = self._node.clock.monotonic()
        try:
            await repository.check(part, everything=everything)
        except SkerryError as error:
            await self._record.failed("check", name, "", error)
            raise
        seconds = round(self._node.clock.monotonic() - started, 3)
        await self._record.note(Checked(name, part, self._node.clock.now(), seconds))
        what = "all data" if everything else f"part {part + 1} of {SUBSETS}"
        return m.CheckedInfo(name, what, seconds)

    async def nightly(self, scope: Scope) -> None:
        """Drill every store and app of a scope, then read the next part of what is stored."""
        apps = [scope.app] if scope.app else sorted(self._node.catalogue.apps)
        for name in self._stores.destinations:
            for app in apps:
                if MAIN in self._node.catalogue.app(app).branches:
                    with contextlib.suppress(SkerryError):
                        # It is on record, and red in the status; the other apps are tried too.
                        await self.drill(m.DrillOf(app, store=name), _silent)
            if not scope.app:
                async with self._turn:
                    await self._check(name)


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
        living=proof.living,
        problem=proof.problem,
        entry=entry,
        signature=signature,
    )


def _silent(_done: int, _total: int, _text: str) -> None:
    """Report to nobody."""
