"""Jobs in Pasqal's shape: one sequence with its variables, so many runs."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime
from typing import Any

import msgspec

from skerry.kernel.errors import CONFLICT, INVALID, NOT_FOUND, UNAUTHENTICATED
from skerry.kinds.quantum.checks import MEMORY_SHOTS_MAX
from skerry.kinds.quantum.contract import (
    Job,
    JobRequest,
    JobState,
    Options,
    Program,
    Result,
    Session,
)
from skerry.kinds.quantum.wires.frame import Call, Reply
from skerry.kinds.quantum.wires.pasqal import devices

WIRE = "pasqal"
_PURPOSE = "pasqal-results"
_NANOSECONDS = 1e9
_STATES = {
    JobState.RUNNING: "RUNNING",
    JobState.CANCELLING: "RUNNING",
    JobState.COMPLETED: "DONE",
    JobState.PARTIAL: "ERROR",
    JobState.FAILED: "ERROR",
    JobState.CANCELLED: "CANCELED",
}
_BITS = str.maketrans("gre", "010")
"""Pulser writes 1 for an atom that is excited; one that is not there reads 0."""


class Asked(msgspec.Struct, frozen=True):
    """A job of a batch."""

    runs: int | None = None
    variables: dict[str, Any] | None = None
    sequence: str | None = None


def request(session: Session, asked: Asked) -> JobRequest:
    """Return a job of a batch as a request; raise INVALID."""
    native = session.native
    sequence = asked.sequence or native["sequence"]
    if not sequence:
        raise INVALID("Neither the job nor its batch has a sequence.")
    if asked.runs is None:
        raise INVALID("A job says how often it is run.")
    device, fidelity = devices.find(native["device_type"])
    return JobRequest(
        device=device.id,
        programs=(Program(sequence, "pulser", bindings=(bindings(asked.variables or {}),)),),
        shots=asked.runs,
        session=session.id,
        options=Options(fidelity=fidelity, memory=asked.runs <= MEMORY_SHOTS_MAX),
        native={
            "wire": WIRE,
            "project": native["project"],
            "variables": asked.variables,
            "own": asked.sequence is not None,
        },
    )


def bindings(variables: dict[str, Any]) -> dict[str, float]:
    """Return values of variables; those of an array are told apart by their places."""
    found: dict[str, float] = {}
    for name, value in variables.items():
        values = value if isinstance(value, list) else [value]
        for place, each in enumerate(values):
            if isinstance(each, bool) or not isinstance(each, int | float):
                raise INVALID(f"The variable {name[:40]!r} is no number.")
            found[f"{name}[{place}]"] = float(each)
    return found


async def find(call: Call, job_id: str) -> Job:
    """Return a job of this wire; raise NOT_FOUND."""
    job = await call.desk.job(job_id)
    if job.request.native.get("wire") != WIRE:
        raise NOT_FOUND(f"The job {job_id[:60]} is none of Pasqal's.")
    return job


def state(job: Job) -> str:
    """Return what Pasqal calls a job's state."""
    return _STATES.get(job.state, "PENDING")


def moment(nanoseconds: int) -> str | None:
    """Return a moment as ISO 8601, or None for none."""
    if not nanoseconds:
        return None
    return datetime.fromtimestamp(nanoseconds / _NANOSECONDS, UTC).isoformat()


def told(call: Call, job: Job) -> dict[str, Any]:
    """Return a job in Pasqal's shape."""
    native, error = job.request.native, job.error
    return {
        "id": job.id,
        "batch_id": job.request.session,
        "project_id": native["project"],
        "status": state(job),
        "runs": job.request.shots,
        "created_at": moment(job.created),
        "updated_at": moment(job.updated),
        "start_timestamp": moment(job.started),
        "end_timestamp": moment(job.ended),
        "errors": None if error is None else [str(error["what"])],
        "variables": native["variables"],
        "sequence": job.request.programs[0].source if native["own"] else None,
        "nature": job.nature,
    }


def link(call: Call, job: Job) -> str | None:
    """Return an address of the results that needs no token, or None while there are none."""
    if job.state is not JobState.COMPLETED:
        return None
    ref = call.desk.context.ref
    host = call.headers.get("host", "")
    base = f"{call.headers.get('x-forwarded-proto', 'http')}://{host}"
    path = f"/@{ref.app}/{ref.branch}/@{ref.name}/{WIRE}/results/{job.id}"
    return f"{base}{path}?signature={_signature(call, job.id)}"


def _signature(call: Call, job_id: str) -> str:
    key = call.desk.context.keys.secret(_PURPOSE, 42).encode()
    return hmac.new(key, job_id.encode(), hashlib.sha256).hexdigest()


async def download(call: Call, job_id: str) -> Reply:
    """Return results at an address that was signed; raise UNAUTHENTICATED for any other."""
    presented = call.query.get("signature", "").encode("utf-8", "replace")
    if not hmac.compare_digest(presented, _signature(call, job_id).encode()):
        raise UNAUTHENTICATED("The address of the results is not signed.")
    job = await find(call, job_id)
    if job.state is not JobState.COMPLETED:
        raise CONFLICT(f"The job is {state(job)}; it has no results.")
    result = await call.desk.result(job.id)
    raw = [text.translate(_BITS) for text in result.memory] or None
    return Reply({"counter": counter(result), "raw": raw})


def counter(result: Result) -> dict[str, int]:
    """Return how often each outcome came, as Pulser writes it."""
    found: dict[str, int] = {}
    for text, number in result.counts.items():
        bits = text.translate(_BITS)
        found[bits] = found.get(bits, 0) + number
    return found
