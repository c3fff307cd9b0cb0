"""Runs hybrid jobs: one on a device at a time, few on the node, and keeps all that they leave.

What a script says, its checkpoints and what it uses are taken while it runs, so that little is lost
when the node is killed; its results are taken when it has ended. Its tasks go before those of
others on its device, by a session of its own.
"""

from __future__ import annotations

import asyncio
import hmac
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import msgspec

from skerry.kernel.apart import LOG, Apart, Ending
from skerry.kernel.errors import CONFLICT, INTERNAL, INVALID, NOT_FOUND, SkerryError
from skerry.kernel.kind import Context
from skerry.kinds.quantum import checks, stacks
from skerry.kinds.quantum.alarm import Alarm
from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.config import QuantumConfig
from skerry.kinds.quantum.contract import Job, JobState, Session
from skerry.kinds.quantum.hybrid import files, reading, records, source, stage
from skerry.kinds.quantum.hybrid.contract import HybridJob, HybridRequest, Line, Told
from skerry.kinds.quantum.hybrid.program import program
from skerry.kinds.quantum.store import Store

T = TypeVar("T")
FOLDER = "hybrid"
LOOK_SECONDS = 0.5
CHECKPOINT_SECONDS = 5.0
LINES_SHOWN = 100
LOG_READ_BYTES = 1 << 20
RESULT_BYTES_MAX = files.FILE_BYTES_MAX
CHECKPOINT_BYTES_MAX = 512 << 20
INPUT_FILES_MAX = 10_000
_STOP_SECONDS = 30.0


