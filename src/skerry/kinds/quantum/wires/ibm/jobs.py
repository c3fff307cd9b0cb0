"""Jobs and sessions as IBM's API shows them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from skerry.kernel.errors import INVALID
from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.contract import Job, JobRequest, JobState, Options, Program, Session
from skerry.kinds.quantum.desk import Desk
from skerry.kinds.quantum.twins import for_worker
from skerry.kinds.quantum.wires.ibm import backends
from skerry.kinds.quantum.wires.ibm.answers import moment
from skerry.kinds.quantum.wires.ibm.options import noise as wanted_noise

PROGRAMS = frozenset({"sampler", "estimator", "executor"})
SHOTS = 4096
PRECISION = 0.015625
MEMORY_MAX = 1_000_000
TAGS_MAX = 50
_STATES = {
    JobState.COMPLETED: "Completed",
    JobState.PARTIAL: "Failed",
    JobState.FAILED: "Failed",
    JobState.CANCELLED: "Cancelled",
    JobState.CANCELLING: "Running",
    JobState.RUNNING: "Running",
}
_SECOND = 1_000_000_000
CLIENT_MAX = 2000
_QISKIT = re.compile(r"\bqiskit-(\d[0-9a-z.]{0,20})")


class Asked(msgspec.Struct, frozen=True):
    """The body of a new job."""

    program_id: str
    params: dict[str, Any]
    backend: str = ""
    session_id: str = ""
    tags: list[str] = []
    private: bool = False
    start_session: bool = False


async def submit(desk: Desk, asked: Asked, client: str = "") -> Job:
    """Queue what a program means; raise what is wrong with it. `client` is what it calls itself."""
    if asked.program_id not in PROGRAMS:
        raise INVALID(
            f"There is no program {asked.program_id[:40]}.",
            why=f"Known: {', '.join(sorted(PROGRAMS))}.",
        )
    if len(asked.tags) > TAGS_MAX or any(len(each) > 86 for each in asked.tags):
        raise INVALID(f"A job has at most {TAGS_MAX} tags of 86 characters.")
    device = backends.find(asked.backend)
    _, calibration, _ = desk.device(device.id)
    noise = wanted_noise(asked.params, asked.program_id)
    options = asked.params.get("options") or {}
    limits = {
        "labels": backends.labels(device, calibration),
        "shots": options.get("default_shots") or SHOTS,
        "precision": _precision(options),
        "seed": desk.chance() if noise["seed"] is None else abs(noise["seed"]),
        "noise": noise,
        "device": for_worker(device, calibration) if noise["decoupling"] else None,
    }
    found = await desk.primitives(asked.program_id, asked.params, **limits)
    programs = _programs(found)
    shots = max(program.shots for program in programs)
    request = JobRequest(
        device=device.id,
        programs=programs,
        shots=shots,
        level="logical" if calibration is None else "verbatim",
        session=asked.session_id,
        native={
            "program": asked.program_id,
            "params": asked.params,
            "tags": asked.tags,
            "private": asked.private,
            "qiskit": _version(client),
            "pubs": found["pubs"],
            "role": found.get("role"),
            "passthrough": found.get("passthrough"),
            "seed": limits["seed"],
            "noise": noise,
            "mitigation": found.get("mitigation"),
        },
    )
    ordered = asked.program_id != "estimator" or noise["randomised"]
    keep = ordered and request.all_shots <= MEMORY_MAX
    return await desk.submit(
        msgspec.structs.replace(request, options=Options(memory=keep, seed=noise["seed"]))
    )


def _version(client: str) -> str:
    """Return the version of Qiskit that a client names, nothing if it names none."""
    found = _QISKIT.search(client[:CLIENT_MAX])
    return found[1] if found else ""


def _precision(options: dict[str, Any]) -> float:
    shots = options.get("default_shots")
    if isinstance(shots, int) and shots > 0:
        return 1 / math.sqrt(shots)
    return float(options.get("default_precision") or PRECISION)


def _programs(found: dict[str, Any]) -> tuple[Program, ...]:
    """Return the programs; all executions of one are of one PUB, which says the shots."""
    shots = {number: pub["shots"] for pub in found["pubs"] for number in pub["programs"]}
    made: list[Program] = []
    start = 0
    for each in found["programs"]:
        bindings = tuple(each["bindings"])
        made.append(
            Program(each["source"], format="circuit", bindings=bindings, shots=shots[start])
        )
        start += len(bindings)
    return tuple(made)


def shown(job: Job, *, params: bool) -> dict[str, Any]:
    """Return a job."""
    native = job.request.native
    state = _STATES.get(job.state, "Queued")
    reason = "" if job.error is None else str(job.error.get("what", ""))
    found = {
        "id": job.id,
        "backend": backends.name_of(load.find(job.request.device)),
        "state": {"status": state, **({"reason": reason} if reason else {})},
        "status": state,
        "program": {"id": native["program"]},
        "created": moment(job.created),
        "tags": native["tags"],
        "private": native["private"],
        "cost": 0,
        "usage": {"seconds": seconds(job)},
        "estimated_running_time_seconds": seconds(job),
    }
    if job.ended:
        found["ended"] = moment(job.ended)
    if job.request.session:
        found["session_id"] = job.request.session
    if params and not native["private"]:
        found["params"] = native["params"]
    return found


def seconds(job: Job) -> float:
    """Return how long an engine worked for a job; a twin has no other clock."""
    return job.usage.get("engine_ms", 0) / 1000


def metrics(job: Job) -> dict[str, Any]:
    """Return a job's times and use."""
    times = {
        "created": moment(job.created),
        "running": moment(job.started) if job.started else None,
        "finished": moment(job.ended) if job.ended else None,
    }
    status = "complete" if job.over else "pending"
    spent = seconds(job)
    return {
        "timestamps": times,
        "bss": {"seconds": spent},
        "usage": {
            "status": status,
            "quantum_seconds": spent,
            "seconds": spent,
            "qpu_charge_time_seconds": spent,
        },
        "qiskit_version": job.request.native.get("qiskit", ""),
        "num_circuits": len(job.request.programs),
        "executions": job.done,
        "position_in_queue": job.queue.position if job.queue else None,
        "nature": job.nature,
    }


