"""Runs queued jobs, one execution after the other, and keeps every result as it comes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import msgspec

from skerry.kernel.errors import CONFLICT, INTERNAL, SkerryError
from skerry.kernel.kind import Context
from skerry.kinds.quantum import pricing, reservations, results, sessions, twins
from skerry.kinds.quantum.alarm import Alarm
from skerry.kinds.quantum.catalogue.model import Calibration, Device
from skerry.kinds.quantum.config import QuantumConfig
from skerry.kinds.quantum.contract import (
    TERMINAL,
    Cost,
    Job,
    JobRequest,
    JobState,
    Program,
    Reservation,
    Result,
)
from skerry.kinds.quantum.line import Line
from skerry.kinds.quantum.store import Store
from skerry.kinds.quantum.workers import StoppedError, Workers

T = TypeVar("T")
_RECENT = 20
_LOOK_SECONDS = 30.0
KEEP_SECONDS = 0.25
"""How long a result may wait to be written; a crash makes it again from the same seed."""


@dataclass
class _Found:
    """What a job has come to: results that are not kept yet, and what was used, in all and since.

    Jobs of many executions would spend more on writing each than on running it.
    """

    done: int
    usage: dict[str, int]
    kept_at: float
    results: list[Result] = field(default_factory=list)
    spent: dict[str, int] = field(default_factory=dict)

    def add(self, result: Result, spent: dict[str, int]) -> None:
        """Take the result of the next execution."""
        self.results.append(result)
        self.done += 1
        for unit, amount in spent.items():
            self.usage[unit] = self.usage.get(unit, 0) + amount
            self.spent[unit] = self.spent.get(unit, 0) + amount


class Bench(Protocol):
    """What a runner needs of the desk that it works for."""

    context: Context
    config: QuantumConfig

    async def stored(self, job: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call a method of the store in its thread."""
        ...

    def device(self, name: str) -> tuple[Device, Calibration | None, int]:
        """Return a device with the calibration in force for it, and its revision."""
        ...

    def worker_params(
        self, request: JobRequest, program: Program, binding: int, seed: int
    ) -> dict[str, Any]:
        """Return what a worker is told of one execution."""
        ...

    def rates(self) -> pricing.Rates:
        """Return what a euro is worth."""
        ...

    async def priced(self, request: JobRequest, shots: int, seconds: float | None) -> Cost:
        """Return what a request costs with so many shots, and so much time on the machine."""
        ...

    def seconds_max(self, request: JobRequest) -> int:
        """Return how many whole seconds on a machine a request's ceiling pays for, 0 for any."""
        ...


