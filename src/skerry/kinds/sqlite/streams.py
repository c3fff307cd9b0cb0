"""All streams of one database: opened, named by batons, run in few threads, expired, frozen.

A stream's work is a generator. It is advanced in a worker thread; when it yields LOCKED it waits on
the event loop for its turn, without a thread. Work that was measured to be quick and only reads is
advanced on the event loop itself, with a bound after which it starts over in a thread.
"""

from __future__ import annotations

import asyncio
import base64
import collections
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import Any

import apsw

from skerry.kernel.clock import Clock, Entropy
from skerry.kernel.errors import BUSY, SkerryError
from skerry.kernel.usage import Meter
from skerry.kinds._shared.sqlite_state import BUSY_SECONDS, WriterHold
from skerry.kinds.sqlite.failure import HranaError
from skerry.kinds.sqlite.guard import Guard, guarded
from skerry.kinds.sqlite.manifest import SqliteConfig
from skerry.kinds.sqlite.pace import BOUND_SECONDS, Pace
from skerry.kinds.sqlite.statement import LOCKED, Limits
from skerry.kinds.sqlite.stream import Steps, Stream

THREADS = 8
ACTIVE_MAX = 1024
POOLED_MAX = 16
SWEEP_SECONDS = 0.25
NATIVE_BUSY_SECONDS = 0.002
RETRY_SECONDS = 0.01


