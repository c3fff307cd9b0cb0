"""Jobs as Azure's API shows them. Their ids are the clients' own choice."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from skerry.kernel.errors import INVALID, NOT_FOUND, UNSUPPORTED, SkerryError
from skerry.kinds.quantum.checks import MEMORY_SHOTS_MAX
from skerry.kinds.quantum.contract import Cost, Job, JobRequest, JobState, Options, Program, Result
from skerry.kinds.quantum.store import Store
from skerry.kinds.quantum.twins import IDEAL
from skerry.kinds.quantum.wires.azure import (
    blobs,
    names,
    programs,
    results,
    sessions,
    signing,
    targets,
)
from skerry.kinds.quantum.wires.azure.blobs import Blob
from skerry.kinds.quantum.wires.azure.filters import Item
from skerry.kinds.quantum.wires.azure.targets import Target
from skerry.kinds.quantum.wires.frame import Call, Reply
from skerry.kinds.quantum.wires.ionq import devices as ionq_devices

SHOTS = 500
"""How often a program is run that says nothing about it."""

SIMULATOR_SHOTS = 16_384
"""Of IonQ's format, a simulator's probabilities are frequencies of at least so many shots."""

NATIVE_BYTES_MAX = 64 << 10
PRIORITY = "Standard"
_PAGE, _PAGES_MAX = 1000, 20
_STATES = {
    JobState.QUEUED: "Waiting",
    JobState.RUNNING: "Executing",
    JobState.CANCELLING: "Cancelling",
    JobState.COMPLETED: "Succeeded",
    JobState.PARTIAL: "Failed",
    JobState.FAILED: "Failed",
    JobState.CANCELLED: "Cancelled",
}


class Asked(msgspec.Struct, frozen=True, rename="camel"):
    """The body of a new job."""

    provider_id: str
    target: str
    container_uri: str
    name: str = ""
    input_data_uri: str | None = None
    input_data_format: str | None = None
    output_data_format: str | None = None
    input_params: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    session_id: str | None = None
    tags: tuple[str, ...] | None = None
    priority: str | None = None


class Changed(msgspec.Struct, frozen=True):
    """The body of a change of a job."""

    name: str | None = None
    tags: tuple[str, ...] | None = None
    priority: str | None = None


def same_priority(priority: str | None) -> None:
    """Raise UNSUPPORTED for a priority other than the one that there is."""
    if priority not in (None, PRIORITY):
        raise UNSUPPORTED(
            f"There is no priority {priority[:20]!r}.", why="Jobs of one app take their turn here."
        )


async def create(call: Call, job_id: str, asked: Asked) -> Reply:
    """Queue a job; one that was sent already is told as it stands."""
    same_priority(asked.priority)
    request = await _request(call, names.identity(job_id), asked)
    job = await call.desk.submit(request, names.identity(job_id))
    return Reply(told(call, job), 201)


async def _request(call: Call, job_id: str, asked: Asked) -> JobRequest:
    form = asked.input_data_format or ""
    params = asked.input_params or {}
    target = _as_asked(targets.find(asked.target, asked.provider_id), params)
    blob, place = await input_of(call, asked)
    data = await programs.source(call, blob)
    read = await asyncio.to_thread(programs.read, data, form, target, params)
    output = asked.output_data_format or results.USUAL[form]
    results.check(output, form)
    shots = _shots(params)
    is_exact = target.device.id == IDEAL and output == results.USUAL["ionq.circuit.v1"]
    native = native_of(asked, place, output)
    if form == "qir.v1":
        native["shape"] = await call.desk.recorded(read.programs[0].source)
    run = max(shots, SIMULATOR_SHOTS) if is_exact else shots
    request = JobRequest(
        device=target.device.id,
        programs=read.programs,
        shots=run,
        level=read.level,
        options=Options(
            memory=run * len(read.programs) <= MEMORY_SHOTS_MAX,
            fidelity=target.fidelity,
            seed=params.get("seed") if isinstance(params.get("seed"), int) else None,
        ),
        name=asked.name,
        token=f"{names.WIRE}-{job_id}",
        session=names.identity(asked.session_id) if asked.session_id else "",
        one_task=True,
        native=native,
    )
    if asked.session_id:
        session = await sessions.find(call, asked.session_id)
        own = sessions.grouped(await every(call, session.created))
        sessions.check(call, session, target, own[session.id])
    return await _checked(call, request) if target.checks else request


async def _checked(call: Call, request: JobRequest) -> JobRequest:
    """Return what a syntax checker runs: the program's measurements alone, so that all are 0.

    Raise what is wrong with the program on the machine.
    """
    await call.desk.plan(request)
    found = await call.desk.parse(request.programs[0])
    count = found["bits"]
    ops = [["measure", [place], [place]] for place in range(count)]
    blank = {"qubits": count, "bits": count, "registers": found["registers"], "ops": ops}
    program = Program(msgspec.json.encode(blank).decode(), "circuit", dialect=names.WIRE)
    return msgspec.structs.replace(request, device=IDEAL, programs=(program,), level="logical")


def _as_asked(target: Target, params: dict[str, Any]) -> Target:
    """Return a target with the noise that a job asks IonQ's simulator for; refuse mitigation."""
    mitigation = params.get("error-mitigation")
    if isinstance(mitigation, dict) and mitigation.get("debias"):
        raise UNSUPPORTED("Debiasing is not done here.", why="Switch error mitigation off.")
    noise = params.get("noise")
    if noise is None or target.name != targets.IONQ_SIMULATOR:
        return target
    if not isinstance(noise, dict):
        raise INVALID("The noise is an object with a model.")
    model = str(noise.get("model") or "ideal")
    device = ionq_devices.find(ionq_devices.SIMULATOR, model)
    return target if device.id == IDEAL else target._replace(device=device, fidelity="twin")


