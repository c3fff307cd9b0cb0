"""One store of backups: what can be done there, in terms of Skerry.

Only one operation at a time works on a repository from this node, except that changes are sent
while a backup runs. What an operation of a dead process has locked is unlocked first, so that the
run after a crash heals it.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from skerry.kernel.clock import NANOSECONDS, Clock
from skerry.kernel.errors import (
    CORRUPT,
    ENGINE_FAILED,
    NOT_FOUND,
    STORE_UNREACHABLE,
    SkerryError,
)
from skerry.node.backup import changes as since
from skerry.node.backup import damage
from skerry.node.backup import index as held
from skerry.node.backup.cut import Cut
from skerry.node.backup.destination import Destination
from skerry.node.backup.index import Index, Scope
from skerry.node.backup.meter import Pace
from skerry.node.backup.plan import Keep, span
from skerry.node.backup.restic import Restic

TAG = "skerry"
CHANGES_TAG = "skerry-changes"
SUBSETS = 30
"""A check reads one part of this many of all data; in turn, everything is read."""

_REACH_SECONDS = 15.0
_SHIP_SECONDS_MAX = 3600.0
_BACKUP = ("backup", "--json", "--ignore-inode", "--ignore-ctime")

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


class Span(msgspec.Struct, frozen=True):
    """Which time changes are of: since the backup that began at `base` (all in ns since 1970).

    Nothing that was acknowledged before `began` is missing, and nothing after `cut` is there.
    """

    base: int
    began: int
    cut: int


class Shipment(msgspec.Struct, frozen=True):
    """What had changed since backups, in a store: by directory, and which time it is of."""

    id: str
    directories: dict[str, Span]

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
        self._shipping = asyncio.Lock()
        self._shipped = ""
        self._unlocked = False
        self._empty = False
        self._last: dict[Scope, str] = {}

    async def create(self) -> bool:
        """Make the repository; tell whether it is new. Raises UNAUTHENTICATED for a wrong key."""
        async with self._lock:
            await self._reach()
            try:
                await self._restic.run(
                    ["cat", "config", "--no-lock"], doing="looking for backups", seconds=900
                )
            except SkerryError as error:
                if error.problem is not NOT_FOUND:
                    raise
            else:
                return False
            await self._restic.run(["init"], doing="making the repository", seconds=900)
            self._unlocked = self._empty = True
            return True

    async def save(self, cut: Cut, progress: Progress) -> Stored:
        """Bring a cut to the store.

        The last backup of the scope tells what has not changed; where parts of it are missing in
        the store, everything is read and stored anew. No snapshot that lacks a file is kept, where
        this node may remove one.
        """
        scope = held.parse_scope(cut.index.scope)
        started = self._clock.monotonic()
        async with self._lock, self._heals():
            await self._ready()
            parent = self._last.get(scope)
            if parent is None and not self._empty:
                parent = await self._latest(scope)
            pace = Pace(self._clock, progress)
            try:
                await self._save(cut, ["--parent", parent] if parent else [], pace)
            except SkerryError:
                if pace.summary is None or parent is None:
                    raise
                await self._forget_incomplete(pace)
                pace = Pace(self._clock, progress)
                await self._save(cut, ["--force"], pace)
            found = pace.summary
            if found is None:
                raise ENGINE_FAILED("restic ended without saying what it saved.")
            self._last[scope] = str(found["snapshot_id"])
            self._empty = False
        return Stored(
            snapshot=str(found["snapshot_id"]),
            files=int(found["total_files_processed"]),
            bytes=int(found["total_bytes_processed"]),
            added=int(found["data_added"]),
            seconds=round(self._clock.monotonic() - started, 3),
        )

    async def _save(self, cut: Cut, parent: list[str], pace: Pace) -> None:
        words = [*_BACKUP, *parent, *_tags(cut.index)]
        words += ["--host", cut.index.node, "--", *cut.paths]
        await self._restic.run(words, doing="backing up", cwd=cut.home, on_line=pace.hear)

    async def ship(self, home: Path, changes: since.Changes) -> Stored:
        """Bring what lies in the folder of changes to the store, also while a backup runs."""
        started = self._clock.monotonic()
        paths = [f"{since.FOLDER}/{since.FILE}"]
        paths += [f"{since.FOLDER}/{each.directory}" for each in changes.branches]
        marks = [f"holds={e.directory}/{e.base}/{e.began}/{e.cut}" for e in changes.branches]
        async with self._shipping:
            await self._reach()
            pace = Pace(self._clock, _untold)
            words = [*_BACKUP, "--tag", ",".join((CHANGES_TAG, *marks)), "--host", changes.node]
            words += ["--parent", self._shipped] if self._shipped else []
            parent, self._shipped = self._shipped, ""
            await self._restic.run(
                [*words, "--", *paths],
                doing="sending changes",
                cwd=home,
                on_line=pace.hear,
                seconds=_SHIP_SECONDS_MAX,
            )
            found = pace.summary
            if found is None:
                raise ENGINE_FAILED("restic ended without saying what it saved.", why=parent)
            self._shipped = str(found["snapshot_id"])
        return Stored(
            snapshot=self._shipped,
            files=int(found["total_files_processed"]),
            bytes=int(found["total_bytes_processed"]),
            added=int(found["data_added"]),
            seconds=round(self._clock.monotonic() - started, 3),
        )

    async def shipments(self) -> list[Shipment]:
        """Return the changes that the store holds, the oldest first."""
        await self._reach()
        listed = sorted(await self._tagged(CHANGES_TAG), key=lambda each: str(each["time"]))
        return [_shipment(each) for each in listed]

    async def changes(self, snapshot: str) -> since.Changes:
        """Read what changes say of themselves; raise NOT_FOUND or CORRUPT."""
        words = ["dump", "--no-lock", snapshot, f"/{since.FOLDER}/{since.FILE}"]
        said = await self._restic.run(words, doing="reading a list of changes", seconds=3600)
        return since.decode(said.encode())

    async def _forget_incomplete(self, pace: Pace) -> None:
        """Take back a snapshot that lacks a file, where this node may remove anything."""
        saved = str((pace.summary or {}).get("snapshot_id", ""))
        if saved and not self.destination.append_only:
            await self._restic.run(["forget", saved], doing="taking back a partial backup")

    @asynccontextmanager
    async def _heals(self) -> AsyncIterator[None]:
        """Look again for locks and for the last backup, once something has failed."""
        try:
            yield
        except BaseException:
            self._unlocked = self._empty = False
            self._last.clear()
            raise

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Hold off everything else: the engine locks the whole store for some work."""
        async with self._lock, self._shipping, self._heals():
            self._shipped = ""
            yield

    async def _ready(self) -> None:
        """Find out whether the store answers, and remove locks of processes that are dead."""
        await self._reach()
        if not self._unlocked:
            await self._restic.run(["unlock"], doing="looking for old locks", seconds=3600)
            self._unlocked = True

    async def _reach(self) -> None:
        """Raise STORE_UNREACHABLE at once if the store is away; the engine would try for long."""
        address = self.destination.address
        if address is None:
            return
        try:
            async with asyncio.timeout(_REACH_SECONDS):
                _, writer = await asyncio.open_connection(*address)
        except (OSError, TimeoutError) as error:
            raise STORE_UNREACHABLE(
                f"The store {self.destination.url} does not answer.",
                why=f"{address[0]} port {address[1]}: {error or 'no answer'}",
                hint="skerry backup status",
            ) from error
        writer.close()

    async def snapshots(self, scope: Scope | None = None) -> list[Snapshot]:
        """Return the backups, the oldest first; of one scope, or all."""
        await self._reach()
        found = await self._tagged(_tag(scope))
        known = [_snapshot(each) for each in found]
        return sorted((each for each in known if each), key=lambda each: each.time)

    async def _tagged(self, tag: str) -> list[dict[str, Any]]:
        words = ["snapshots", "--no-lock", "--json", "--tag", tag]
        said = await self._restic.run(words, doing="listing backups", seconds=3600)
        try:
            return list(msgspec.json.decode(said or "[]") or [])
        except msgspec.DecodeError as error:
            raise ENGINE_FAILED("restic's list of backups cannot be read.", why=said[:200]) from (
                error
            )

    async def _latest(self, scope: Scope) -> str | None:
        found = await self.snapshots(scope)
        return found[-1].id if found else None

    async def index(self, snapshot: str) -> Index:
        """Read what a backup says of itself; raise NOT_FOUND or CORRUPT."""
        words = ["dump", "--no-lock", snapshot, f"/{held.CUT}/{held.FILE}"]
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
            await self._restic.run(
                words, doing="restoring", on_line=pace.hear, on_written=pace.written
            )
        missing = [path for path in paths if not (target / path).exists()]
        if missing:
            raise CORRUPT(
                f"The backup {snapshot[:12]} does not hold {missing[0]}.", hint="skerry backup list"
            )

    async def forget(self, scope: Scope, keep: Keep, changes: str = "") -> int:
        """Remove what retention does not keep; return how many went.

        Changes are of all apps together; they are kept for the span `changes`.
        """
        if self.destination.append_only:
            return 0
        async with self._alone():
            await self._ready()
            self._last.clear()
            removed = await self._forget(_tag(scope), keep.flags())
            if changes:
                removed += await self._forget(CHANGES_TAG, ["--keep-within", span(changes)])
            if removed:
                await self._restic.run(
                    ["prune", "--max-unused", "10%"], doing="removing unused data"
                )
            return removed

    async def _forget(self, tag: str, keep: Sequence[str]) -> int:
        words = ["forget", "--json", "--tag", tag, "--group-by", "", *keep]
        said = await self._restic.run(words, doing="removing old backups")
        return sum(len(group.get("remove") or []) for group in _groups(said))

    async def check(self, part: int = 0, *, everything: bool = False) -> None:
        """Verify the structure, and read one part of `SUBSETS` of the data, or all of it.

        Raises CORRUPT. A flipped byte in stored data is found only by reading it.
        """
        words = ["check"]
        words += ["--read-data"] if everything else []
        words += [f"--read-data-subset={part % SUBSETS + 1}/{SUBSETS}"] if not everything else []
        async with self._alone():
            await self._ready()
            await self._restic.run(words, doing="checking backups")

    async def repair(self) -> list[str]:
        """Read everything; take damaged packs out of use, and return their names.

        What they held is stored again by the next backup where it still lives here, and then old
        backups are whole again too. Raises UNSUPPORTED where a pack cannot be set aside.
        """
        async with self._alone():
            await self._ready()
            self._last.clear()
            said = await self._restic.run(
                ["check", "--read-data"], doing="checking backups", accept=(0, 1), complaints=True
            )
            listed = await self._restic.run(["list", "packs"], doing="listing packs")
            bad = damage.packs(said, listed.split())
            if bad and self._restic.program.version >= damage.REPAIRS_ITSELF:
                await self._restic.run(["repair", "packs", *bad], doing="repairing")
            elif bad:
                now = self._clock.now()
                await asyncio.to_thread(damage.set_aside, self.destination, bad, now)
            await self._restic.run(["rebuild-index"], doing="repairing")
            return bad

    async def drop_broken(self) -> list[str]:
        """Remove backups whose data is missing in the store; return their names.

        Nothing is removed from a store that is append-only, but what is broken is named.
        """
        kept: list[Snapshot | Shipment] = [*await self.snapshots(), *await self.shipments()]
        broken: list[Snapshot | Shipment] = []
        for each in kept:
            words = ["stats", "--no-lock", "--mode", "raw-data", "--json", each.id]
            try:
                await self._restic.run(words, doing="looking for what is missing", seconds=3600)
            except SkerryError as error:
                if error.problem.temporary:
                    raise
                broken.append(each)
        if broken and not self.destination.append_only:
            async with self._alone():
                self._last.clear()
                words = ["forget", *(each.id for each in broken)]
                await self._restic.run(words, doing="removing broken backups")
        return [each.short for each in broken]

    async def size(self) -> int:
        """Return how many bytes the store holds."""
        words = ["stats", "--no-lock", "--mode", "raw-data", "--json"]
        async with self._lock:
            said = await self._restic.run(words, doing="measuring", seconds=3600)
        return int(msgspec.json.decode(said)["total_size"])


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


def _shipment(found: dict[str, Any]) -> Shipment:
    directories = {}
    for tag in found.get("tags") or []:
        name, _, value = tag.partition("=")
        if name == "holds":
            directory, *times = value.split("/")
            directories[directory] = Span(*map(int, times))
    return Shipment(found["id"], directories)


def _untold(_done: int, _total: int, _text: str) -> None:
    """Report to nobody."""


def _nanoseconds(text: str) -> int:
    moment = datetime.datetime.fromisoformat(text[:19]).replace(tzinfo=datetime.UTC)
    return int(moment.timestamp()) * NANOSECONDS


def _groups(said: str) -> list[dict[str, Any]]:
    lines = [line for line in said.splitlines() if line.startswith("[")]
    return list(msgspec.json.decode(lines[0])) if lines else []


def _literal(path: str) -> str:
    """Return a path in which the engine sees no pattern."""
    return "".join(f"\\{each}" if each in "*?[]\\" else each for each in path)
