"""Jobs on vendors' machines: sent once, looked at until they are over, and kept like all others.

A job that goes out was estimated, has a ceiling and was permitted by policy, in that order. Before
it is sent, that is written down; where the process or the answer is lost in between, nobody knows
whether the vendor has it. It is then sent again only if the vendor takes a token for it, or looked
for by its token; else the job fails and says where to look.

When a job is looked at next is on the disk too: after a tenth of the time that it is out already,
or when the vendor says. So the resource may sleep meanwhile, and is woken then (see `alarm`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from skerry.kernel.errors import CONFLICT, DENIED, INTERNAL, INVALID, UNSUPPORTED, SkerryError
from skerry.kernel.policy import Place
from skerry.kinds.quantum import billing, providers, results
from skerry.kinds.quantum.alarm import Alarm
from skerry.kinds.quantum.catalogue.model import Device, Paradigm
from skerry.kinds.quantum.contract import TERMINAL, Job, JobRequest, JobState, Queue
from skerry.kinds.quantum.providers.calling import VendorError, garbled
from skerry.kinds.quantum.providers.interface import Dialect, Provider, Seen, Setting, Task
from skerry.kinds.quantum.providers.reading import bits_of
from skerry.kinds.quantum.runner import Bench
from skerry.kinds.quantum.store import Store

ACTION = "quantum:submit"
SENDING = "?"
"""The vendor's job while it is not known whether the vendor has it."""

OPEN_MAX = 100
FIRST_SECONDS, LAST_SECONDS = 1.0, 600.0
AWAKE_SECONDS = 20.0
"""The resource stays awake for what is due sooner than this."""

FAILURES_MAX = 30
"""So often in a row a vendor may fail to answer before the job fails."""

SEARCHES = 3
"""So often a vendor is searched for a job whose answer was lost."""

_SECOND = 1_000_000_000
_WELL: dict[str, Any] = {"failures": 0, "trouble": ""}
"""What is known of a job whose vendor answered."""

_MALFORMED = (KeyError, IndexError, TypeError, ValueError, AttributeError)
Compile = Callable[[JobRequest, Dialect], Awaitable[tuple[dict[str, Any], dict[str, Any], str]]]
T = TypeVar("T")