def _shots(params: dict[str, Any]) -> int:
    found = params.get("shots", params.get("count"))
    if found is None:
        return SHOTS
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise INVALID(f"{str(found)[:20]!r} is no number of shots.")
    return found


async def input_of(call: Call, asked: Asked) -> tuple[Blob, tuple[str, str]]:
    """Return a job's input, and in which container it is under which name; raise INVALID."""
    container = urlsplit(asked.container_uri).path.rstrip("/").rpartition("/")[2]
    container = names.container(container)
    blob = "inputData"
    if asked.input_data_uri:
        path = unquote(urlsplit(asked.input_data_uri).path)
        _, mark, blob = path.partition(f"/{container}/")
        if not mark:
            raise INVALID("The job's input is not in its container.", why=path[:200])
    names.blob(blob)
    try:
        found = await call.desk.stored(blobs.get, container, blob)
    except SkerryError as error:
        what = f"The job's input {blob[:60]} was not sent to {container}."
        raise INVALID(what, why=error.what) from error
    return found, (container, blob)


def is_shown(job: Job) -> bool:
    """Tell whether a job is of this wire, and not deleted."""
    native = job.request.native
    return native.get("wire") == names.WIRE and not native.get("deleted")


async def find(call: Call, job_id: str) -> Job:
    """Return a job of this wire; raise NOT_FOUND."""
    job = await call.desk.job(names.identity(job_id))
    if not is_shown(job):
        raise NOT_FOUND(f"There is no job {job_id[:60]}.")
    return job


async def has(call: Call, job_id: str) -> bool:
    """Tell whether there is a job of an id, deleted or not."""
    try:
        await call.desk.job(job_id)
    except SkerryError as error:
        if error.problem is not NOT_FOUND:
            raise
        return False
    return True


async def every(call: Call, since: int = 0) -> list[Job]:
    """Return the jobs of this wire since a moment, the newest first, as far as is looked back."""
    found: list[Job] = []
    before = ""
    for _ in range(_PAGES_MAX):
        page = await call.desk.jobs((), _PAGE, before)
        found += [each for each in page if is_shown(each)]
        if len(page) < _PAGE or page[-1].created < since:
            break
        before = page[-1].id
    return found


async def output(call: Call, job_id: str) -> Blob | None:
    """Return the blob of a job's results, or None while there are none."""
    if not job_id or not await has(call, job_id):
        return None
    job = await call.desk.job(job_id)
    if not is_shown(job) or job.state is not JobState.COMPLETED:
        return None
    found = await call.desk.results(job.id)
    return await asyncio.to_thread(_output, job, found)


def _output(job: Job, found: list[Result]) -> Blob:
    return blobs.unbounded(names.OUTPUT, results.written(job, found), job.ended)


async def cancel(call: Call, job_id: str) -> Reply:
    """Cancel a job; one that is over stays as it is."""
    job = await find(call, job_id)
    return Reply(told(call, await call.desk.cancel(job.id)))


async def change(call: Call, job_id: str) -> Reply:
    """Change what a job is called and tagged."""
    job = await find(call, job_id)
    asked = msgspec.convert(await call.json(), Changed)
    same_priority(asked.priority)
    native = dict(job.request.native)
    if asked.tags is not None:
        native["tags"] = list(asked.tags)
    if len(msgspec.json.encode(native["tags"])) > NATIVE_BYTES_MAX:
        raise INVALID(f"Tags have at most {NATIVE_BYTES_MAX >> 10} KiB.")
    name = job.request.name if asked.name is None else names.shown(asked.name)
    await _rewrite(call, job, name=name, native=native)
    return Reply({"name": name, "priority": PRIORITY, "tags": native["tags"]})


