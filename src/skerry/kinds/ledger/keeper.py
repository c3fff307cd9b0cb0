"""The keeper of a ledger: it orders requests, makes them durable, and carries them out, serially.

Two threads: the *scribe* takes what waits as one group, gives it timestamps and writes it to the
log with one sync; the *clerk* then carries it out on the book, in the same order, while the scribe
writes the next group. A reply leaves only after both. Questions pass through both threads too, so
that each one sees all that was acknowledged before it.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from skerry.kernel.clock import Clock
from skerry.kernel.errors import CORRUPT, DISK_FULL, INTERNAL, INVALID, SkerryError
from skerry.kernel.ledger.records import BATCH_MAX
from skerry.kernel.ledger.rows import Rows
from skerry.kernel.usage import Meter, NoMeter
from skerry.kinds.ledger import snapshot
from skerry.kinds.ledger.archivist import Archivist
from skerry.kinds.ledger.book import AUTO, COMPILED, PLAIN, AnyBook, Switch, has_compiler, open_book
from skerry.kinds.ledger.history import History
from skerry.kinds.ledger.journal import Journal, Record
from skerry.kinds.ledger.operations import SHAPES, Operation, events_of, execute
from skerry.kinds.ledger.plain import PlainBook
from skerry.kinds.ledger.snapshot import Session

WAITING_MAX = 128
"""How many requests wait at most; each is up to 1 MiB."""

NO_METER = NoMeter()
GROUP_MAX = 64
SESSIONS_MAX = 64
"""How many sessions of clients are remembered; the one that was silent longest goes first."""

BUSY_FROM = 10_000
"""How many transfers a ledger has before the compiled machine is made ready for it."""

COMPILED_FROM = 50_000
"""How many make it wait for that machine at its start, for the plain one would take longer."""

SNAPSHOT_BYTES = {COMPILED: 128 << 20, PLAIN: 8 << 20}
"""How much log there is between two snapshots, by machine: about a second's work at a start."""

STOP_SNAPSHOT_BYTES = range(1 << 20, 64 << 20)
"""How much log since the last snapshot makes one worth while at the end, and short enough."""


Found = TypeVar("Found")


@dataclass(slots=True, eq=False)
class Job:
    """A request on its way; for one that writes, the log's record gives its place and time."""

    operation: int
    body: bytes
    events: int
    done: asyncio.Future[Answer] | None = None
    client: int = 0
    session: int = 0
    request: int = 0
    release: int = 0
    sequence: int = 0
    timestamp: int = 0
    answer: Answer | None = None
    error: SkerryError | None = None

    @property
    def writes(self) -> bool:
        """Whether it goes into the log."""
        shape = SHAPES.get(Operation(self.operation))
        return shape is None or shape.writes


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply's body, and the place and time of the state that it tells of."""

    body: bytes
    sequence: int
    timestamp: int
    operation: int = 0


