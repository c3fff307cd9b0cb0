"""Jobs on vendors' machines: sent once, watched until they are over, and kept like all others.

A job that goes out was estimated, has a ceiling and was permitted by policy, in that order. Before
it is sent, that is written down; where the process ends in between, nobody knows whether the
vendor has it. It is then sent again only if the vendor takes a token for it; else the job fails
and says where to look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from skerry.kernel.errors import CONFLICT, DENIED, INTERNAL, INVALID, SkerryError
from skerry.kernel.policy import Place
from skerry.kinds.quantum import providers, results
from skerry.kinds.quantum.catalogue.model import Device
from skerry.kinds.quantum.contract import TERMINAL, Job, JobRequest, JobState
from skerry.kinds.quantum.providers.interface import Provider, Seen, Setting, Task, bits_of
from skerry.kinds.quantum.runner import Bench
from skerry.kinds.quantum.store import Store

ACTION = "quantum:submit"
SENDING = "?"
"""The vendor's job while it is not known whether the vendor has it."""

OPEN_MAX = 100
FIRST_SECONDS, LAST_SECONDS = 1.0, 60.0
FAILURES_MAX = 30
"""So often in a row a vendor may fail to answer before the job fails."""

Compile = Callable[[JobRequest], Awaitable[tuple[dict[str, Any], dict[str, Any], str]]]


class Hardware:
    """Watches the jobs of one resource that are on vendors' machines."""

    def __init__(
        self, desk: Bench, compile_for: Compile, tell: Callable[[], Awaitable[None]]
    ) -> None:
        self._desk = desk
        self._compile = compile_for
        self._tell = tell
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.first_seconds = FIRST_SECONDS

    @property
    def busy(self) -> str:
        """What is out, or nothing."""
        return f"{len(self._tasks)} jobs are on hardware" if self._tasks else ""

    def provider(self, name: str) -> Provider:
        """Return a way to machines; raise UNSUPPORTED."""
        context, config = self._desk.context, self._desk.config
        return providers.find(name, Setting(context.clock, context.secrets, config.endpoints))

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
        if len(self._tasks) >= OPEN_MAX:
            raise CONFLICT(f"{OPEN_MAX} jobs are on hardware already.")
        for place in places:
            await self._permit(device, place)

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
                self.enqueue(job)

    async def stop(self) -> None:
        """Watch no more; vendors go on, and so does the watching at the next start."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()

    def enqueue(self, job: Job) -> None:
        """Send a job that is on the disk, or go on watching it."""
        task = asyncio.create_task(self._watch(job))
        self._tasks[job.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(job.id, None))

    async def cancel(self, job: Job) -> Job:
        """Ask the vendor to cancel; the job is over once the vendor says so."""
        if job.state in TERMINAL:
            return job
        if job.vendor_job in ("", SENDING):
            raise CONFLICT(f"Job {job.id} is just being sent; try again.")
        circuit = await self._task(job)
        await self.provider(job.request.provider).cancel(job.vendor_job, circuit)
        return await self._desk.stored(Store.change, job.id, JobState.CANCELLING, "asked for")

    async def _task(self, job: Job) -> Task:
        device, _, _ = self._desk.device(job.request.device)
        circuit, compiled, braket = await self._compile(job.request)
        shots = job.request.shots_of(job.request.programs[0])
        return Task(job.id, job.request.name, device, shots, circuit, compiled, braket)

    async def _watch(self, job: Job) -> None:
        try:
            task = await self._task(job)
            provider = self.provider(job.request.provider)
            vendor_job = await self._sent(job, provider, task)
            await self._until_over(job.id, vendor_job, provider, task)
        except SkerryError as error:
            await self._fail(job.id, error)
        except Exception as error:
            self._desk.context.log.exception("job %s", job.id)
            await self._fail(job.id, INTERNAL(f"{type(error).__name__}: {error}"))
        finally:
            await self._tell()

    async def _sent(self, job: Job, provider: Provider, task: Task) -> str:
        if job.vendor_job not in ("", SENDING):
            return job.vendor_job
        if job.vendor_job == SENDING and not provider.idempotent:
            raise CONFLICT(
                f"It is not known whether {provider.name} has job {job.id}; it is not sent twice.",
                why="This node stopped while it sent it.",
                hint=f"Look for the name or metadata {job.id} at the vendor.",
            )
        stored, now = self._desk.stored, self._desk.context.clock.now()
        await stored(Store.change, job.id, None, "", vendor_job=SENDING)
        vendor_job = await provider.send(task)
        note = f"{provider.name}: {vendor_job}"
        await stored(
            Store.change, job.id, JobState.RUNNING, note, vendor_job=vendor_job, started=now
        )
        return vendor_job

    async def _until_over(
        self, job_id: str, vendor_job: str, provider: Provider, task: Task
    ) -> None:
        wait, failures = self.first_seconds, 0
        while True:
            try:
                seen = await provider.look(vendor_job, task)
                failures = 0
            except SkerryError as error:
                failures += 1
                if failures >= FAILURES_MAX or error.problem is DENIED:
                    raise
                seen = Seen(JobState.QUEUED)
            if seen.state in TERMINAL:
                await self._end(job_id, seen, task)
                return
            await self._tell()
            await asyncio.sleep(wait)
            wait = min(wait * 1.5, LAST_SECONDS)

    async def _end(self, job_id: str, seen: Seen, task: Task) -> None:
        desk, now = self._desk, self._desk.context.clock.now()
        job = await desk.stored(Store.job, job_id)
        if seen.state is not JobState.COMPLETED or seen.counts is None:
            if seen.state is JobState.CANCELLED and job.state is not JobState.CANCELLING:
                await desk.stored(Store.change, job_id, JobState.CANCELLING, "by the vendor")
            error = None
            if seen.state is JobState.FAILED:
                error = CONFLICT("The vendor's machine failed.", why=seen.reason[:400]).as_dict()
            await desk.stored(
                Store.change, job_id, seen.state, seen.reason[:200], ended=now, error=error
            )
            return
        found = {
            "engine": job.request.provider,
            "reason": f"the vendor's job {job.vendor_job}",
            "versions": {},
            "counts": seen.counts,
            "shots": sum(seen.counts.values()),
            "registers": task.circuit["registers"],
            "measured": bits_of(task.circuit),
            "compiled": task.braket,
            "layout": task.compiled.get("labels", []),
            "pragmas": [],
        }
        program = job.request.programs[0]
        run = results.Run(0, program, 0, job.started, (now - job.started) / 1e9)
        result = results.made(desk.context, job, run, found, desk.device(job.request.device))
        usage = {"hardware_shots": found["shots"]}
        values = {"done": 1, "usage": usage, "ended": now}
        await desk.stored(Store.keep_result, job_id, result, JobState.COMPLETED, **values)
        desk.context.meter.add("shots", found["shots"])

    async def _fail(self, job_id: str, error: SkerryError) -> None:
        job = await self._desk.stored(Store.job, job_id)
        if job.state in TERMINAL:
            return
        now = self._desk.context.clock.now()
        await self._desk.stored(
            Store.change, job_id, JobState.FAILED, error.what, ended=now, error=error.as_dict()
        )