def wanted(jobs: Iterable[Job], query: dict[str, str], tags: list[str]) -> list[Job]:
    """Return the jobs that a listing asks for, the newest first."""
    found = []
    for job in jobs:
        native = job.request.native
        if native.get("program") not in PROGRAMS or native["private"] or native.get("deleted"):
            continue
        if "backend" in query and backends.find(query["backend"]).id != job.request.device:
            continue
        if "program" in query and query["program"] != native["program"]:
            continue
        if "session_id" in query and query["session_id"] != job.request.session:
            continue
        if "pending" in query and (query["pending"] == "true") == job.over:
            continue
        if not set(tags) <= set(native["tags"]) or not _between(job, query):
            continue
        found.append(job)
    return found


def _between(job: Job, query: dict[str, str]) -> bool:
    made = moment(job.created)[:19]
    after, before = query.get("created_after", ""), query.get("created_before", "9")
    return after[:19] <= made <= before[:19]


def session(found: Session, jobs: list[Job], now: int) -> dict[str, Any]:
    """Return a session with what its jobs used."""
    started = [job.started for job in jobs if job.started]
    ended = [job.ended for job in jobs if job.ended]
    pending = any(not job.over for job in jobs)
    state = "active" if pending or (found.accepting and started) else "open"
    if not found.accepting:
        state = "active" if pending else "closed"
    closed = found.closed or (0 if found.accepting else found.created + found.seconds_max * _SECOND)
    return {
        "id": found.id,
        "backend_name": backends.name_of(load.find(found.device)),
        "interactive_ttl": found.seconds_max,
        "max_ttl": found.seconds_max,
        "active_ttl": found.seconds_max,
        "state": state,
        "accepting_jobs": found.accepting,
        "last_job_started": moment(max(started)) if started else None,
        "last_job_completed": moment(max(ended)) if ended else None,
        "started_at": moment(found.created),
        "activated_at": moment(min(started)) if started else None,
        "closed_at": moment(closed) if closed else None,
        "mode": found.mode,
        "elapsed_time": sum(seconds(job) for job in jobs),
        "timestamps": [{"status": "open", "timestamp": moment(found.created)}],
    }