class Runner:
    """The loop that runs jobs; there is one of each resource."""

    def __init__(self, desk: Bench, alarm: Alarm) -> None:
        self._desk = desk
        self._alarm = alarm
        self._line = Line()
        self._requests: dict[str, JobRequest] = {}
        self._reserved: list[Reservation] = []
        self.workers = Workers(desk.context.clock, desk.context.environments)
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._changed = asyncio.Condition()
        self._marking = asyncio.Lock()
        self._version = 0
        self._current = ""
        self._recent: deque[float] = deque(maxlen=_RECENT)

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return len(self._line)

    @property
    def busy(self) -> str:
        """What is being done, or nothing."""
        if self._current:
            return f"job {self._current} runs"
        return f"{self.waiting} jobs wait" if self.waiting else ""

    async def start(self) -> None:
        """Line up what is queued, and start."""
        self._line = Line()
        self._requests = {}
        await self.reserved()
        for job in await self._desk.stored(Store.open):
            if job.state is JobState.QUEUED and job.request.provider == "twin":
                await self._join(job)
        await self._alarm.queue(waits=bool(self._line))
        self._task = asyncio.create_task(self._loop())
        self._wake.set()

    async def stop(self) -> None:
        """Stop; the running job goes back into the queue at the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self.workers.close()

    async def enqueue(self, job: Job) -> None:
        """Put a job that is on the disk into the line."""
        async with self._marking:
            await self._alarm.queue(waits=True)
            await self._join(job)
        self._wake.set()

    async def reserved(self) -> None:
        """Look again which reservations there are: one was made, or given up."""
        now = self._desk.context.clock.now()
        self._reserved = await self._desk.stored(reservations.coming, now)
        self._wake.set()

    async def _join(self, job: Job) -> None:
        """Put a job into the line; those of a dedicated session go first."""
        session = job.request.session
        first = bool(session) and await self._desk.stored(sessions.is_dedicated, session)
        first = first or bool(job.request.reservation)
        # A line of OPEN_JOBS_MAX jobs does not keep their programs in memory as well.
        self._requests[job.id] = msgspec.structs.replace(job.request, programs=(), native={})
        self._line.join(job.request.owner, job.id, first=first)

    def position(self, job: Job) -> int:
        """Return a job's place in the line, 1 for the next."""
        return self._line.position(job.request.owner, job.id)

    def seconds_until(self, position: int) -> float | None:
        """Estimate when a place in the line comes to its turn, from how long jobs took lately."""
        if not self._recent:
            return None
        running = 1 if self._current else 0
        return round((position - 1 + running) * sum(self._recent) / len(self._recent), 3)

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job, wherever it is; return it as it then stands."""
        job = await self._desk.stored(Store.job, job_id)
        if self._line.leave(job.request.owner, job_id):
            self._requests.pop(job_id, None)
            ended = self._desk.context.clock.now()
            job = await self._desk.stored(
                Store.change, job_id, JobState.CANCELLED, "asked for", ended=ended
            )
            await self.tell()
        elif self._current == job_id:
            job = await self._cancel_running(job_id)
        return job

    async def _cancel_running(self, job_id: str) -> Job:
        """Stop the job that runs, or is about to; one that ends meanwhile stays as it ends."""
        try:
            job = await self._desk.stored(Store.change, job_id, JobState.CANCELLING, "asked for")
        except SkerryError as error:
            if error.problem is not CONFLICT:
                raise
            return await self._desk.stored(Store.job, job_id)
        await self.workers.stop()
        return job

    async def wait(self, job_id: str, seconds: float) -> Job:
        """Return a job once it is over, or as it stands when the time is up."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    seen = self._version
                    job = await self._desk.stored(Store.job, job_id)
                    if job.state in TERMINAL:
                        return job
                    async with self._changed:
                        while self._version == seen:
                            await self._changed.wait()
        except TimeoutError:
            return await self._desk.stored(Store.job, job_id)

    async def tell(self) -> None:
        """Wake whoever waits for a job: one has changed."""
        async with self._changed:
            self._version += 1
            self._changed.notify_all()

    async def _loop(self) -> None:
        while True:
            self._wake.clear()
            job_id = self._line.next(self._is_held)
            if job_id is None and self._line:
                await self._until_change()
                continue
            if job_id is None:
                async with self._marking:
                    if not self._line:
                        await self._alarm.queue(waits=False)
                if not self._line:
                    await self._wake.wait()
                continue
            self._current = job_id
            self._requests.pop(job_id, None)
            try:
                await self._job(job_id)
            except StoppedError:
                await self._cancelled(job_id)
            except SkerryError as error:
                await self._end(job_id, error)
            except Exception as error:
                self._desk.context.log.exception("job %s", job_id)
                await self._end(job_id, INTERNAL(f"{type(error).__name__}: {error}"))
            finally:
                self._current = ""
                await self.tell()

    def _is_held(self, job_id: str) -> bool:
        now = self._desk.context.clock.now()
        return reservations.holds(self._reserved, self._requests[job_id], now)

    async def _until_change(self) -> None:
        """Wait for a job, or until a reservation begins or ends, but never long.

        The clock on the wall may be set meanwhile.
        """
        now = self._desk.context.clock.now()
        seconds = reservations.seconds_to_change(self._reserved, now) or 0.0
        try:
            async with asyncio.timeout(min(seconds, _LOOK_SECONDS)):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _job(self, job_id: str) -> None:
        clock = self._desk.context.clock
        began = clock.monotonic()
        job = await self._desk.stored(Store.start, job_id, clock.now())
        pairs = [
            (program, binding)
            for program in job.request.programs
            for binding in range(len(program.bindings))
        ]
        found = _Found(job.done, dict(job.usage), clock.monotonic())
        try:
            for number in range(job.done, len(pairs)):
                await self._execution(job, number, *pairs[number], found)
                last = number + 1 == len(pairs)
                if last or clock.monotonic() - found.kept_at >= KEEP_SECONDS:
                    await self._keep(job, found, last=last)
        except (SkerryError, StoppedError):
            await self._keep(job, found, last=False)
            raise
        self._recent.append(clock.monotonic() - began)

    async def _execution(
        self, job: Job, number: int, program: Program, binding: int, found: _Found
    ) -> None:
        """Run one execution; `_keep` writes its result, or it is made again after a crash."""
        desk, clock = self._desk, self._desk.context.clock
        if await desk.stored(Store.state, job.id) is JobState.CANCELLING:
            raise StoppedError
        seed = (results.seed_of(job) + number) % (1 << 63)
        params = desk.worker_params(job.request, program, binding, seed)
        started, began = clock.now(), clock.monotonic()
        device, _, _ = desk.device(job.request.device)
        worker = self.workers.of(twins.stack_of(device, params["engine"]))
        answer = await worker.ask("run", params, float(desk.config.job_seconds_max))
        seconds = clock.monotonic() - began
        run = results.Run(number, program, seed, started, seconds)
        made = results.made(desk.context, job, run, answer, desk.device(job.request.device))
        shots = int(answer.get("shots", job.request.shots_of(program)))
        found.add(made, self._spent(job, shots, answer, seconds))

    async def _keep(self, job: Job, found: _Found, *, last: bool) -> None:
        """Meter the results that came since the last time, and keep them durably."""
        if not found.results:
            return
        clock = self._desk.context.clock
        for unit, amount in found.spent.items():
            self._desk.context.meter.add(unit, amount)
        values: dict[str, Any] = {"done": found.done, "usage": found.usage}
        state = None
        if last:
            state, values["ended"] = JobState.COMPLETED, clock.now()
        await self._desk.stored(Store.keep_results, job.id, found.results, state, **values)
        found.results, found.spent, found.kept_at = [], {}, clock.monotonic()
        await self.tell()

    def _spent(
        self, job: Job, shots: int, answer: dict[str, Any], seconds: float
    ) -> dict[str, int]:
        """Return what one execution used."""
        device, _, _ = self._desk.device(job.request.device)
        spent = {"shots": shots, "engine_ms": round(seconds * 1000)}
        if any(price.hqc for price in device.prices):
            use = pricing.Use(1, shots, *answer["gates"])
            spent["hqc_thousandths"] = int(pricing.hqc(use) * 1000)
        return spent

    async def _cancelled(self, job_id: str) -> None:
        ended = self._desk.context.clock.now()
        await self._desk.stored(Store.change, job_id, JobState.CANCELLED, "", ended=ended)

    async def _end(self, job_id: str, error: SkerryError) -> None:
        """Put a job whose run failed, or was stopped, into its last state."""
        job = await self._desk.stored(Store.job, job_id)
        if job.state in TERMINAL:
            return
        if job.state is JobState.CANCELLING:
            await self._cancelled(job_id)
            return
        state = JobState.PARTIAL if job.done else JobState.FAILED
        now = self._desk.context.clock.now()
        await self._desk.stored(
            Store.change, job_id, state, error.what, ended=now, error=error.as_dict()
        )
