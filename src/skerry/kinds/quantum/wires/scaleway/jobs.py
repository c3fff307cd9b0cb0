"""Jobs: a model run in a session, or an experiment that the job itself holds.

Results are told as the client for the program reads them: Qiskit's in the envelope of qio, one for
all programs; Pulser's as a counter; Perceval's as its own text.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec

from skerry.kernel.errors import CONFLICT, INVALID, NOT_FOUND
from skerry.kinds.quantum.checks import MEMORY_SHOTS_MAX
from skerry.kinds.quantum.contract import Job, JobRequest, JobState, Options, Program, Result
from skerry.kinds.quantum.wires.frame import Call, Reply
from skerry.kinds.quantum.wires.pasqal import jobs as pulser
from skerry.kinds.quantum.wires.quandela import jobs as perceval
from skerry.kinds.quantum.wires.scaleway import models, sessions
from skerry.kinds.quantum.wires.scaleway.names import WIRE, moment

LIST_MAX = 1000
PULSER, PERCEVAL = "pulser", "perceval"
_QISKIT, _PLAIN = 2, 1
_T = TypeVar("_T")
_STATES = {
    JobState.RUNNING: "running",
    JobState.COMPLETED: "completed",
    JobState.PARTIAL: "error",
    JobState.FAILED: "error",
    JobState.CANCELLING: "cancelling",
    JobState.CANCELLED: "cancelled",
}


class Asked(msgspec.Struct, frozen=True):
    """The body that makes a job."""

    session_id: str
    model_id: str | None = None
    name: Annotated[str, msgspec.Meta(max_length=200)] = ""
    parameters: str | None = None
    circuit: dict[str, Any] | None = None


class Runs(msgspec.Struct, frozen=True):
    """How a sequence is to be run."""

    runs: Annotated[int, msgspec.Meta(ge=1)]
    variables: dict[str, Any] | None = None


class Parameters(msgspec.Struct, frozen=True):
    """How a model is to be run."""

    shots: Annotated[int, msgspec.Meta(ge=1)]
    options: dict[str, Any] | None = None


async def answer(call: Call, parts: tuple[str, ...]) -> Reply:
    """Answer one request about jobs."""
    match (call.method, *parts):
        case ("POST",):
            return Reply(_told(await _create(call)))
        case ("GET",):
            return Reply(await _listed(call))
        case ("GET", name):
            return Reply(_told(await _find(call, name)))
        case ("GET", name, "results"):
            return Reply(await _results(call, name))
        case ("POST", name, "cancel"):
            return Reply(_told(await call.desk.cancel((await _find(call, name)).id)))
    raise NOT_FOUND(f"{call.method[:10]} {call.path[:200]} is no operation on jobs.")


async def _create(call: Call) -> Job:
    asked = msgspec.convert(await call.json(), Asked)
    session = await sessions.use(call, asked.session_id)
    native = {"wire": WIRE, "parameters": asked.parameters, "model": asked.model_id}
    if (asked.circuit or {}).get("percevalCircuit"):
        found = _of_experiment(asked, native)
    else:
        native["model"] = name = asked.model_id or sessions.model_of(session)
        if not name:
            why = "Circuits in a job itself are no longer taken, but Perceval's."
            raise INVALID("A job names a model.", why=why)
        content = models.read((await models.find(call, name)).payload)
        if isinstance(content, models.Sequence):
            found = _of_sequence(asked, content, native)
        else:
            found = _of_programs(asked, content, native)
    return await call.desk.submit(
        msgspec.structs.replace(found, device=session.device, name=asked.name, session=session.id)
    )


def _chosen(asked: Asked, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(asked.parameters or "{}", type=kind)
    except msgspec.MsgspecError as error:
        raise INVALID("The parameters of the job are malformed.", why=str(error)) from error


def _of_programs(asked: Asked, made: tuple[Program, ...], native: dict[str, Any]) -> JobRequest:
    chosen = _chosen(asked, Parameters)
    return JobRequest(
        device="",
        programs=made,
        shots=chosen.shots,
        options=Options(memory=chosen.shots * len(made) <= MEMORY_SHOTS_MAX),
        native=native | {"memory": bool((chosen.options or {}).get("memory"))},
    )


def _of_sequence(asked: Asked, made: models.Sequence, native: dict[str, Any]) -> JobRequest:
    chosen = _chosen(asked, Runs)
    bindings = pulser.bindings(chosen.variables or {})
    return JobRequest(
        device="",
        programs=(Program(made.sequence, "pulser", bindings=(bindings,)),),
        shots=chosen.runs,
        native=native | {"sort": PULSER},
    )


def _of_experiment(asked: Asked, native: dict[str, Any]) -> JobRequest:
    text = (asked.circuit or {}).get("percevalCircuit")
    try:
        payload = msgspec.json.decode(text if isinstance(text, str) else "", type=perceval.Payload)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise INVALID("The circuit is no experiment of Perceval's.", why=str(error)) from error
    made = perceval.programs_of(payload)
    context = {"context": payload.job_context, "variations": payload.iterator}
    more = {"sort": PERCEVAL, "command": payload.command} | context
    return JobRequest("", made, made[0].shots, one_task=True, native=native | more)


async def _find(call: Call, job_id: str) -> Job:
    job = await call.desk.job(job_id)
    if job.request.native.get("wire") != WIRE:
        raise NOT_FOUND(f"The job {job_id[:60]} is none of Scaleway's.")
    return job


async def _listed(call: Call) -> dict[str, Any]:
    session = call.query.get("session_id", "")
    found = [
        _told(each)
        for each in await call.desk.jobs((), LIST_MAX)
        if each.request.native.get("wire") == WIRE and session in ("", each.request.session)
    ]
    return {"total_count": len(found), "jobs": found}


def _told(job: Job) -> dict[str, Any]:
    seconds = (job.ended - job.started) / 1e9 if job.ended and job.started else None
    said = str(job.error["what"]) if job.error else f"Run on a {job.nature}."
    return {
        "id": job.id,
        "name": job.request.name,
        "session_id": job.request.session,
        "created_at": moment(job.created),
        "started_at": moment(job.started),
        "updated_at": moment(job.updated),
        "status": _STATES.get(job.state, "waiting"),
        "progress_message": said,
        "job_duration": None if seconds is None else f"{seconds:.3f}s",
        "model_id": job.request.native["model"],
        "parameters": job.request.native["parameters"],
    }


async def _results(call: Call, job_id: str) -> dict[str, Any]:
    job = await _find(call, job_id)
    if job.state is not JobState.COMPLETED:
        raise CONFLICT(f"The job is {_STATES.get(job.state, 'waiting')}; it has no results.")
    rows = [
        {"job_id": job.id, "result": text, "url": None, "created_at": moment(job.ended)}
        for text in _texts(await call.desk.results(job.id), job.request.native)
    ]
    return {"total_count": len(rows), "job_results": rows}


def _texts(results: list[Result], native: dict[str, Any]) -> list[str]:
    """Return results as the client reads them."""
    if native.get("sort") == PERCEVAL:
        return [perceval.told_of(results, native)]
    if native.get("sort") == PULSER:
        return [msgspec.json.encode({"counter": pulser.counter(e)}).decode() for e in results]
    return [_packed(results, with_memory=bool(native["memory"]))]


def _packed(results: list[Result], *, with_memory: bool) -> str:
    """Return results in the envelope of the library qio, as one of Qiskit's.

    It is one for all programs: Qiskit's primitives take no list of them.
    """
    told = {
        "success": True,
        "results": [_experiment(each, with_memory=with_memory) for each in results],
        "metadata": {"nature": results[0].provenance.nature},
    }
    envelope = {
        "compression_format": _PLAIN,
        "serialization_format": _QISKIT,
        "serialization": msgspec.json.encode(told).decode(),
    }
    return msgspec.json.encode(envelope).decode()


def _experiment(result: Result, *, with_memory: bool) -> dict[str, Any]:
    """Return the result of one program as Qiskit has it, whose bit 0 is the last."""
    bits = len(result.measured)
    data: dict[str, Any] = {"counts": {_number(k): count for k, count in result.counts.items()}}
    if with_memory:
        data["memory"] = [_number(each) for each in result.memory]
    return {
        "shots": result.shots,
        "success": True,
        "data": data,
        "header": {
            "n_qubits": bits,
            "memory_slots": bits,
            "creg_sizes": [[name, size] for name, _, size in result.registers],
            "name": f"program-{result.execution}",
        },
    }


def _number(text: str) -> str:
    return hex(int(text[::-1], 2))
