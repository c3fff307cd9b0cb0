"""Quantum tasks: create, look at, cancel and search; each is a job of the resource."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from skerry.kernel.errors import CONFLICT, INVALID, NOT_FOUND, SkerryError
from skerry.kinds.quantum.catalogue.model import Device
from skerry.kinds.quantum.checks import MEMORY_SHOTS_MAX
from skerry.kinds.quantum.contract import Job, JobRequest, JobState, Options
from skerry.kinds.quantum.wires.braket import names, programs
from skerry.kinds.quantum.wires.braket.errors import ProgramSetError
from skerry.kinds.quantum.wires.braket.searching import (
    ORDERED,
    PAGE_MAX,
    Filter,
    check,
    newest,
)
from skerry.kinds.quantum.wires.frame import Call, Reply

WIRE = "braket"
_STATES = {
    JobState.CREATED: "CREATED",
    JobState.VALIDATED: "CREATED",
    JobState.ESTIMATED: "CREATED",
    JobState.PARTIAL: "FAILED",
}
_Name = Annotated[str, msgspec.Meta(max_length=256)]


class Association(msgspec.Struct, frozen=True):
    """What a task belongs to: a reservation."""

    arn: _Name
    type: Literal["RESERVATION_TIME_WINDOW_ARN"]


class Create(msgspec.Struct, frozen=True, rename="camel"):
    """The body of CreateQuantumTask; what is not named here does not change a run on a twin."""

    action: str
    client_token: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    device_arn: _Name
    shots: Annotated[int, msgspec.Meta(ge=0)]
    output_s3_bucket: Annotated[
        str, msgspec.Meta(min_length=3, max_length=63, pattern="^[a-z0-9.-]+$")
    ] = msgspec.field(name="outputS3Bucket")
    output_s3_key_prefix: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)] = (
        msgspec.field(name="outputS3KeyPrefix")
    )
    device_parameters: str = ""
    job_token: Annotated[str, msgspec.Meta(max_length=128)] = ""
    tags: dict[str, str] = {}
    associations: Annotated[list[Association], msgspec.Meta(max_length=1)] = []


class Native(msgspec.Struct, frozen=True):
    """What a job keeps of the task that it is."""

    wire: str
    device_arn: str
    region: str
    bucket: str
    prefix: str
    action: str
    kind: str
    shots: int
    views: tuple[programs.View, ...]
    device_parameters: str = ""
    reservation: str = ""
    hybrid: str = ""

    def directory(self, job_id: str) -> str:
        """Return the folder of the task's results in its bucket."""
        return f"{self.prefix.strip('/')}/{job_id}"


class Search(msgspec.Struct, frozen=True, rename="camel"):
    """The body of SearchQuantumTasks and SearchDevices."""

    filters: list[Filter] = []
    max_results: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = PAGE_MAX
    next_token: str = ""


async def create(call: Call, region: str) -> Reply:
    """Answer CreateQuantumTask: all of the task is checked before anything of it is kept."""
    asked = msgspec.convert(await call.json(), Create)
    device = names.find(asked.device_arn)
    action = await programs.read(call.desk, asked.action, device, asked.shots)
    is_set = action.kind == programs.PROGRAM_SET
    shots, rest = divmod(asked.shots, action.executions)
    if rest:
        raise INVALID(
            f"{asked.shots} shots cannot be shared evenly by {action.executions} executables."
        )
    native = Native(
        WIRE,
        asked.device_arn,
        region,
        asked.output_s3_bucket,
        asked.output_s3_key_prefix,
        asked.action,
        action.kind,
        asked.shots,
        action.views,
        asked.device_parameters,
        asked.associations[0].arn if asked.associations else "",
        await _hybrid(call, asked.job_token),
    )
    request = JobRequest(
        device=device.id,
        programs=action.programs,
        shots=shots,
        options=Options(memory=asked.shots <= MEMORY_SHOTS_MAX, engine=action.engine),
        token=asked.client_token,
        reservation=await reservation(call, device, native.reservation),
        session=await _session(call, native.hybrid, device.id),
        one_task=is_set,
        tags=asked.tags,
        native=msgspec.to_builtins(native),
    )
    try:
        job = await call.desk.submit(request)
    except SkerryError as error:
        failed = await programs.failures(call.desk, action) if is_set else []
        if failed:
            raise ProgramSetError(failed, error) from error
        raise
    arn = names.task_arn(job.id, region, call.desk.context.id)
    return Reply({"quantumTaskArn": arn}, 201)


async def _hybrid(call: Call, token: str) -> str:
    """Return the hybrid job that a task is of, or nothing."""
    return await call.desk.hybrid.of_token(token) if token else call.hybrid


async def _session(call: Call, hybrid: str, device: str) -> str:
    """Return the session in which a task of a hybrid job goes first: on the job's own device."""
    if not hybrid:
        return ""
    job = await call.desk.hybrid.job(hybrid)
    return hybrid if job.request.device == device else ""


