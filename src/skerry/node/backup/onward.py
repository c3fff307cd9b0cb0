"""Going on from a backup: the changes of a branch that were sent after it, up to a moment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from skerry.node.backup.changes import ChangedBranch
from skerry.node.backup.index import Held, HeldBranch
from skerry.node.backup.repository import Repository


@dataclass(frozen=True, slots=True)
class Fetch:
    """What is fetched of a resource: where it lies in which snapshot, and what it must be."""

    snapshot: str
    path: str
    held: Held


@dataclass(frozen=True, slots=True)
class Onward:
    """How a resource goes on: its state at a `moment`, or the journal that leads there.

    `reached`: the journal holds all that was acknowledged before the moment asked for.
    """

    fetch: Fetch
    journal: bool
    moment: int
    reached: bool


async def onward(repository: Repository, last: HeldBranch, at: int | None) -> dict[str, Onward]:
    """Return how the resources of a branch go on after a backup, to a moment or to the end.

    Whole states are those of the last changes before the moment; journals are of the first changes
    after it, if there are any. Changes that go on from a later backup are of no use here: what
    changed in between is not in them.
    """
    mine = []
    for each in await repository.shipments():
        span = each.directories.get(last.directory)
        if span is not None and span.base <= last.began <= span.began:
            mine.append((span, each))
    wanted = [each for span, each in mine if at is None or span.cut <= at][-1:]
    wanted += [each for span, each in mine if at is not None and span.began >= at][:1]
    found: dict[str, Onward] = {}
    for shipment in wanted:
        branch = (await repository.changes(shipment.id)).branch(last.directory)
        if branch is not None:
            found |= _resources(shipment.id, branch, at)
    return found


def _resources(snapshot: str, branch: ChangedBranch, at: int | None) -> dict[str, Onward]:
    found = {}
    for changed in branch.resources:
        name = changed.held.record.name
        fetch = Fetch(snapshot, branch.path(name), changed.held)
        reached = at is not None and branch.began >= at
        if changed.journal:
            moment = at if at is not None and reached else branch.began
            found[name] = Onward(fetch, True, moment, reached)
        elif at is None or branch.cut <= at:
            found[name] = Onward(fetch, False, branch.cut, False)
    return found


def lay_over(source: Path, target: Path) -> None:
    """Move a folder to its place; over what lies there already, file by file. Blocks."""
    if not target.exists():
        source.rename(target)
        return
    for folder, _, files in os.walk(source):
        place = target / Path(folder).relative_to(source)
        place.mkdir(mode=0o700, exist_ok=True)
        for name in files:
            (Path(folder) / name).replace(place / name)
