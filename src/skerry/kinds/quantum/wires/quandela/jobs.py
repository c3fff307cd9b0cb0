"""Jobs in Quandela's shape: an experiment and what is varied, one execution for each variation.

Experiments stay the text that they are until a worker reads it.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from skerry.kernel.errors import CONFLICT, INVALID, NOT_FOUND, TOO_LARGE
from skerry.kinds.quantum.contract import Job, JobRequest, JobState, Program, Result
from skerry.kinds.quantum.store import OPEN_JOBS_MAX
from skerry.kinds.quantum.wires.frame import BODY_MAX, Call, Reply
from skerry.kinds.quantum.wires.quandela import platforms

WIRE = "quandela"
SHOTS = 10_000
_NANOSECONDS = 1e9
_STATES = {
    JobState.RUNNING: "running",
    JobState.CANCELLING: "cancel_requested",
    JobState.COMPLETED: "completed",
    JobState.PARTIAL: "error",
    JobState.FAILED: "error",
    JobState.CANCELLED: "canceled",
}
_Count = Annotated[int, msgspec.Meta(ge=0)]


class Payload(msgspec.Struct, frozen=True):
    """What is to be run; `job_context` is the client's own and comes back with the results."""

    command: str
    experiment: str
    parameters: dict[str, Any] | None = None
    noise: str | None = None
    iterator: tuple[dict[str, Any], ...] | None = None
    max_shots: _Count | None = None
    max_samples: _Count | None = None
    job_context: dict[str, Any] | None = None


class Asked(msgspec.Struct, frozen=True):
    """The body of a job."""

    platform_name: str
    payload: Payload
    job_name: str | None = None
    job_group_name: str | None = None


async def create(call: Call) -> Reply:
    """Queue a job."""
    asked = msgspec.convert(await call.json(), Asked)
    device = platforms.find(asked.platform_name)
    payload = asked.payload
    programs = programs_of(payload)
    request = JobRequest(
        device=device.id,
        programs=programs,
        shots=programs[0].shots,
        one_task=True,
        name=asked.job_name or "",
        tags={"group": asked.job_group_name} if asked.job_group_name else {},
        native={
            "wire": WIRE,
            "platform": asked.platform_name,
            "command": payload.command,
            "context": payload.job_context,
            "variations": payload.iterator,
        },
    )
    return Reply({"job_id": (await call.desk.submit(request)).id})


def programs_of(payload: Payload) -> tuple[Program, ...]:
    """Return an experiment as a program for each of its variations; raise TOO_LARGE or INVALID."""
    variations = payload.iterator or ({},)
    if len(payload.experiment) * len(variations) > BODY_MAX:
        raise TOO_LARGE(f"An experiment and its variations have {BODY_MAX >> 20} MiB at most.")
    return tuple(_program(payload, each) for each in variations)


def _program(payload: Payload, variation: dict[str, Any]) -> Program:
    """Return an experiment with one variation as a program (see `worker.perceval`)."""
    shots = variation.get("max_shots", payload.max_shots)
    if shots is not None and (isinstance(shots, bool) or not isinstance(shots, int) or shots < 0):
        raise INVALID(f"max_shots is a whole number, not {str(shots)[:40]!r}.")
    shape = {
        "experiment": payload.experiment,
        "command": payload.command,
        "parameters": payload.parameters,
        "noise": payload.noise,
        "max_samples": payload.max_samples or None,
        "iteration": variation,
    }
    return Program(msgspec.json.encode(shape).decode(), "perceval", shots=shots or SHOTS)


async def _job(call: Call, job_id: str) -> Job:
    job = await call.desk.job(job_id)
    if job.request.native.get("wire") != WIRE:
        raise NOT_FOUND(f"The job {job_id[:60]} is none of Quandela's.")
    return job


async def cancel(call: Call, job_id: str) -> Reply:
    """Cancel a job."""
    await call.desk.cancel((await _job(call, job_id)).id)
    return Reply({})


async def rerun(call: Call, job_id: str) -> Reply:
    """Queue a job that failed or was cancelled once more, as another."""
    job = await _job(call, job_id)
    if job.state not in (JobState.FAILED, JobState.PARTIAL, JobState.CANCELLED):
        raise CONFLICT(f"The job is {_state(job)}: only one that failed is run again.")
    again = msgspec.structs.replace(job.request, token="")
    return Reply({"job_id": (await call.desk.submit(again)).id})


async def availability(call: Call) -> dict[str, Any]:
    """Return how many jobs wait, and how many may."""
    return {"max_jobs_in_queue": OPEN_JOBS_MAX, "num_jobs_in_queue": call.desk.runner.waiting}


def _state(job: Job) -> str:
    return _STATES.get(job.state, "waiting")


async def status(call: Call, job_id: str) -> dict[str, Any]:
    """Return how far a job is."""
    job = await _job(call, job_id)
    error = job.error or {}
    ended = job.ended or call.desk.context.clock.now()
    return {
        "id": job.id,
        "name": job.request.name,
        "status": _state(job),
        "status_message": str(error.get("what", "")),
        "progress": job.done / job.executions,
        "progress_message": f"{job.done} of {job.executions}; {job.nature}",
        "creation_datetime": job.created / _NANOSECONDS,
        "start_time": (job.started or job.created) / _NANOSECONDS,
        "duration": int((ended - (job.started or ended)) / _NANOSECONDS),
    }


async def result(call: Call, job_id: str) -> dict[str, Any]:
    """Return the results of a job, as the text that Perceval reads; raise CONFLICT before."""
    job = await _job(call, job_id)
    if job.state is not JobState.COMPLETED:
        raise CONFLICT(f"The job is {_state(job)}; it has no results.")
    text = told_of(await call.desk.results(job.id), job.request.native)
    return {"job_id": job.id, "results": text}


def told_of(results: list[Result], native: dict[str, Any]) -> str:
    """Return results as the text that Perceval reads."""
    found = [_told(each, native["command"]) for each in results]
    if native["variations"] is None:
        told: dict[str, Any] = found[0]
    else:
        pairs = zip(found, native["variations"], strict=True)
        told = {"results_list": [{**each, "iteration": change} for each, change in pairs]}
    if native["context"]:
        told["job_context"] = native["context"]
    return msgspec.json.encode(told).decode()


def _told(found: Result, command: str) -> dict[str, Any]:
    values = dict(found.extra["photons"])
    if command == "probs":
        text = _table("BSDistribution", values.pop("probs"))
    elif command == "samples":
        text = _samples(found.memory)
    else:
        text = _table("BSCount", found.counts)
    return {"results": text, **values}


def _table(kind: str, entries: dict[str, Any]) -> str:
    pairs = ";".join(f"|{outcome}>={value!r}" for outcome, value in entries.items())
    return f":PCVL:{kind}:{{{pairs}}}"


def _samples(memory: tuple[str, ...]) -> str:
    """Return outcomes in the order in which they came: each once, then their numbers."""
    places = {outcome: place for place, outcome in enumerate(dict.fromkeys(memory))}
    known = ";".join(f"|{outcome}>" for outcome in places)
    return f":PCVL:BSSamples:{known}/{';'.join(str(places[each]) for each in memory)}"