class Hardware:
    """Watches the jobs of one resource that are on vendors' machines."""

    def __init__(
        self, desk: Bench, compile_for: Compile, alarm: Alarm, tell: Callable[[], Awaitable[None]]
    ) -> None:
        self._desk = desk
        self._compile = compile_for
        self._alarm = alarm
        self._tell = tell
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._kicks: dict[str, asyncio.Event] = {}
        self._due: dict[str, int] = {}
        self._cancelled: set[str] = set()
        self._providers: dict[str, Provider] = {}
        self.first_seconds = FIRST_SECONDS

    @property
    def busy(self) -> str:
        """What keeps the resource awake, or nothing: jobs that are due soon."""
        soon = self._desk.context.clock.now() + int(AWAKE_SECONDS * _SECOND)
        count = sum(1 for each in self._tasks if self._due.get(each, 0) < soon)
        return f"{count} jobs on hardware are looked at" if count else ""

    @property
    def out(self) -> int:
        """How many jobs are on hardware."""
        return len(self._tasks)

    def provider(self, name: str) -> Provider:
        """Return a way to machines; raise UNSUPPORTED."""
        if name not in self._providers:
            context, config = self._desk.context, self._desk.config
            setting = Setting(context.clock, context.secrets, config.endpoints)
            self._providers[name] = providers.find(name, setting)
        return self._providers[name]

    async def admit(self, request: JobRequest, device: Device) -> None:
        """Raise what forbids a job to go out: no way, no credentials, no ceiling, policy."""
        provider = self.provider(request.provider)
        places = provider.places(device)
        for name in provider.secrets:
            provider.secret(name)
        if request.budget is None and not self._desk.config.budget:
            raise INVALID(
                f"A job on {device.name} itself needs a ceiling.",
                why="Without one, nothing is sent to a vendor.",
                hint="--budget 5 --currency EUR",
            )
        if len(request.programs) != 1 or len(request.programs[0].bindings) != 1:
            raise INVALID("A job on hardware has one program and one set of values.")
        if request.booking and not provider.booked:
            raise UNSUPPORTED(f"There are no bookings by {provider.name} from here.")
        if request.level != "logical" and provider.dialect_of(device) in ("openqasm2", "openqasm3"):
            raise UNSUPPORTED(
                f"Programs that go by {provider.name} are compiled there.",
                why=f"This one is {request.level}, and would not run as it is.",
            )
        if len(self._tasks) >= OPEN_MAX:
            raise CONFLICT(f"{OPEN_MAX} jobs are on hardware already.")
        for place in places:
            await self._permit(device, place)
        provider.check(await self._task("check", request))

    async def _permit(self, device: Device, place: Place) -> None:
        try:
            await self._desk.context.permit(ACTION, place)
        except SkerryError as error:
            if error.problem is not DENIED:
                raise
            raise DENIED(
                f"Policy does not let a job go to {device.name} by {place}.",
                why=f"{error.what} {error.why}".strip(),
                hint=error.hint or "skerry policy places",
            ) from error

    async def start(self) -> None:
        """Go on with the jobs that are out."""
        for job in await self._desk.stored(Store.open):
            if job.request.provider != "twin":
                await self.enqueue(job)
        await self._alarm.hardware(min(self._due.values(), default=None))

    async def stop(self) -> None:
        """Watch no more; vendors go on, and so does the watching at the next start."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()
        self._due.clear()

    async def enqueue(self, job: Job) -> None:
        """Send a job that is on the disk, or go on watching it."""
        await self._set_due(job.id, job.look_at)
        self._kicks[job.id] = asyncio.Event()
        task = asyncio.create_task(self._watch(job))
        self._tasks[job.id] = task
        task.add_done_callback(lambda _: self._forget(job.id))

    def _forget(self, job_id: str) -> None:
        self._tasks.pop(job_id, None)
        self._kicks.pop(job_id, None)
        self._cancelled.discard(job_id)

    async def cancel(self, job: Job) -> Job:
        """Ask for a job's end; it is over once the vendor says so, or at once if it has none."""
        if job.state in TERMINAL or job.state is JobState.CANCELLING:
            return job
        found = await self._desk.stored(_cancelling, job.id)
        if kick := self._kicks.get(job.id):
            kick.set()
        return found

    async def _set_due(self, job_id: str, at: int) -> None:
        self._due[job_id] = at
        await self._alarm.hardware(min(self._due.values()))

    async def _task(self, token: str, request: JobRequest) -> Task:
        device, _, _ = self._desk.device(request.device)
        provider = self.provider(request.provider)
        circuit, compiled, text = await self._compile(request, provider.dialect_of(device))
        program = request.programs[0]
        return Task(
            token,
            request.name,
            device,
            request.shots_of(program),
            circuit,
            compiled,
            text,
            source=program.source,
            bindings=program.bindings[0],
            booking=request.booking,
            seconds_max=self._desk.seconds_max(request),
        )

    async def _watch(self, job: Job) -> None:
        try:
            provider = self.provider(job.request.provider)
            task = await self._task(job.id, job.request)
            while not job.over:
                await self._until(job)
                job = await self._desk.stored(Store.job, job.id)
                if job.vendor_job in ("", SENDING):
                    job = await self._send(job, provider, task)
                else:
                    job = await self._look(job, provider, task)
                await self._set_due(job.id, job.look_at)
                await self._tell()
        except SkerryError as error:
            await self._fail(job.id, error)
        except Exception as error:
            self._desk.context.log.exception("job %s", job.id)
            await self._fail(job.id, INTERNAL(f"{type(error).__name__}: {error}"))
        self._due.pop(job.id, None)
        await self._alarm.hardware(min(self._due.values(), default=None))
        await self._tell()

    async def _until(self, job: Job) -> None:
        """Wait until a job is due, or somebody cancels it."""
        seconds = (job.look_at - self._desk.context.clock.now()) / _SECOND
        kick = self._kicks[job.id]
        try:
            async with asyncio.timeout(max(seconds, 0.0)):
                await kick.wait()
        except TimeoutError:
            pass
        kick.clear()

    async def _send(self, job: Job, provider: Provider, task: Task) -> Job:
        if job.state is JobState.CANCELLING and not job.vendor_job:
            return await self._end(job, Seen(JobState.CANCELLED), task)
        if job.vendor_job == SENDING and not provider.idempotent:
            return await self._search(job, provider, task)
        if not job.vendor_job:
            stored = self._desk.stored
            job = await stored(Store.change, job.id, None, "", vendor_job=SENDING)
            job = await billing.post(self._desk, job)
        try:
            name = await _read(provider.send(task))
        except VendorError as error:
            if not error.again or job.failures >= FAILURES_MAX:
                raise
            known = {} if error.may_have else {"vendor_job": ""}
            return await self._later(job, error, **known)
        return await self._accepted(job, provider, name)

    async def _search(self, job: Job, provider: Provider, task: Task) -> Job:
        """Look whether the vendor has a job whose answer was lost; never send it twice."""
        if provider.searches:
            try:
                name = await _read(provider.search(task))
            except VendorError as error:
                if job.failures >= FAILURES_MAX:
                    raise
                return await self._later(job, error)
            if name is not None:
                return await self._accepted(job, provider, name)
            if job.failures < SEARCHES:
                return await self._later(job, garbled(f"{provider.name} lists no such job yet."))
        raise CONFLICT(
            f"It is not known whether {provider.name} has job {job.id}; it is not sent twice.",
            why="This node stopped while it sent it, or the vendor's answer was lost.",
            hint=f"Look for the name, label or metadata {job.id} at the vendor.",
        )

    async def _accepted(self, job: Job, provider: Provider, name: str) -> Job:
        now = self._desk.context.clock.now()
        self._desk.context.log.info("job %s is %s at %s", job.id, name, provider.name)
        values = {"vendor_job": name, "started": now, "look_at": now} | _WELL
        return await self._desk.stored(Store.change, job.id, None, "", **values)

    async def _later(self, job: Job, error: VendorError, **values: Any) -> Job:
        self._desk.context.log.warning("job %s: %s", job.id, error.what)
        failures = job.failures + 1
        seconds = error.retry_seconds or min(
            self.first_seconds * 2 ** min(failures, 20), LAST_SECONDS
        )
        look_at = self._desk.context.clock.now() + int(seconds * _SECOND)
        values |= {
            "failures": failures,
            "look_at": look_at,
            "trouble": f"{error.what} {error.why}".strip(),
        }
        return await self._desk.stored(Store.change, job.id, None, "", **values)

    async def _look(self, job: Job, provider: Provider, task: Task) -> Job:
        try:
            if job.state is JobState.CANCELLING and job.id not in self._cancelled:
                await self._cancel(job, provider, task)
            seen = await _read(provider.look(job.vendor_job, task))
        except VendorError as error:
            if job.failures >= FAILURES_MAX:
                raise
            return await self._later(job, error)
        if seen.state in TERMINAL:
            return await self._end(job, seen, task)
        return await self._noted(job, seen)

    async def _cancel(self, job: Job, provider: Provider, task: Task) -> None:
        """Ask the vendor to cancel; one that refuses is looked at until the job ends there."""
        self._cancelled.add(job.id)
        try:
            await _read(provider.cancel(job.vendor_job, task))
        except SkerryError as error:
            if isinstance(error, VendorError) and error.again:
                self._cancelled.discard(job.id)
                raise
            self._desk.context.log.warning("job %s: %s", job.id, error.what)

    async def _noted(self, job: Job, seen: Seen) -> Job:
        """Keep how a job stands, and when it is looked at next."""
        now = self._desk.context.clock.now()
        seconds = min(max((now - job.started) / _SECOND * 0.1, self.first_seconds), LAST_SECONDS)
        values: dict[str, Any] = {"look_at": now + int(seconds * _SECOND)} | _WELL
        values["queue"] = Queue(seen.position, 0, now) if seen.position is not None else None
        return await self._desk.stored(_stands, job.id, seen.state, **values)

    async def _end(self, job: Job, seen: Seen, task: Task) -> Job:
        """Keep a job's outcome, with what it cost; a part of its shots makes it PARTIAL."""
        desk, now = self._desk, self._desk.context.clock.now()
        shots = sum((seen.counts or {}).values())
        state = seen.state
        if state is JobState.COMPLETED and seen.counts is None:
            raise garbled(f"{job.request.provider} has no outcome of a job that is done.")
        selected = task.device.paradigm is Paradigm.PHOTONIC  # Photons that are lost do not count.
        if shots and (state is not JobState.COMPLETED or (shots < task.shots and not selected)):
            state = JobState.PARTIAL
        job = await billing.settle(desk, job, shots, seen)
        await desk.stored(_prepare, job.id, state)
        values: dict[str, Any] = {"ended": now, "queue": None, "look_at": 0} | _WELL
        if seen.state is JobState.FAILED:
            error = CONFLICT("The vendor's machine failed.", why=seen.reason[:400])
            values["error"] = error.as_dict()
        if not shots:
            return await desk.stored(Store.change, job.id, state, seen.reason[:200], **values)
        result = self._result(job, seen, task)
        usage = {"hardware_shots": shots}
        if seen.seconds is not None:
            usage["hardware_ms"] = round(seen.seconds * 1000)
        kept = await desk.stored(
            Store.keep_results, job.id, [result], state, done=1, usage=usage, **values
        )
        desk.context.meter.add("shots", shots)
        return kept

    def _result(self, job: Job, seen: Seen, task: Task) -> Any:
        desk, now = self._desk, self._desk.context.clock.now()
        counts = seen.counts or {}
        found = {
            "engine": job.request.provider,
            "reason": f"the vendor's job {job.vendor_job}",
            "versions": {},
            "counts": counts,
            "shots": sum(counts.values()),
            "registers": task.circuit["registers"] or _places(task, counts),
            "measured": bits_of(task.circuit),
            "compiled": task.text,
            "layout": task.compiled.get("labels") or [],
            "pragmas": [],
        }
        program = job.request.programs[0]
        run = results.Run(0, program, 0, job.started, (now - job.started) / 1e9)
        return results.made(desk.context, job, run, found, desk.device(job.request.device))

    async def _fail(self, job_id: str, error: SkerryError) -> None:
        """Let a job fail; what it costs stays posted if the vendor may have it."""
        job = await self._desk.stored(Store.job, job_id)
        if job.state in TERMINAL:
            return
        certain = isinstance(error, VendorError) and not error.may_have
        if not job.vendor_job or (job.vendor_job == SENDING and certain):
            job = await billing.settle(self._desk, job, 0, Seen(JobState.FAILED))
        now = self._desk.context.clock.now()
        values = {"ended": now, "look_at": 0, "queue": None, "error": error.as_dict()}
        await self._desk.stored(Store.change, job_id, JobState.FAILED, error.what, **values)


