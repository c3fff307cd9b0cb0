"""The drill: a backup is restored into a scratch branch, compared, started and counted.

A restore that was not tried is not a backup. What is found is signed and kept, good or bad.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skerry.kernel.errors import NOT_FOUND, SkerryError
from skerry.node.backup.history import Proof
from skerry.node.backup.index import Scope, parse_scope
from skerry.node.backup.repository import Repository
from skerry.node.backup.restore import Restored, Restorer, Wish

if TYPE_CHECKING:
    from skerry.node.node import Node

COUNT_SECONDS_MAX = 6 * 3600.0
_SCRATCH = "drill-"

Progress = Callable[[int, int, str], None]


class Drill:
    """Tries the newest backup of a branch in one store.

    A file in `marks` names the scratch branch while it is there, so that a crash leaves none.
    """

    def __init__(self, node: Node, store: str, repository: Repository, marks: Path) -> None:
        self._node = node
        self._store = store
        self._repository = repository
        self._marks = marks

    async def run(self, app: str, branch: str, progress: Progress) -> Proof:
        """Restore, compare, start, count, and delete again; a failure is told in the proof.

        Raises only what stands in the way of trying: there is no backup, or the store is away.
        """
        snapshots = await self._repository.snapshots()
        found = [e for e in snapshots if _whole(parse_scope(e.scope), app, branch)]
        if not found:
            raise NOT_FOUND(f"There is no backup of {app}/{branch}.", hint="skerry backup now")
        snapshot = found[-1]
        scratch = f"{_SCRATCH}{self._node.branches.new_id()[:8]}"
        wish = Wish(app, branch, scratch, snapshot=snapshot.id, onward=True)
        node = self._node
        restored: Restored | None = None
        mark = self._marks / f"{app}.{scratch}"
        mark.touch()
        counts: dict[str, dict[str, int]] = {}
        living: dict[str, dict[str, int]] = {}
        problem, seconds = "", 0.0
        started = node.clock.monotonic()
        try:
            restored = await Restorer(node, self._repository).as_branch(wish, progress)
            started = node.clock.monotonic()
            counts = await self._start(app, scratch, progress)
            seconds = node.clock.monotonic() - started
            living, problem = await self._beside(app, branch, restored, counts, progress)
        except SkerryError as error:
            if error.problem.temporary:
                raise
            problem = f"{error.code}: {error.what} {error.why}".strip()
        finally:
            with contextlib.suppress(SkerryError):
                # It is not there if the restore itself failed.
                await node.branches.delete(app, scratch)
            mark.unlink(missing_ok=True)
        return Proof(
            node=node.name,
            store=self._store,
            snapshot=snapshot.short,
            scope=snapshot.scope,
            app=app,
            branch=branch,
            cut=snapshot.time,
            time=node.clock.now(),
            restore_seconds=restored.seconds if restored else 0.0,
            start_seconds=round(seconds, 3),
            files=restored.files if restored else 0,
            bytes=restored.bytes if restored else 0,
            digests=restored.digests if restored else {},
            counts=counts,
            living=living,
            ok=not problem,
            problem=problem,
        )

    async def _start(self, app: str, scratch: str, progress: Progress) -> dict[str, dict[str, int]]:
        """Start every resource that keeps state, and let its engine count what is in it."""
        node = self._node
        branch = node.catalogue.branch(app, scratch)
        found: dict[str, dict[str, int]] = {}
        declared = node.catalogue.declared(branch)
        for number, record in enumerate(declared):
            if not node.manifests[record.kind].keeps_state:
                continue
            progress(number, len(declared), f"starting {record.name}")
            running = await node.supervisor.wake(app, scratch, record.name)
            params: dict[str, Any] = {"resource": record.name}
            counted = await running.channel.call("count", params, seconds=COUNT_SECONDS_MAX)
            found[record.name] = dict(counted)
        return found

    async def _beside(
        self,
        app: str,
        branch: str,
        restored: Restored,
        counts: dict[str, dict[str, int]],
        progress: Progress,
    ) -> tuple[dict[str, dict[str, int]], str]:
        """Count the living too; tell where a restore has not what nobody has changed since.

        What was written to since the restored moment may hold another number of things by now.
        """
        known = self._node.catalogue.apps.get(app)
        if known is None or branch not in known.branches:
            return {}, ""
        top = self._node.volume.path(known.branches[branch].directory)
        same = set()
        for each in restored.sources:
            last = await asyncio.to_thread(last_change, top / each.resource)
            if last and last < each.moment:
                same.add(each.resource)
        living: dict[str, dict[str, int]] = {}
        with contextlib.suppress(SkerryError):
            # The living is not what is tried: without its counts the drill says those of the copy.
            living = await self._start(app, branch, progress)
        for name in sorted(same & set(living)):
            if (came := _things(counts.get(name, {}))) != (there := _things(living[name])):
                return living, f"{name} has not changed since, but of {there} came back {came}."
        return living, ""


def _things(counts: dict[str, int]) -> dict[str, int]:
    """Return what is counted but for the room on the disk, which no two copies share."""
    return {unit: count for unit, count in counts.items() if "bytes" not in unit}


def last_change(state: Path) -> int:
    """Return when anything below a folder last changed (ns since 1970); 0 if it is none. Blocks."""
    newest = 0
    for folder, _, files in os.walk(state):
        for place in (folder, *(os.path.join(folder, name) for name in files)):  # noqa: PTH118
            with contextlib.suppress(FileNotFoundError):
                newest = max(newest, os.lstat(place).st_mtime_ns)
    return newest


def _whole(scope: Scope, app: str, branch: str) -> bool:
    return scope.covers(app, branch) and not scope.resource