class Bench(Protocol):
    """What hybrid jobs need of the desk of their resource."""

    context: Context
    config: QuantumConfig

    async def stored(self, job: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call a function on the store in its thread."""
        ...

    async def open_session(
        self,
        device: str,
        *,
        mode: Literal["dedicated", "batch"],
        seconds_max: int,
        id: str,  # noqa: A002
    ) -> Session:
        """Open a session on a device."""
        ...

    async def close_session(self, id: str, *, cancel: bool = False) -> Session:  # noqa: A002
        """Close a session."""
        ...

    async def cancel(self, id: str) -> Job:  # noqa: A002
        """Cancel a task."""
        ...

    def new_id(self) -> str:
        """Return an id in the shape of a UUID."""
        ...


class HybridJobs:
    """The hybrid jobs of one resource, while its engine runs."""

    def __init__(self, desk: Bench, alarm: Alarm) -> None:
        self._desk = desk
        self._alarm = alarm
        self._waiting: list[HybridJob] = []
        self._running: dict[str, HybridJob] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._aparts: dict[str, Apart] = {}
        self._alarmed = asyncio.Lock()

    @property
    def busy(self) -> str:
        """What is being done, or nothing."""
        if self._running:
            return f"hybrid job {next(iter(self._running))} runs"
        return f"{len(self._waiting)} hybrid jobs wait" if self._waiting else ""

    async def start(self) -> None:
        """Go on with what waits."""
        self._waiting = await self._desk.stored(records.unfinished)
        await self._advance()

    async def stop(self) -> None:
        """Stop what runs; at the next start, it has failed."""
        self._waiting = []
        ended = list(self._tasks.values())
        for task in ended:
            task.cancel()
        await asyncio.gather(*ended, return_exceptions=True)

    async def submit(self, request: HybridRequest) -> HybridJob:
        """Check a job and queue it durably; nothing is kept of a refused one."""
        if request.device:
            device = load.find(request.device)
            checks.place(device, self._desk.config.countries, "This resource")
        if request.seconds > self._desk.config.hybrid_seconds_max:
            raise INVALID(
                f"A hybrid job of this resource runs {self._desk.config.hybrid_seconds_max} s"
                f" at most, not {request.seconds} s.",
                hint="hybrid_seconds_max in skerry.toml",
            )
        stacks.python(request.stack, self._desk.context.environments)
        code = await self._desk.stored(files.read, request.bucket, request.script)
        await asyncio.to_thread(source.check, code, request.entry)
        now = self._desk.context.clock.now()
        job = HybridJob(self._desk.new_id(), JobState.QUEUED, request, now, now)
        kept = await self._desk.stored(records.add, job)
        if kept is job:
            self._waiting.append(kept)
            await self._advance()
        return await self.job(kept.id)

    async def job(self, id: str) -> HybridJob:  # noqa: A002
        """Return a job with its place in the queue; raise NOT_FOUND."""
        return self._placed(await self._desk.stored(records.get, id))

    async def jobs(self, limit: int = 100, before: str = "") -> list[HybridJob]:
        """Return jobs, the newest first."""
        found = await self._desk.stored(records.recent, limit, before)
        return [self._placed(each) for each in found]

    def waiting(self, device: str) -> int:
        """Return how many jobs wait for a device."""
        return sum(each.request.device == device for each in self._waiting)

    def _placed(self, job: HybridJob) -> HybridJob:
        ahead = [each.id for each in self._waiting]
        if job.id not in ahead:
            return job
        return msgspec.structs.replace(job, position=ahead.index(job.id) + 1)

    async def cancel(self, id: str) -> HybridJob:  # noqa: A002
        """Cancel a job, wherever it is; return it as it then stands. Raises CONFLICT if over."""
        job = await self._desk.stored(records.get, id)
        if job.over:
            raise CONFLICT(f"The job {id} is {job.state} already.")
        if any(each.id == id for each in self._waiting):
            self._waiting = [each for each in self._waiting if each.id != id]
            ended = self._desk.context.clock.now()
            return await self._desk.stored(
                records.change, id, JobState.CANCELLED, "asked for", ended=ended
            )
        if job.state is JobState.RUNNING:
            job = await self._desk.stored(records.change, id, JobState.CANCELLING, "asked for")
        apart = self._aparts.get(id)
        if apart is not None:
            await apart.stop()
        return job

    async def said(self, id: str) -> bytes:  # noqa: A002
        """Return what a job said so far."""
        await self._desk.stored(records.get, id)
        return await self._desk.stored(records.said, id)

    async def lines(self, id: str) -> list[Line]:  # noqa: A002
        """Return what a job said so far, line by line."""
        return await asyncio.to_thread(reading.lines, await self.said(id))

    async def told(self, id: str) -> Told:  # noqa: A002
        """Return a job with its steps, its last lines and its metrics."""
        job = await self.job(id)
        events = await self._desk.stored(Store.events, id)
        lines = await self.lines(id)
        metrics = await asyncio.to_thread(reading.metrics, lines)
        return Told(job, tuple(events), tuple(lines[-LINES_SHOWN:]), tuple(metrics))

    def token(self, id: str) -> str:  # noqa: A002
        """Return what a job names itself by when it creates a task."""
        return f"{id}/{self._desk.context.keys.secret(f'hybrid-token/{id}', 32)}"

    async def of_token(self, token: str) -> str:
        """Return the job that names itself so; raise INVALID unless it runs."""
        id, _, _ = token.partition("/")  # noqa: A001
        if not hmac.compare_digest(token.encode(), self.token(id).encode()):
            raise INVALID("The job token is of no job of this resource.")
        await self.check_runs(id)
        return id

    async def check_runs(self, id: str) -> None:  # noqa: A002
        """Raise INVALID unless a job runs: its credentials end with it."""
        try:
            job = await self._desk.stored(records.get, id)
        except SkerryError as error:
            if error.problem is not NOT_FOUND:
                raise
            raise INVALID("The job is none of this resource.") from error
        if job.state not in (JobState.RUNNING, JobState.CANCELLING):
            raise INVALID(f"The job {id} is {job.state}; only one that runs may ask.")

    async def _advance(self) -> None:
        """Start what may start: few at a time, one on a device."""
        for job in list(self._waiting):
            if len(self._running) >= self._desk.config.hybrid_at_once:
                break
            device = job.request.device
            if device and any(each.request.device == device for each in self._running.values()):
                continue
            self._waiting.remove(job)
            self._running[job.id] = job
            self._tasks[job.id] = asyncio.create_task(self._life(job))
        async with self._alarmed:
            await self._alarm.hybrid(waits=bool(self._running or self._waiting))

    async def _life(self, job: HybridJob) -> None:
        """Run a job to its last state, whatever happens."""
        try:
            await self._run(job)
        except SkerryError as error:
            await self._end(job.id, JobState.FAILED, f"{error.what} {error.why}".strip())
        except Exception as error:
            self._desk.context.log.exception("hybrid job %s", job.id)
            what = INTERNAL(f"{type(error).__name__}: {error}").what
            await self._end(job.id, JobState.FAILED, what)
        finally:
            self._running.pop(job.id, None)
            self._tasks.pop(job.id, None)
            self._aparts.pop(job.id, None)
        await self._advance()

    async def _run(self, job: HybridJob) -> None:
        desk, clock = self._desk, self._desk.context.clock
        folder = desk.context.run / FOLDER / job.id
        job = await desk.stored(records.change, job.id, JobState.RUNNING, started=clock.now())
        request = job.request
        if request.device:
            # The tasks of a job go before those of others on its device.
            await desk.open_session(
                request.device, mode="dedicated", seconds_max=request.seconds, id=job.id
            )
        try:
            await self._lay(job, folder)
            apart = await desk.context.apart(program(desk.context, desk.config, job, self.token))
            self._aparts[job.id] = apart
            if (await desk.stored(records.get, job.id)).state is JobState.CANCELLING:
                await apart.stop()
            ending = await self._follow(job, folder, apart)
            await self._take(job, folder, ending)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _lay(self, job: HybridJob, folder: Path) -> None:
        """Lay the folder out: source, inputs, and the checkpoints to go on from."""
        desk, request = self._desk, job.request
        code = await desk.stored(files.read, request.bucket, request.script)
        await asyncio.to_thread(stage.lay, folder, code, request.hyperparameters)
        for each in request.inputs:
            base = each.prefix.rstrip("/")
            below = f"{stage.DATA}/{each.channel}"
            await self._fetch(folder, below, each.bucket, each.prefix, base)
        bucket, prefix = request.checkpoints
        await self._fetch(folder, stage.CHECKPOINTS, bucket, f"{prefix}/", prefix)

    async def _fetch(self, folder: Path, below: str, bucket: str, prefix: str, base: str) -> None:
        """Put all files below a prefix into a folder of the job.

        The name of a file is its key without that of the folder that the prefix names, or else its
        last part.
        """
        found = await self._desk.stored(files.below, bucket, prefix, "", INPUT_FILES_MAX + 1)
        left = self._desk.config.hybrid_disk_mib << 20
        for each in found:
            left -= each.size
            if len(found) > INPUT_FILES_MAX or left < 0:
                raise INVALID(f"s3://{bucket}/{prefix} is more than a job may be given.")
            inner = each.key.removeprefix(f"{base}/")
            name = inner if inner != each.key else each.key.rpartition("/")[2]
            data = await self._desk.stored(files.read, bucket, each.key)
            await asyncio.to_thread(stage.place, folder, below, name, data)

    async def _follow(self, job: HybridJob, folder: Path, apart: Apart) -> Ending:
        """Take what the script says and leaves while it runs; return how it ended."""
        desk, clock = self._desk, self._desk.context.clock
        waiting = asyncio.ensure_future(apart.wait())
        counted = saved = clock.monotonic()
        kept: dict[str, stage.Left] = {}
        offset = 0
        try:
            while True:
                done, _ = await asyncio.wait({waiting}, timeout=LOOK_SECONDS)
                offset = await self._listen(job.id, folder, offset)
                now = clock.monotonic()
                desk.context.meter.add("hybrid_ms", round((now - counted) * 1000))
                counted = now
                if done or now - saved >= CHECKPOINT_SECONDS:
                    kept = await self._save(job, folder, kept)
                    saved = clock.monotonic()
                if done:
                    return waiting.result()
        except asyncio.CancelledError:
            await asyncio.wait_for(apart.stop(), _STOP_SECONDS)
            raise
        finally:
            waiting.cancel()

    async def _listen(self, id: str, folder: Path, offset: int) -> int:  # noqa: A002
        """Keep what the script said since; return up to where it was read."""
        while data := await asyncio.to_thread(_read_from, folder / LOG, offset):
            await self._desk.stored(records.say, id, data)
            offset += len(data)
        return offset

    async def _save(
        self, job: HybridJob, folder: Path, kept: dict[str, stage.Left]
    ) -> dict[str, stage.Left]:
        """Keep the checkpoints that changed."""
        found = await asyncio.to_thread(stage.left, folder, stage.CHECKPOINTS, CHECKPOINT_BYTES_MAX)
        changed = {path for path, each in found.items() if kept.get(path) != each}
        bucket, prefix = job.request.checkpoints
        for path in sorted(changed):
            for name, data in await asyncio.to_thread(_one, folder, path):
                await self._desk.stored(files.put, bucket, f"{prefix}/{name}", data)
        return found

    async def _take(self, job: HybridJob, folder: Path, ending: Ending) -> None:
        """Keep the results of a script that has ended, and its last state."""
        await asyncio.to_thread(stage.left, folder, stage.MODEL, RESULT_BYTES_MAX)
        packed = await asyncio.to_thread(stage.packed, folder)
        bucket, prefix = job.request.output
        key = f"{prefix}/output/model.tar.gz"
        await self._desk.stored(files.put, bucket, key, packed, "application/x-tar")
        own = await asyncio.to_thread(stage.failure, folder)
        usage = {"cpu_ms": ending.cpu_ms, "memory_bytes": ending.memory_bytes}
        state = JobState.COMPLETED if _is_well(ending) else JobState.FAILED
        why = "" if state is JobState.COMPLETED else _why(job, ending, own)
        await self._end(job.id, state, why, code=ending.code, usage=usage)

    async def _end(self, id: str, state: JobState, why: str, **values: Any) -> None:  # noqa: A002
        """Put a job into its last state; of one that did not complete, no task goes on."""
        desk, now = self._desk, self._desk.context.clock.now()
        job = await desk.stored(records.get, id)
        if job.over:
            return
        if job.state is JobState.CANCELLING:
            state, why = JobState.CANCELLED, ""
        if job.request.device:
            await self._close(job, cancel=state is not JobState.COMPLETED)
        used = {"hybrid_ms": (now - job.started) // 1_000_000, **values.pop("usage", {})}
        await desk.stored(records.change, id, state, why, ended=now, why=why, usage=used, **values)

    async def _close(self, job: HybridJob, *, cancel: bool) -> None:
        try:
            await self._desk.close_session(job.id, cancel=cancel)
        except SkerryError as error:
            if error.problem is not NOT_FOUND:
                raise


def _one(folder: Path, wanted: str) -> list[tuple[str, bytes]]:
    return list(stage.read(folder, stage.CHECKPOINTS, lambda path: path == wanted))


def _read_from(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(LOG_READ_BYTES)
    except FileNotFoundError:
        return b""


def _is_well(ending: Ending) -> bool:
    return ending.reason == "exited" and ending.code == 0


def _why(job: HybridJob, ending: Ending, own: str) -> str:
    """Say why a job failed, as far as is known."""
    said = {
        "timed-out": f"It ran longer than the {job.request.seconds} s that it may.",
        "disk-full": "It wrote more to its disk than it may.",
        "out-of-memory": "It used more memory than it may.",
        "lost": "Its sandbox ended or could not be made; skerry logs tells more.",
        "stopped": "The node stopped it.",
    }.get(ending.reason)
    if said is not None:
        return said
    return f"AlgorithmError: {own or 'The script failed.'} exit code: {ending.code}"