def _places(task: Task, counts: dict[str, int]) -> list[tuple[str, int, int]]:
    """Return the register of a program that is no circuit: its sites, or its modes."""
    text = next(iter(counts))
    if task.device.paradigm is Paradigm.PHOTONIC:
        return [("modes", 0, text.count(",") + 1)]
    return [("sites", 0, len(text))]


def _cancelling(store: Store, job_id: str) -> Job:
    """Note that a job's end is asked for; one that is over meanwhile stays as it is."""
    job = store.job(job_id)
    if job.over or job.state is JobState.CANCELLING:
        return job
    return store.change(job_id, JobState.CANCELLING, "asked for")


def _stands(store: Store, job_id: str, seen: JobState, **values: Any) -> Job:
    """Note how a job stands at the vendor; one whose end is asked for stays so."""
    job = store.job(job_id)
    known = seen in (JobState.QUEUED, JobState.RUNNING) and job.state is not JobState.CANCELLING
    if not known or seen is job.state:
        return store.change(job_id, None, "", **values)
    return store.change(job_id, seen, f"{job.request.provider}: {job.vendor_job}", **values)


def _prepare(store: Store, job_id: str, last: JobState) -> None:
    """Take a job to a state that its last one may follow."""
    job = store.job(job_id)
    if job.state is JobState.QUEUED and last in (JobState.COMPLETED, JobState.PARTIAL):
        store.change(job_id, JobState.RUNNING, "")
    if job.state is not JobState.CANCELLING and last is JobState.CANCELLED:
        store.change(job_id, JobState.CANCELLING, "by the vendor")


async def _read(answer: Awaitable[T]) -> T:
    """Return what a provider read; raise VendorError if an answer had not the shape it wants."""
    try:
        return await answer
    except _MALFORMED as error:
        text = f"{type(error).__name__}: {error}"[:300]
        raise garbled("The vendor's answer has not the shape that is known.", text) from error