class Keeper:
    """A ledger in a directory. `open` first, `close` at the end; both block."""

    book: AnyBook

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        *,
        meter: Meter = NO_METER,
        snapshot_bytes: int | None = None,
        machine: str = AUTO,
        retention_seconds: float = 0.0,
    ) -> None:
        self.directory = directory
        self.history = History(directory, retention_seconds)
        self._archivist = Archivist(directory)
        self.clock = clock
        self.meter = meter
        self.journal = Journal(directory)
        self.sessions: OrderedDict[int, Session] = OrderedDict()
        self._snapshot_bytes = snapshot_bytes
        self._machine = machine
        self._switch = Switch() if machine == AUTO and has_compiler() else None
        self._inbox: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._desk: queue.Queue[list[Job] | None] = queue.Queue(maxsize=2)
        self._room = asyncio.Semaphore(WAITING_MAX)
        self._hold = threading.Lock()
        self._held = False
        self._threads: list[threading.Thread] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._last = 0
        self._applied = 0
        self._state = (0, 0)
        self._unsaved = 0
        self._generation = 0
        self._failed: SkerryError | None = None

    def open(self) -> None:
        """Load the last snapshot, carry out the rest of the log, and begin to serve.

        Where the node asked for a past moment, this goes on from then. Raises CORRUPT, or CONFLICT
        if that moment is out of reach, and then the directory is as it was.
        """
        moment = self.history.pending()
        if moment is not None:
            self.history.check(moment, self.clock.now(), self.journal)
        mark = self.history.newest(moment)
        head = None
        if mark is None:
            self.book = self._open_book(None, 0)
            after, previous = 0, bytes(32)
        else:
            head, rows = snapshot.load(self.directory, mark)
            self.book = self._open_book(rows, head.timestamp)
            if self.book.digest != head.state:
                raise _disagrees(head.sequence)
            self.sessions.update({int(client, 16): each for client, each in head.sessions.items()})
            self._generation = head.generation
            after, previous = head.sequence, bytes.fromhex(head.previous)
        self._applied, self._last = after, self.book.timestamp
        self._state = (after, self.book.digest)
        digests = {after: self.book.digest}
        for record in self.journal.read(after, previous, moment):
            self._replay(record, digests)
        if moment is not None:
            self.history.arrived(head)
        if mark is None and self.journal.sequence == 0:
            # The past of a ledger begins when it does, not with its first account.
            self.save()
        for work in (self._scribe, self._clerk):
            thread = threading.Thread(target=work, name=f"ledger-{work.__name__}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def _open_book(self, rows: Rows | None, timestamp: int) -> AnyBook:
        """Return the book of these rows, on the machine that fits what it will have to do."""
        machine = self._machine
        events = 0 if rows is None else len(rows.fates)
        if machine == AUTO and has_compiler() and events >= COMPILED_FROM:
            machine = COMPILED
        return open_book(rows, timestamp, compiled=machine == COMPILED)

    def _replay(self, record: Record, digests: dict[int, int]) -> None:
        expected = digests.get(record.checked)
        if expected is not None and record.checked and expected != record.state:
            raise _disagrees(record.checked)
        job = Job(record.operation, record.body, 0)
        job.client, job.session, job.request = record.client, record.session, record.request
        job.sequence, job.timestamp = record.sequence, record.timestamp
        self._carry_out(job)
        self._last = record.timestamp
        digests[record.sequence] = self.book.digest
        for old in [each for each in digests if each < record.checked]:
            del digests[old]
        self._unsaved += len(record.body)

    def close(self) -> None:
        """Finish what waits, write a snapshot if it is worth it, and close the log."""
        if self._threads:
            self._inbox.put(None)
            for thread in self._threads:
                thread.join()
            self._threads.clear()
            self._archivist.close()
            if self._failed is None and self._unsaved in STOP_SNAPSHOT_BYTES:
                self.save()
        self.journal.close()

    def look(self, ask: Callable[[AnyBook], Found]) -> Found:
        """Ask the book as it stands between two requests; blocks."""
        self._pause()
        try:
            return ask(self.book)
        finally:
            self._resume()

    def replace(self, rows: Rows, timestamp: int) -> None:
        """Go on from another state, whole or not at all; blocks.

        Raises INVALID if the rows are not those of a ledger.
        """
        try:
            book = self._open_book(rows, timestamp)
        except (AssertionError, KeyError, ValueError, IndexError) as error:
            raise INVALID("This is not the state of a ledger.", why=str(error)) from error
        self._pause()
        try:
            self.book, self._generation = book, self._generation + 1
            self._last = max(self._last, timestamp)
            self.save(since=max(self._last, self.clock.now()))
            self._applied = self.journal.sequence
            self._state = (self._applied, book.digest)
        finally:
            self._resume()

    def _pause(self) -> None:
        """Wait until nothing is on its way, and let nothing begin."""
        self._hold.acquire()
        self._desk.join()
        self._archivist.hold()

    def _resume(self) -> None:
        self._archivist.release()
        self._hold.release()

    def hold(self) -> None:
        """Keep every file as it is until `release`; blocks until nothing is being written."""
        self._hold.acquire()
        self._archivist.hold()
        self._held = True

    def release(self) -> None:
        """Let writing go on; harmless where it was not held."""
        if self._held:
            self._held = False
            self._archivist.release()
            self._hold.release()

    async def submit(
        self,
        operation: int,
        body: bytes,
        *,
        client: int = 0,
        session: int = 0,
        request: int = 0,
        release: int = 0,
    ) -> Answer:
        """Carry out a request; when this returns, what it wrote is durable.

        Raises INVALID or TOO_LARGE for a body that is none, and then nothing was done; DISK_FULL if
        it could not be made durable, and then nothing was done either.
        """
        events = 1 if operation == Operation.REGISTER else events_of(operation, memoryview(body))
        loop = asyncio.get_running_loop()
        self._loop = loop
        async with self._room:
            if self._failed is not None:
                raise self._failed
            job = Job(operation, body, events, loop.create_future())
            job.client, job.session = client, session
            job.request, job.release = request, release
            self._inbox.put(job)
            assert job.done is not None
            answer: Answer = await asyncio.shield(job.done)
        self._count(job)
        return answer

    def _count(self, job: Job) -> None:
        """Meter a request that was carried out."""
        shape = SHAPES.get(Operation(job.operation))
        if shape is None:
            return
        if shape.writes:
            self.meter.add(shape.method.removeprefix("create_"), job.events)
            self.meter.add("bytes_written", len(job.body))
        else:
            self.meter.add("lookups", job.events)

    async def expire(self) -> None:
        """Expire what timed out, if anything did."""
        due = self.book.next_expiry
        if due is not None and due <= self.clock.now() and self._failed is None:
            loop = asyncio.get_running_loop()
            self._loop = loop
            job = Job(Operation.PULSE, b"", BATCH_MAX, loop.create_future())
            assert job.done is not None
            self._inbox.put(job)
            await asyncio.shield(job.done)

    def _scribe(self) -> None:
        """Write what waits to the log, group by group."""
        over = False
        while not over:
            job = self._inbox.get()
            group: list[Job] = []
            while job is not None:
                group.append(job)
                if len(group) >= GROUP_MAX:
                    break
                try:
                    job = self._inbox.get_nowait()
                except queue.Empty:
                    break
            over = job is None
            if group:
                with self._hold:
                    self._write_or_fail(group)
                    self._desk.put(group)
                if self._unsaved >= (self._snapshot_bytes or SNAPSHOT_BYTES[self.book.name]):
                    self._desk.join()
                    with self._hold:
                        self._archivist.hold()
                        try:
                            self.save()
                        finally:
                            self._archivist.release()
        self._desk.put(None)

    def _write_or_fail(self, group: list[Job]) -> None:
        try:
            self._write(group)
        except Exception as error:
            # Nothing may leave without being in the log, and nobody may wait for ever.
            self._failed = INTERNAL("The ledger stopped: its log failed.", why=repr(error))
            for job in group:
                job.error = self._failed

    def _write(self, group: list[Job]) -> None:
        now = self.clock.now()
        due = self.book.next_expiry
        if due is not None and due <= now:
            group.insert(0, Job(Operation.PULSE, b"", BATCH_MAX))
        checked, state = self._state
        records: list[Record] = []
        writers = [job for job in group if job.writes]
        last = self._last
        for job in writers:
            last = job.timestamp = max(now, last + max(job.events, 1))
            records.append(
                Record(
                    0,
                    job.timestamp,
                    job.operation,
                    job.body,
                    job.client,
                    job.session,
                    job.request,
                    job.release,
                    checked,
                    state,
                )
            )
        if not records:
            return
        try:
            written = self.journal.append(records)
        except OSError as error:
            refused = DISK_FULL("The ledger's log could not be written.", why=str(error))
            for job in writers:
                job.error = refused
            return
        self._last = last
        self._unsaved += sum(len(job.body) for job in writers)
        for job, record in zip(writers, written, strict=True):
            job.sequence = record.sequence

    def _clerk(self) -> None:
        """Carry out what is durable, and send the replies."""
        while True:
            group = self._desk.get()
            if group is None:
                self._desk.task_done()
                return
            for job in group:
                self._do(job)
            self._confirm(group)
            self._deliver(group)
            if self.book.name == COMPILED:
                self._archivist.left_behind(self.book, self._generation)
            if self._switch is not None and self._failed is None:
                self._switch_if_ready(self._switch)
            self._desk.task_done()

    def _confirm(self, group: list[Job]) -> None:
        """Wait until what was written may be acknowledged."""
        if not any(job.sequence for job in group):
            return
        try:
            self.journal.confirm()
        except SkerryError as error:
            for job in group:
                if job.sequence:
                    job.error = job.error or error

    def _switch_if_ready(self, switch: Switch) -> None:
        """Go on with the compiled machine, once the ledger is busy and the machine is there."""
        if self.book.name != PlainBook.name:
            self._switch = None
        elif self.book.count("transfers") >= BUSY_FROM and switch.ready():
            self.book = switch.convert(self.book)
            self._switch = None

    def _do(self, job: Job) -> None:
        if self._failed is not None:
            job.error = self._failed
        if job.error is not None:
            return
        try:
            job.answer = self._carry_out(job)
        except Exception as error:
            # The log holds what the book cannot carry out: serving on would tell lies.
            self._failed = job.error = INTERNAL(
                "The ledger stopped: a rule that always holds does not.", why=repr(error)
            )

    def _carry_out(self, job: Job) -> Answer:
        if job.operation == Operation.REGISTER:
            return self._register(job)
        timestamp = job.timestamp or self.book.timestamp
        body = execute(self.book, job.operation, timestamp, memoryview(job.body))
        if job.sequence:
            self._applied = job.sequence
            self._state = (job.sequence, self.book.digest)
        answer = Answer(body, max(self._applied, 1), timestamp or 1, job.operation)
        session = self.sessions.get(job.client)
        if session is not None and job.sequence:
            session.request, session.reply = job.request, body
            session.sequence, session.timestamp = answer.sequence, answer.timestamp
            session.operation = job.operation
            self.sessions.move_to_end(job.client)
        return answer

    def _register(self, job: Job) -> Answer:
        self.sessions[job.client] = Session(job.sequence)
        self.sessions.move_to_end(job.client)
        if len(self.sessions) > SESSIONS_MAX:
            self.sessions.popitem(last=False)
        self._applied = job.sequence
        self._state = (job.sequence, self.book.digest)
        return Answer(b"", job.sequence, job.timestamp, job.operation)

    def _deliver(self, group: Iterable[Job]) -> None:
        waiting = [job for job in group if job.done is not None]
        if waiting and self._loop is not None:
            call: Callable[[], object] = lambda: _resolve(waiting)  # noqa: E731
            try:
                self._loop.call_soon_threadsafe(call)
            except RuntimeError:
                # The loop is closed: whoever waited is gone with it.
                return

    def save(self, since: int | None = None) -> int:
        """Write a snapshot of what is applied, and forget what is older than anybody may ask for.

        Nothing may be on its way. `since` is when the state became so: at the last record, but for
        an import.
        """
        self._unsaved = 0
        now = self.clock.now()
        written = snapshot.save(
            self.directory,
            self.book,
            sequence=self.journal.sequence,
            previous=self.journal.previous,
            timestamp=self.book.timestamp,
            state=self.book.digest,
            generation=self._generation,
            sessions=dict(self.sessions),
            time=since or self._last or now,
        )
        self.history.prune(now, self.journal)
        return written


def _resolve(jobs: list[Job]) -> None:
    for job in jobs:
        assert job.done is not None
        if job.done.done():
            continue
        if job.error is not None:
            job.done.set_exception(job.error)
        else:
            assert job.answer is not None
            job.done.set_result(job.answer)


def _disagrees(sequence: int) -> SkerryError:
    return CORRUPT(
        f"The ledger's state after record {sequence} is not the one that its log tells.",
        why="A snapshot or the program that reads it is wrong.",
        hint="skerry doctor",
    )
