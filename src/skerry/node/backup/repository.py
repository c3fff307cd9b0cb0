"""One store of backups: what can be done there, in terms of Skerry.

Only one operation at a time works on a repository from this node; what an operation of a dead
process has locked is unlocked first, so that the run after a crash heals it.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from skerry.kernel.clock import NANOSECONDS, Clock
from skerry.kernel.errors import CORRUPT, ENGINE_FAILED, NOT_FOUND, SkerryError
from skerry.node.backup import index as held
from skerry.node.backup.cut import Cut
from skerry.node.backup.destination import Destination
from skerry.node.backup.index import Index, Scope
from skerry.node.backup.meter import Pace
from skerry.node.backup.plan import Keep
from skerry.node.backup.restic import Restic

TAG = "skerry"
SUBSETS = 30
"""A check reads one part of this many of all data; in turn, everything is read."""

_INCOMPLETE = 3
"""What the engine ends with if it could not read a file."""

Progress = Callable[[int, int, str], None]


class Snapshot(msgspec.Struct, frozen=True):
    """A backup in a store. `time` is the instant of its state, ns since 1970."""

    id: str
    scope: str
    time: int
    began: int
    node: str

    @property
    def short(self) -> str:
        """The beginning of its id, which is enough to name it."""
        return self.id[:12]


class Stored(msgspec.Struct, frozen=True):
    """What a run brought to a store."""

    snapshot: str
    files: int
    bytes: int
    added: int
    seconds: float


class Repository:
    """The backups at one destination."""

    def __init__(self, restic: Restic, destination: Destination, clock: Clock) -> None:
        self._restic = restic
        self.destination = destination
        self._clock = clock
        self._lock = asyncio.Lock()

    async def create(self) -> bool:
        """Make the repository; tell whether it is new. Raises UNAUTHENTICATED for a wrong key."""
        async with self._lock:
            try:
                await self._restic.run(["cat", "config"], doing="looking for backups", seconds=900)
            except SkerryError as error:
                if error.problem is not NOT_FOUND:
                    raise
            else:
                return False
            await self._restic.run(["init"], doing="making the repository", seconds=900)
            return True

    async def save(self, cut: Cut, progress: Progress) -> Stored:
        """Bring a cut to the store.

        Raises CORRUPT and keeps no snapshot if a file of the cut could not be read.
        """
        scope = parse(cut.index.scope)
        started = self._clock.monotonic()
        async with self._lock:
            await self._unlock()
            parent = await self._latest(scope)
            words = ["backup", "--json", "--ignore-inode", "--ignore-ctime", "--host"]
            words += [cut.index.node, *_tags(cut.index)]
            words += ["--parent", parent.id] if parent else []
            pace = Pace(self._clock, progress)
            try:
                await self._restic.run(
                    [*words, "--", *cut.paths], doing="backing up", cwd=cut.home, on_line=pace.hear
                )
            except SkerryError:
                await self._forget_incomplete(pace)
                raise
        found = pace.summary
        if found is None:
            raise ENGINE_FAILED("restic ended without saying what it saved.")
        return Stored(
            snapshot=str(found["snapshot_id"]),
            files=int(found["total_files_processed"]),
            bytes=int(found["total_bytes_processed"]),
            added=int(found["data_added"]),
            seconds=round(self._clock.monotonic() - started, 3),
        )

    async def _forget_incomplete(self, pace: Pace) -> None:
        """Take back a snapshot that lacks a file, where this node may remove anything."""
        if pace.summary is None:
            return
        saved = str(pace.summary.get("snapshot_id", ""))
        if saved and not self.destination.append_only:
            await self._restic.run(["forget", saved], doing="taking back a partial backup")

    async def _unlock(self) -> None:
        """Remove locks of processes that are dead."""
        await self._restic.run(["unlock"], doing="looking for old locks", seconds=3600)

    async def snapshots(self, scope: Scope | None = None, *, locks: bool = True) -> list[Snapshot]:
        """Return the backups, the oldest first; of one scope, or all."""
        words = ["snapshots", "--json", "--tag", _tag(scope)]
        words += [] if locks else ["--no-lock"]
        said = await self._restic.run(words, doing="listing backups", seconds=3600)
        try:
            found = msgspec.json.decode(said or "[]")
        except msgspec.DecodeError as error:
            raise ENGINE_FAILED("restic's list of backups cannot be read.", why=said[:200]) from (
                error
            )
        known = [_snapshot(each) for each in found or []]
        return sorted((each for each in known if each), key=lambda each: each.time)

    async def _latest(self, scope: Scope) -> Snapshot | None:
        found = await self.snapshots(scope)
        return found[-1] if found else None

    async def index(self, snapshot: str, *, locks: bool = True) -> Index:
        """Read what a backup says of itself; raise NOT_FOUND or CORRUPT."""
        words = ["dump", snapshot, f"/{held.CUT}/{held.FILE}"]
        words += [] if locks else ["--no-lock"]
        said = await self._restic.run(words, doing="reading a backup's index", seconds=3600)
        return held.decode(said.encode())

    async def restore(
        self,
        snapshot: str,
        paths: Sequence[str],
        target: Path,
        progress: Progress,
        *,
        total: int = 0,
        locks: bool = True,
    ) -> None:
        """Write paths of a backup below a folder; raise CORRUPT if anything does not arrive."""
        words = ["restore", snapshot, "--target", str(target), "--json"]
        words += [] if locks else ["--no-lock"]
        for path in paths:
            words += ["--include", f"/{_literal(path)}"]
        pace = Pace(self._clock, progress, total)
        async with self._lock:
            await self._restic.run(words, doing="restoring", on_line=pace.hear)
        missing = [path for path in paths if not (target / path).exists()]
        if missing:
            raise CORRUPT(
                f"The backup {snapshot[:12]} does not hold {missing[0]}.", hint="skerry backup list"
            )

    async def forget(self, scope: Scope, keep: Keep) -> int:
        """Remove what retention does not keep; return how many backups went."""
        if self.destination.append_only:
            return 0
        async with self._lock:
            await self._unlock()
            words = ["forget", "--json", "--tag", _tag(scope), "--group-by", "", *keep.flags()]
            said = await self._restic.run(words, doing="removing old backups")
            removed = sum(len(group.get("remove") or []) for group in _groups(said))
            if removed:
                await self._restic.run(
                    ["prune", "--max-unused", "10%"], doing="removing unused data"
                )
            return removed

    async def check(self, part: int = 0, *, everything: bool = False) -> None:
        """Verify the structure, and read one part of `SUBSETS` of the data, or all of it.

        Raises CORRUPT. A flipped byte in stored data is found only by reading it.
        """
        words = ["check"]
        words += ["--read-data"] if everything else []
        words += [f"--read-data-subset={part % SUBSETS + 1}/{SUBSETS}"] if not everything else []
        async with self._lock:
            await self._unlock()
            await self._restic.run(words, doing="checking backups")

    async def repair(self) -> None:
        """Make the index anew from what is whole; the next run stores again what is lost."""
        async with self._lock:
            await self._unlock()
            await self._restic.run(["rebuild-index", "--read-all-packs"], doing="repairing")

    async def size(self) -> int:
        """Return how many bytes the store holds."""
        said = await self._restic.run(
            ["stats", "--mode", "raw-data", "--json"], doing="measuring", seconds=3600
        )
        return int(msgspec.json.decode(said)["total_size"])


def parse(scope: str) -> Scope:
    """Return the scope that an index names."""
    return held.parse_scope(scope)


def _tags(index: Index) -> list[str]:
    began = min((each.began for each in index.branches), default=index.time)
    return ["--tag", f"{TAG},scope={index.scope},cut={index.time},began={began}"]


def _tag(scope: Scope | None) -> str:
    return TAG if scope is None else f"{TAG},scope={scope}"


def _snapshot(found: dict[str, Any]) -> Snapshot | None:
    """Return a backup from the engine's list; None for one that is not ours."""
    tags = dict(tag.partition("=")[::2] for tag in found.get("tags") or [])
    if "scope" not in tags:
        return None
    time = int(tags.get("cut") or _nanoseconds(found["time"]))
    began = int(tags.get("began") or time)
    return Snapshot(found["id"], tags["scope"], time, began, found.get("hostname", ""))


def _nanoseconds(text: str) -> int:
    moment = datetime.datetime.fromisoformat(text[:19]).replace(tzinfo=datetime.UTC)
    return int(moment.timestamp()) * NANOSECONDS


def _groups(said: str) -> list[dict[str, Any]]:
    lines = [line for line in said.splitlines() if line.startswith("[")]
    return list(msgspec.json.decode(lines[0])) if lines else []


def _literal(path: str) -> str:
    """Return a path in which the engine sees no pattern."""
    return "".join(f"\\{each}" if each in "*?[]\\" else each for each in path)