class Streams:
    """Opens, runs and closes the streams of a database."""

    def __init__(
        self, path: Path, config: SqliteConfig, meter: Meter, clock: Clock, entropy: Entropy
    ) -> None:
        self._path = path
        self._config = config
        self._meter = meter
        self._clock = clock
        self._entropy = entropy
        self._limits = Limits(config.rows_max, config.result_bytes_max)
        self.pace = Pace()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="sqlite")
        self._pool: list[tuple[apsw.Connection, Guard]] = []
        self._streams: set[Stream] = set()
        self._active: set[Stream] = set()
        self._batons: collections.OrderedDict[str, Stream] = collections.OrderedDict()
        self._waiting: collections.deque[asyncio.Future[None]] = collections.deque()
        self._hold = WriterHold(path)
        self._gate = asyncio.Event()
        self._gate.set()
        self._occupied = asyncio.Event()
        self._stopped = False
        self._sweeper = asyncio.create_task(self._sweep())

    def __len__(self) -> int:
        return len(self._streams)

    async def open(self) -> Stream:
        """Open a stream; raise BUSY when too many are open and none can be given up."""
        if len(self._streams) >= self._config.streams_max:
            await self._give_up_one()
        if self._pool:
            connection, guard = self._pool.pop()
        else:
            connection, guard = await self.thread(self._connect)
        stream = Stream(
            connection,
            guard,
            pace=self.pace,
            meter=self._meter,
            limits=self._limits,
            statement_seconds=self._config.statement_seconds,
            lock_seconds=BUSY_SECONDS,
            monotonic=self._clock.monotonic,
        )
        self._streams.add(stream)
        self._occupied.set()
        return stream

    async def close(self, stream: Stream) -> None:
        """Roll back what is open on a stream and end it; harmless when it is closed already."""
        if stream not in self._streams:
            return
        self._streams.discard(stream)
        connection = stream.connection
        if stream.autocommit and not stream.guard.dirty and len(self._pool) < POOLED_MAX:
            connection.set_last_insert_rowid(0)
            self._pool.append((connection, stream.guard))
        else:
            await self.thread(connection.close)
        self._next_waiting()

    def park(self, stream: Stream) -> str:
        """Set a stream aside between two requests; return the baton that takes it up again."""
        baton = base64.urlsafe_b64encode(self._entropy.bytes(24)).decode()
        stream.used_at = self._clock.monotonic()
        self._batons[baton] = stream
        return baton

    async def resume(self, baton: str) -> Stream:
        """Take up the stream that a baton names; a baton works once."""
        stream = self._batons.get(baton)
        if stream is None or stream not in self._streams:
            raise HranaError(
                "The stream has expired, or its baton was used before.", "STREAM_EXPIRED"
            )
        if stream in self._active:
            raise HranaError("The stream is busy with another request.", "STREAM_BUSY")
        del self._batons[baton]
        return stream

    async def run_quick(self, stream: Stream, make: Callable[[], Steps], sql: list[str]) -> Any:
        """Carry out work whose statements `pace` calls quick, here, or else in a thread.

        It is made anew if it overran its bound; nothing was changed, since it only reads.
        """
        if stream in self._active or stream.expired or self._stopped:
            return await self.run(stream, make())
        steps = make()
        stream.bound(BOUND_SECONDS)
        try:
            done, part = _next(steps)
        finally:
            stream.connection.set_progress_handler(None)
        if stream.overran:
            self.pace.demote(sql)
            steps.close()
            stream.overran = False
            return await self.run(stream, make())
        return part if done else await self.run(stream, steps)

    async def run(self, stream: Stream, steps: Steps) -> Any:
        """Carry out work to its end and return its answer."""
        async for _ in self._advance(stream, steps):
            raise AssertionError("only chunks() takes parts of an answer")
        return stream.outcome

    def chunks(self, stream: Stream, steps: Steps) -> AsyncGenerator[Any, None]:
        """Carry out work that yields its answer in parts."""
        return self._advance(stream, steps)

    async def part(self, stream: Stream, steps: Steps) -> Any:
        """Return the next part of work that yields its answer in parts, or None at its end."""
        async with aclosing(self._advance(stream, steps)) as parts:
            async for part in parts:
                return part
        return None

    async def thread(self, job: Callable[..., Any], *arguments: Any) -> Any:
        """Run a blocking call in a worker thread, to its end even if the caller is cancelled."""
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._threads, job, *arguments))

    async def busy(self) -> str:
        """Return why the database must stay awake, or ''."""
        if self._active:
            return "a statement is running"
        if self._batons:
            return "a stream is open between two requests"
        if any(not stream.autocommit for stream in self._streams):
            return "a transaction is open"
        return ""

    async def freeze(self) -> None:
        """Hold off writers in all processes: take their lock, or keep waiting who has it."""
        self._gate.clear()
        give_up = self._clock.monotonic() + BUSY_SECONDS
        while not self._stopped:
            if any(stream.writing for stream in self._streams - self._active):
                return
            try:
                await self.thread(self._hold.hold, 0.05)
                return
            except SkerryError as error:
                if error.problem is not BUSY or self._clock.monotonic() > give_up:
                    self._gate.set()
                    raise
            except BaseException:
                self._gate.set()
                raise

    async def thaw(self) -> None:
        """Let writers go on."""
        await self.thread(self._hold.release)
        self._gate.set()
        self._next_waiting()

    async def stop(self) -> None:
        """Stop what runs, roll back what is open, close every connection."""
        self._stopped = True
        self._sweeper.cancel()
        await asyncio.gather(self._sweeper, return_exceptions=True)
        for stream in self._active:
            stream.connection.interrupt()
        await asyncio.to_thread(self._threads.shutdown, wait=True)
        await asyncio.to_thread(self._close_all)
        self._gate.set()

    def _close_all(self) -> None:
        self._hold.release()
        for connection in [each for each, _ in self._pool]:
            connection.close()
        for stream in self._streams:
            stream.connection.close()
        self._pool.clear()
        self._streams.clear()
        self._batons.clear()

    def _connect(self) -> tuple[apsw.Connection, Guard]:
        return guarded(
            self._path,
            database_bytes_max=self._config.database_bytes_max,
            busy_seconds=NATIVE_BUSY_SECONDS,
        )

    async def _advance(self, stream: Stream, steps: Steps) -> AsyncGenerator[Any, None]:
        """Advance work part by part, waiting while the database is frozen or locked."""
        if stream.expired:
            raise HranaError("The transaction was idle too long and is undone.", "STREAM_EXPIRED")
        if stream in self._active:
            raise HranaError("The stream is busy with another request.", "STREAM_BUSY")
        if len(self._active) >= ACTIVE_MAX:
            raise BUSY("Too many statements are running.")
        self._active.add(stream)
        try:
            while True:
                if not self._gate.is_set():
                    self._active.discard(stream)
                    await self._gate.wait()
                    self._active.add(stream)
                if self._stopped:
                    raise BUSY("The database is going to sleep.")
                done, part = await self._step(stream, steps)
                if done:
                    stream.outcome = part
                    return
                if part is LOCKED:
                    await self._turn()
                else:
                    yield part
        finally:
            self._active.discard(stream)
            stream.used_at = self._clock.monotonic()
            self._next_waiting()

    async def _step(self, stream: Stream, steps: Steps) -> tuple[bool, Any]:
        """Advance work once in a thread; if the caller goes away, stop it and wait for its end."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, _next, steps)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            stream.connection.interrupt()
            await asyncio.wait([future])
            raise

    async def _turn(self) -> None:
        """Wait until a lock may have been let go, here or, unseen, in another process."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await asyncio.wait_for(turn, RETRY_SECONDS)
        except TimeoutError:
            self._waiting = collections.deque(each for each in self._waiting if each is not turn)

    def _next_waiting(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    async def _give_up_one(self) -> None:
        """Close the stream that was set aside longest and has no transaction."""
        for baton, stream in self._batons.items():
            if stream not in self._active and stream.autocommit:
                del self._batons[baton]
                await self.close(stream)
                return
        raise BUSY(f"{len(self._streams)} streams are open, which is the limit.")

    async def _sweep(self) -> None:
        """Interrupt statements that run too long; end streams that nobody takes up."""
        while True:
            if not self._streams:
                self._occupied.clear()
                await self._occupied.wait()
            await asyncio.sleep(SWEEP_SECONDS)
            now = self._clock.monotonic()
            for stream in self._active:
                if stream.deadline is not None and now > stream.deadline:
                    stream.timed_out = True
                    stream.connection.interrupt()
            if self._gate.is_set():
                await self._expire(now - self._config.transaction_seconds)

    async def _expire(self, before: float) -> None:
        for baton, stream in list(self._batons.items()):
            if stream in self._active or stream.used_at >= before:
                continue
            if self._batons.pop(baton, None) is not None:
                await self.close(stream)
        for stream in self._streams - self._active:
            if stream.used_at < before and stream not in self._active and not stream.autocommit:
                stream.expired = True
                await self.thread(stream.rollback)


def _next(steps: Steps) -> tuple[bool, Any]:
    """Advance a generator; tell whether it has ended, and what it yielded or returned."""
    try:
        return False, next(steps)
    except StopIteration as end:
        return True, end.value
