"""Brings what happens on a node into its audit log, without slowing what happens.

- Decisions that are acted on wait in memory and are written in batches; the same decision again
  within ten minutes is counted, not repeated.
- Changes of the catalogue are taken from its own log, which is durable before: what a crash cuts
  off is caught up at the next start, so that none is missing.
- What was billed is stated as growth of every account since the last statement, with the head of
  the ledger's log, which commits to every reading.
- Whoever needs an entry to be durable before going on awaits `add`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import msgspec

from skerry.kernel.catalogue import Catalogue, ResourceRecord
from skerry.kernel.clock import Clock
from skerry.kernel.errors import BUSY, DISK_FULL, ENGINE_FAILED, SkerryError
from skerry.kernel.events import AnyEvent, AppDeleted, BranchDeleted
from skerry.kernel.ledger import Balance, Balances, Ledger
from skerry.kernel.log import Entry
from skerry.kernel.policy import Decision, Request
from skerry.node.audit.entries import (
    Record,
    decode,
    fitted,
    moment,
    of_decision,
    of_event,
    shown,
)
from skerry.node.audit.growth import Growth
from skerry.node.audit.log import AuditLog
from skerry.node.audit.merkle import leaf_hash
from skerry.node.audit.note import Signer
from skerry.node.audit.repeats import Repeats
from skerry.node.home import write_secret_parts
from skerry.node.log_file import Head
from skerry.node.shelf import DiskBalances

BATCH_MAX = 2000
PENDING_MAX = 20_000
GATHER_SECONDS = 0.2
STATEMENT_SECONDS = 600.0
KEPT_ENTRIES = 5_000
"""After how many entries it is kept what the log says, so that a start need not read them."""
GROWN_MAX = 20_000
"""Accounts that may wait for a statement; it is made early when there are more."""
ACCOUNTS_MAX = 400
"""Accounts in one statement; a longer one is continued in the next entry."""

_log = logging.getLogger(__name__)


class Source(Protocol):
    """A log that the audit log states the head of."""

    @property
    def head(self) -> tuple[int, bytes]:
        """The sequence number of the next entry, and the digest of the last durable one."""
        ...


class Followed(Source, Protocol):
    """A log whose entries the audit log follows."""

    @property
    def position(self) -> Head:
        """The head, and where its last entry is to be found."""
        ...

    def read(self, start: int = 0, frame: int = 0) -> Iterator[Entry]:
        """See `LogFile.read`."""
        ...

    def beside(self, most: int) -> tuple[Catalogue, Head]:
        """Return a catalogue of its own of at `most` so many entries, and the head of those."""
        ...


@dataclass(slots=True)
class _Wanted:
    """An entry that is to be written, and who waits for its index."""

    what: str
    of: dict[str, Any]
    time: int
    done: asyncio.Future[int] | None = None


@dataclass(slots=True)
class _Past:
    """What the log says already: how far it followed the catalogue, and what it stated."""

    billed: Balances
    catalogue_next: int = 0

    def take(self, what: str, of: dict[str, Any]) -> None:
        """Take an entry into account."""
        if what == "catalogue":
            self.catalogue_next = int(of["sequence"]) + 1
        elif what == "billed":
            for account, unit, amount in of["growth"]:
                before = self.billed.get(account, unit)
                self.billed.put(account, unit, Balance(before.debits + amount))


class _Kept(msgspec.Struct, frozen=True):
    """The past as it was kept last, with the head that it holds for.

    It is the first line of its file; each further line is an account, a unit and what was stated.
    """

    size: int
    root: bytes
    catalogue_next: int


class Recorder:
    """The audit log of a node as the rest of the node uses it."""

    def __init__(
        self,
        directory: Path,
        signer: Signer,
        clock: Clock,
        catalogue_log: Followed,
        ledger_log: Source,
        ledger: Ledger,
        reading: frozenset[str] = frozenset(),
    ) -> None:
        self._clock = clock
        self._catalogue_log = catalogue_log
        self._ledger_log = ledger_log
        self._ledger = ledger
        self._reading = reading
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="audit")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._past_file = directory / "past.ndjson"
        self._pending: list[_Wanted] = []
        self._repeats = Repeats()
        self._lost = 0
        self._kept_size = 0
        self._seen = Head()
        self._barriers: list[asyncio.Future[None]] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._grown = Growth(directory)
        self._stated_at = clock.monotonic()
        self._closing = False
        self.on_checkpoint: list[Callable[[], None]] = []
        """Called after entries were sealed: whoever collects cosignatures listens here."""
        self.log = AuditLog(directory, signer)
        billed = DiskBalances(directory)
        self._past = _Past(billed)
        self._shadow: Catalogue | None = None

    # ---- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Catch up with the catalogue, then follow."""
        self._loop = asyncio.get_running_loop()
        await self._in_thread(self._read_past)
        self._task = asyncio.create_task(self._run())
        self._wake.set()

    def _read_past(self) -> None:
        """Read what the log says already, so that nothing is stated twice or left out.

        What it knew not long ago is kept beside the log, so that only what came later is read.
        """
        start = self._read_kept() if self._past_file.exists() else 0
        for data in self.log.entries(start):
            record = decode(data)
            self._past.take(record.what, record.of)
        self._grown.update(
            (account, unit)
            for account, unit, balance in self._ledger.balances.below()
            if balance.debits > self._past.billed.get(account, unit).debits
        )
        self._ledger.on_growth.append(self._note_growth)

    def _read_kept(self) -> int:
        """Take what was kept last; return the entry from which on the log says more."""
        with self._past_file.open("rb") as file:
            kept = msgspec.json.decode(file.readline(), type=_Kept)
            if kept.size > self.log.head.size or kept.root != self.log.root_at(kept.size):
                return 0
            self._past.catalogue_next = kept.catalogue_next
            for line in file:
                account, unit, amount = msgspec.json.decode(line, type=tuple[str, str, int])
                self._past.billed.put(account, unit, Balance(amount))
        self._kept_size = kept.size
        return kept.size

    def _write_past(self) -> None:
        head = self.log.head
        self._kept_size = head.size
        kept = _Kept(head.size, head.root, self._past.catalogue_next)
        billed = ((account, unit, n.debits) for account, unit, n in self._past.billed.below())
        lines = (msgspec.json.encode(each) + b"\n" for each in chain((kept,), billed))
        write_secret_parts(self._past_file, lines)

    def _note_growth(self, account: str, unit: str) -> None:
        """Remember that an account has used more than was stated."""
        self._grown.add(account, unit)
        if len(self._grown) > GROWN_MAX:
            self._wake.set()

    async def close(self) -> None:
        """State what was billed last, write what waits, and stop.

        On a disk that fails, decisions of the last moments are lost; the catalogue and what was
        billed are caught up with at the next start.
        """
        self._closing = True
        self._wake.set()
        if self._task is not None:
            try:
                await asyncio.shield(self._task)
                await self._in_thread(self._write_past)
            except (OSError, SkerryError):
                _log.exception("the end of the audit log could not be written")
        self._thread.shutdown()
        self._ledger.on_growth.clear()
        self._past.billed.close()
        self._grown.close()
        if self._shadow is not None:
            self._shadow.shelf.close()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), STATEMENT_SECONDS)
            if not self._closing:
                await asyncio.sleep(GATHER_SECONDS)
            self._wake.clear()
            closing = self._closing
            try:
                await self._flush(closing)
                if self.log.head.size - self._kept_size >= KEPT_ENTRIES:
                    await self._in_thread(self._write_past)
            except Exception:
                if closing:
                    raise
                _log.exception("the audit log could not be written; it is tried again")
                await asyncio.sleep(1.0)
                self._wake.set()
            if closing and self._closing:
                return

    # ---- what is told --------------------------------------------------------------------------

    def decided(self, request: Request, decision: Decision) -> None:
        """Note a decision that is acted on. Never blocks; too many are counted as lost.

        That somebody allowed looked at the node's own state is not kept: it places nothing.
        """
        if decision.rule == "administration" and request.action in self._reading:
            return
        fresh, before = self._repeats.take(request, decision, self._clock.monotonic())
        if not fresh:
            return
        if before is not None:
            self._want("decision", before)
        self._want("decision", of_decision(request, decision))

    def changed(self) -> None:
        """Note that the catalogue has changed: its log is followed soon."""
        self._wake.set()

    async def add(self, what: str, of: dict[str, Any]) -> int:
        """Append an entry; return its index when it is durable. Raises BUSY, and disk errors."""
        if self._closing:
            raise ENGINE_FAILED("The audit log is closed.", why="The node is stopping.")
        if len(self._pending) >= PENDING_MAX:
            raise BUSY("The audit log's disk does not keep up.")
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._pending.append(_Wanted(what, of, self._clock.now(), done))
        self._wake.set()
        return await asyncio.shield(done)

    def _want(self, what: str, of: dict[str, Any]) -> None:
        if len(self._pending) >= PENDING_MAX:
            self._lost += 1
            return
        self._pending.append(_Wanted(what, of, self._clock.now()))
        self._rouse()

    def _rouse(self) -> None:
        """Let what waits be written, from whatever thread this is called."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake.set)

    # ---- writing -------------------------------------------------------------------------------

    async def _flush(self, closing: bool) -> None:
        """Write what waits, what the catalogue's log has more, and a statement if it is due."""
        for said in self._repeats.expired(self._clock.monotonic(), closing=closing):
            self._want("decision", said)
        barriers, self._barriers = self._barriers, []
        wanted = await self._in_thread(self._news_of_catalogue)
        due = (
            self._clock.monotonic() - self._stated_at >= STATEMENT_SECONDS
            or len(self._grown) > GROWN_MAX
        )
        statement = self._statement() if closing or due else []
        if self._lost:
            self._want("lost", {"decisions": self._lost})
            self._lost = 0
        taken, self._pending = self._pending, []
        batch = sorted([*wanted, *taken, *statement], key=lambda each: each.time)
        for start in range(0, len(batch), BATCH_MAX):
            part = batch[start : start + BATCH_MAX]
            try:
                first = await self._in_thread(self._write, part)
            except BaseException as error:
                self._fail(batch[start:], error)
                self._barriers = [*barriers, *self._barriers]
                raise
            self._note_written(part, first)
        if batch:
            for listener in self.on_checkpoint:
                listener()
        for barrier in barriers:
            if not barrier.done():
                barrier.set_result(None)

    def _fail(self, batch: Sequence[_Wanted], error: BaseException) -> None:
        """Tell who waits; keep what nobody waits for. A statement is made anew."""
        kept = []
        for each in batch:
            if each.done is not None:
                if not each.done.done():
                    each.done.set_exception(_explained(error))
            elif each.what == "billed":
                self._grown.update((account, unit) for account, unit, _ in each.of["growth"])
            else:
                kept.append(each)
        self._pending = [*kept, *self._pending][:PENDING_MAX]

    def _note_written(self, part: Sequence[_Wanted], first: int) -> None:
        for index, each in enumerate(part, start=first):
            if each.done is not None and not each.done.done():
                each.done.set_result(index)
            self._past.take(each.what, each.of)
            if each.what == "billed":
                self._stated_at = self._clock.monotonic()

    def _write(self, batch: Sequence[_Wanted]) -> int:
        """Make the entries and append them; runs in the audit thread."""
        index, before = self.log.head.size, self.log.last
        lines = []
        for each in batch:
            record = Record(index, moment(each.time), each.what, each.of, shown(before))
            line = fitted(record)
            lines.append(line)
            index, before = index + 1, leaf_hash(line)
        return self.log.append(lines)

    def _news_of_catalogue(self) -> list[_Wanted]:
        """Return entries for what the catalogue's log has more than the audit log."""
        durable = self._catalogue_log.position
        if durable.sequence <= self._seen.sequence:
            return []
        found: list[_Wanted] = []
        if self._shadow is None:
            self._shadow, self._seen = self._catalogue_log.beside(self._past.catalogue_next)
        for entry in self._catalogue_log.read(self._seen.sequence, self._seen.frame):
            if entry.sequence >= durable.sequence:
                break
            event = msgspec.json.decode(entry.body, type=AnyEvent)
            if entry.sequence >= self._past.catalogue_next:
                gone = list(_gone(self._shadow, event))
                said = of_event(event, entry.sequence, entry.digest(), gone)
                time = max(entry.time, found[-1].time if found else 0)
                found.append(_Wanted("catalogue", said, time))
            self._shadow.apply(entry.body)
            self._seen = Head(entry.sequence + 1)
        self._seen = durable
        return found

    def _statement(self) -> list[_Wanted]:
        """Return what every account used since the last statement."""
        growth = []
        for account, unit in sorted(self._grown):
            stated = self._past.billed.get(account, unit).debits
            used = self._ledger.balances.get(account, unit).debits
            if used > stated:
                growth.append((account, unit, used - stated))
        self._grown.clear()
        sequence, digest = self._ledger_log.head
        head = {"log": "accounts", "entries": sequence, "digest": digest.hex()}
        return [
            _Wanted("billed", {**head, "growth": growth[i : i + ACCOUNTS_MAX]}, self._clock.now())
            for i in range(0, len(growth), ACCOUNTS_MAX)
        ]

    async def _in_thread(self, work: Callable[..., Any], *values: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, work, *values)

    async def ask(self, work: Callable[[AuditLog], Any]) -> Any:
        """Run something on the log in its own thread, between two batches."""
        return await self._in_thread(work, self.log)

    async def settle(self) -> None:
        """Wait until what was told so far is durable."""
        barrier: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._barriers.append(barrier)
        self._wake.set()
        await asyncio.shield(barrier)


def _explained(error: BaseException) -> BaseException:
    """Return what whoever waits for an entry is told."""
    if not isinstance(error, OSError):
        return error
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    problem = DISK_FULL if full else ENGINE_FAILED
    return problem("The audit log cannot be written.", why=str(error), hint="skerry doctor")


def _gone(shadow: Catalogue, event: AnyEvent) -> Iterable[ResourceRecord]:
    """Yield the resources that an event deletes."""
    app = shadow.apps.get(event.app)
    if app is None:
        return
    if isinstance(event, AppDeleted):
        for branch in app.branches.values():
            yield from branch.resources.values()
    elif isinstance(event, BranchDeleted) and event.branch in app.branches:
        yield from app.branches[event.branch].resources.values()
