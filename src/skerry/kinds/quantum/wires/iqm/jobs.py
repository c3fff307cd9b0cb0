"""Jobs of circuits in IQM Server's shape."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from skerry.kernel.errors import CONFLICT, NOT_FOUND, UNSUPPORTED
from skerry.kinds.quantum.checks import MEMORY_SHOTS_MAX
from skerry.kinds.quantum.contract import Job, JobRequest, JobState, Options
from skerry.kinds.quantum.wires.frame import Call, Reply
from skerry.kinds.quantum.wires.iqm import machines
from skerry.kinds.quantum.wires.iqm.circuits import Asked, Keys, counts, measurements, program

WIRE = "iqm"
SOURCE = "skerry"
_STATES = {
    JobState.RUNNING: "processing",
    JobState.CANCELLING: "processing",
    JobState.COMPLETED: "completed",
    JobState.PARTIAL: "failed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled",
}
_ARTIFACTS = ("measurements", "measurement_counts")


async def create(call: Call, name: str) -> Reply:
    """Queue circuits as one job."""
    payload = await call.json()
    asked = msgspec.convert(payload, Asked)
    device, _, known = machines.figures(call.desk, name)
    if asked.calibration_set_id not in (None, known):
        raise NOT_FOUND(f"The calibration set {asked.calibration_set_id} is not in force.")
    if asked.heralding_mode != "none":
        raise UNSUPPORTED("A twin starts in its ground state: it does no heralding.")
    names = asked.names()
    made = [program(each, names) for each in asked.circuits]
    request = JobRequest(
        device=device.id,
        programs=tuple(each for each, _ in made),
        shots=asked.shots,
        options=Options(memory=asked.shots * len(made) <= MEMORY_SHOTS_MAX),
        native={
            "wire": WIRE,
            "payload": payload,
            "calibration_set": known,
            "keys": msgspec.to_builtins([each for _, each in made]),
        },
    )
    return Reply(await _told(call, await call.desk.submit(request)), 201)


async def find(call: Call, job_id: str) -> Job:
    """Return a job of this wire; raise NOT_FOUND."""
    job = await call.desk.job(job_id)
    if job.request.native.get("wire") != WIRE:
        raise NOT_FOUND(f"The job {job_id[:60]} is none of IQM's.")
    return job


async def show(call: Call, job_id: str, part: str) -> Reply:
    """Return a job, its payload or an artifact of it."""
    job = await find(call, job_id)
    if not part:
        return Reply(await _told(call, job))
    if part == "payload":
        return Reply(job.request.native["payload"])
    which = part.removeprefix("artifacts/")
    if which not in _ARTIFACTS:
        raise NOT_FOUND(f"A job of circuits has no {part[:60]}.")
    if job.state is not JobState.COMPLETED:
        raise CONFLICT(f"The job is {_state(job)}; it has no results.")
    keys = msgspec.convert(job.request.native["keys"], list[Keys])
    results = await call.desk.results(job.id)
    told = measurements if which == "measurements" else counts
    return Reply([told(each, keys[each.execution]) for each in results])


def _state(job: Job) -> str:
    return _STATES.get(job.state, "waiting")


async def _told(call: Call, job: Job) -> dict[str, Any]:
    events = await call.desk.events(job.id)
    error = job.error
    return {
        "id": job.id,
        "type": "circuit",
        "status": _state(job),
        "execution": {"progress": {"circuits": {"value": job.done, "max_value": job.executions}}},
        "compilation": {"calibration_set_id": job.request.native["calibration_set"]},
        "messages": [{"source": SOURCE, "message": f"Run on a {job.nature}."}],
        "errors": []
        if error is None
        else [{"message": str(error["what"]), "error_code": str(error["code"]), "source": SOURCE}],
        "queue_position": None if job.queue is None else max(0, job.queue.position - 1),
        "timeline": [
            {
                "source": SOURCE,
                "status": each.state.value.lower(),
                "timestamp": datetime.fromtimestamp(each.at / 1e9, UTC).isoformat(),
            }
            for each in events
        ],
        "artifacts": [{"type": each} for each in _ARTIFACTS] if _state(job) == "completed" else [],
    }