async def delete(call: Call, job_id: str) -> Reply:
    """Cancel a job, tell of it no more, and drop its blobs; what it cost stays known here."""
    job = await find(call, job_id)
    await call.desk.cancel(job.id)
    await _rewrite(call, job, native={**job.request.native, "deleted": True})
    await call.desk.stored(blobs.remove, names.container_of(job.id))
    return Reply(status=204)


async def _rewrite(call: Call, job: Job, **values: Any) -> None:
    request = msgspec.structs.replace(job.request, **values)
    await call.desk.stored(Store.change, job.id, None, "", request=request)


def native_of(asked: Asked, place: tuple[str, str], output: str) -> dict[str, Any]:
    """Return what a job keeps of its request to tell it again; raise INVALID beyond a bound."""
    found: dict[str, Any] = {
        "wire": names.WIRE,
        "target": asked.target.lower(),
        "provider": asked.provider_id,
        "container": place[0],
        "blob": place[1],
        "inputs": asked.input_data_format,
        "outputs": output,
        "params": asked.input_params or {},
        "metadata": asked.metadata,
        "tags": list(asked.tags or ()),
    }
    if len(msgspec.json.encode(found)) > NATIVE_BYTES_MAX:
        raise INVALID(f"Parameters, metadata and tags have at most {NATIVE_BYTES_MAX >> 10} KiB.")
    return found


def row(call: Call, job_id: str, native: dict[str, Any], nature: str) -> dict[str, Any]:
    """Return what is told of any job from its request; its addresses are signed anew."""
    context, container = call.desk.context, native["container"]
    return {
        "id": job_id,
        "itemType": "Job",
        "jobType": "QuantumComputing",
        "providerId": native["provider"],
        "target": native["target"],
        "createdByType": "Key",
        "containerUri": signing.link(context, call.root, container),
        "inputDataUri": signing.link(context, call.root, container, native["blob"], signing.READ),
        "inputDataFormat": native["inputs"],
        "inputParams": native["params"],
        "outputDataUri": signing.link(
            context, call.root, names.container_of(job_id), names.OUTPUT, signing.READ
        ),
        "outputDataFormat": native["outputs"],
        "metadata": {**(native["metadata"] or {}), "nature": nature},
        "priority": PRIORITY,
        "tags": native["tags"],
    }


def item(call: Call, job: Job) -> Item:
    """Return a job for a listing."""
    native = job.request.native
    fields = {
        "name": job.request.name,
        "itemType": "Job",
        "jobType": "QuantumComputing",
        "providerId": native["provider"],
        "target": native["target"],
        "status": _STATES.get(job.state, "Queued"),
        "creationTime": names.moment(job.created),
    }
    return Item(fields, partial(told, call, job))


def told(call: Call, job: Job) -> dict[str, Any]:
    """Return a job in Azure's shape."""
    target = targets.find(job.request.native["target"])
    nature = target.nature if target.checks else job.nature
    found = row(call, job.id, job.request.native, nature) | {
        "name": job.request.name,
        "status": _STATES.get(job.state, "Queued"),
        "creationTime": names.moment(job.created),
        "lastUpdatedTime": names.moment(job.updated),
        "beginExecutionTime": names.moment(job.started),
        "endExecutionTime": names.moment(job.ended),
        "cancellationTime": names.moment(job.ended) if job.state is JobState.CANCELLED else None,
        "sessionId": job.request.session or None,
        "quantumComputingData": {"count": job.executions},
        "costEstimate": _cost(job.cost),
        "usage": dict(job.usage),
    }
    if job.error is not None:
        message = f"{job.error['what']} {job.error.get('why', '')}".strip()
        found["errorData"] = {"code": job.error["code"], "message": message}
    elif job.state is JobState.PARTIAL:
        message = f"{job.done} of {job.executions} executions were run."
        found["errorData"] = {"code": "PARTIAL", "message": message}
    return found


def _cost(cost: Cost | None) -> dict[str, Any] | None:
    """Return what a job costs on the machine, or None if no price of it is known."""
    if cost is None or cost.hardware is None:
        return None
    events = [
        {
            "dimensionId": each.dimension,
            "dimensionName": f"{each.dimension} on the machine",
            "measureUnit": each.dimension,
            "amountBilled": float(each.amount),
            "amountConsumed": float(each.amount),
            "unitPrice": float(each.unit_price),
        }
        for each in cost.items
    ]
    return {
        "currencyCode": cost.currency,
        "events": events,
        "estimatedTotal": cost.hardware / 1_000_000,
    }