async def reservation(call: Call, device: Device, arn: str) -> str:
    """Return the reservation that a name means; raise INVALID for one that does not take it.

    It is one that `skerry quantum reserve` made, on this device.
    """
    if not arn:
        return ""
    if device.status == "local":
        raise INVALID(f"Braket Direct is not supported for {device.id}: nobody else is on it.")
    wanted = names.reservation_of(arn, call.desk.context.id)
    found = [each for each in await call.desk.calendar.coming() if each.id == wanted]
    if not found or found[0].device != device.id:
        raise INVALID(
            "Reservation arn is invalid.",
            why=f"No reservation of {device.id} that is not over has it.",
            hint=f"skerry quantum reserve {device.id}",
        )
    return wanted


def native_of(job: Job) -> Native:
    """Return what a job keeps of its task; raise NOT_FOUND for one that is none."""
    if job.request.native.get("wire") != WIRE:
        raise NOT_FOUND(f"The job {job.id} is no task of Braket's.")
    return msgspec.convert(job.request.native, Native)


async def show(call: Call, _region: str) -> Reply:
    """Answer GetQuantumTask."""
    job = await _job(call)
    native = native_of(job)
    found = summary(job, native, call.desk.context.id)
    found["deviceParameters"] = native.device_parameters or "{}"
    found["actionMetadata"] = _action(job, native)
    found["queueInfo"] = _queue(job)
    if job.error is not None:
        found["failureReason"] = str(job.error.get("what") or "unknown")
    if native.reservation:
        found["associations"] = [{"arn": native.reservation, "type": "RESERVATION_TIME_WINDOW_ARN"}]
    if found["status"] in ("COMPLETED", "FAILED"):
        found["numSuccessfulShots"] = job.done * job.request.shots
    return Reply(found)


async def _job(call: Call) -> Job:
    return await call.desk.job(names.job_of(call.parts[1], call.desk.context.id))


def state(job: Job) -> str:
    """Return a job's state in Braket's words."""
    return _STATES.get(job.state, job.state.value)


def summary(job: Job, native: Native, resource_id: str) -> dict[str, Any]:
    """Return what is told of a task in lists."""
    found: dict[str, Any] = {
        "quantumTaskArn": names.task_arn(job.id, native.region, resource_id),
        "status": state(job),
        "deviceArn": native.device_arn,
        "shots": native.shots,
        "outputS3Bucket": native.bucket,
        "outputS3Directory": native.directory(job.id),
        "createdAt": names.moment(job.created),
        "tags": job.request.tags,
    }
    if native.hybrid:
        found["jobArn"] = names.hybrid_arn(native.hybrid, native.region, resource_id)
    if job.ended:
        found["endedAt"] = names.moment(job.ended)
    return found


def _action(job: Job, native: Native) -> dict[str, Any]:
    found: dict[str, Any] = {"actionType": native.kind}
    if native.kind == programs.PROGRAM_SET:
        found["programCount"] = len(job.request.programs)
        found["executableCount"] = job.executions
    return found


def _queue(job: Job) -> dict[str, Any]:
    priority = "Priority" if job.request.session else "Normal"
    found = {"queue": "QUANTUM_TASKS_QUEUE", "queuePriority": priority}
    if job.queue is not None:
        return found | {"position": str(job.queue.position)}
    text = f"Task is in {state(job)} status, in which it has no place in the queue."
    return found | {"position": "None", "message": text}


async def cancel(call: Call, _region: str) -> Reply:
    """Answer CancelQuantumTask."""
    job = await _job(call)
    native_of(job)
    if job.over:
        # Callers know Braket's sentence, and go on where a task was over before.
        what = f"Amazon Braket cannot cancel a quantum task in the {state(job)} status."
        raise CONFLICT(what)
    job = await call.desk.cancel(job.id)
    ended = "CANCELLED" if job.state is JobState.CANCELLED else "CANCELLING"
    return Reply({"quantumTaskArn": call.parts[1], "cancellationStatus": ended})


async def tags(call: Call, _region: str) -> Reply:
    """Answer ListTagsForResource."""
    job = await _job(call)
    native_of(job)
    return Reply({"tags": job.request.tags})


_FIELDS = ("quantumTaskArn", "deviceArn", "jobArn", "status", "createdAt")


async def search(call: Call, _region: str) -> Reply:
    """Answer SearchQuantumTasks, the newest first."""
    asked = msgspec.convert(await call.json(), Search)
    check(asked.filters, "Tasks", _FIELDS, ORDERED)
    desk = call.desk

    def told(job: Job) -> dict[str, Any] | None:
        if job.request.native.get("wire") != WIRE:
            return None
        return summary(job, native_of(job), desk.context.id)

    found, going_on = await newest(asked, lambda limit, before: desk.jobs((), limit, before), told)
    return Reply({"quantumTasks": found} | going_on)
