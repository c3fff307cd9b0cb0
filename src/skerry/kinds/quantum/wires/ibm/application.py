"""IBM Quantum's API, as qiskit-ibm-runtime speaks it, below `…/ibm`.

    POST /identity/token                                       IAM
    GET  /backends   …/{name}/configuration, properties, status
    POST /jobs   GET /jobs, /jobs/{id}, …/results, metrics, logs   POST …/cancel   PUT …/tags
    DELETE /jobs/{id}
    POST /sessions   GET, PATCH /sessions/{id}   DELETE …/close
    GET  /instances/usage

The path may begin with `/experimental` or `/api/v1`: a client leaves a URL with the first as it is.
The backends are IBM's machines, as twins, and a simulator without noise.
"""

from __future__ import annotations

import asyncio
from typing import Any, Literal
from urllib.parse import parse_qs, parse_qsl

import msgspec

from skerry.kernel.errors import (
    CONFLICT,
    NOT_FOUND,
    UNAUTHENTICATED,
    UNSUPPORTED,
    SkerryError,
)
from skerry.kinds.quantum import claim
from skerry.kinds.quantum.contract import Job, JobState
from skerry.kinds.quantum.store import Store
from skerry.kinds.quantum.wires.frame import Call, Reply, Vendor
from skerry.kinds.quantum.wires.ibm import answers, backends, jobs, tokens

PAGE_MAX = 50
SCANNED_MAX = 10_000
USAGE_JOBS = 100
_DROPPED = (("experimental",), ("api", "v1"))


async def answer(call: Call) -> Reply:
    """Answer one request."""
    parts = call.parts
    for each in _DROPPED:
        if parts[: len(each)] == each:
            parts = parts[len(each) :]
    if (call.method, parts) == ("POST", ("identity", "token")):
        return await _token(call)
    _authenticate(call)
    if parts and parts[0] == "backends":
        return await _backends(call, parts[1:])
    if parts and parts[0] == "jobs":
        return await (_job(call, parts[1:]) if len(parts) > 1 else _jobs(call))
    if parts and parts[0] == "sessions":
        return await _sessions(call, parts[1:])
    if (call.method, parts) == ("GET", ("instances", "usage")):
        return Reply(await _usage(call))
    raise NOT_FOUND(f"{call.method} {call.path[:100]} is not served here.")


async def _token(call: Call) -> Reply:
    form = dict(parse_qsl((await call.body(1 << 16)).decode("latin-1")))
    call.authenticate(form.get("apikey", ""))
    return Reply(tokens.issue(call.desk.context))


def _authenticate(call: Call) -> None:
    context, presented = call.desk.context, call.bearer()
    if claim.matches(presented, context.id, context.keys) or tokens.opens(context, presented):
        return
    raise UNAUTHENTICATED("The request has no valid token.", hint="skerry connect")


async def _backends(call: Call, parts: tuple[str, ...]) -> Reply:
    desk = call.desk
    if call.method != "GET":
        raise NOT_FOUND("Backends are only read.")
    if not parts:
        waiting = desk.runner.waiting
        return Reply({"devices": [_listed(call, each, waiting) for each in backends.backends()]})
    device = backends.find(parts[0])
    _, calibration, _ = desk.device(device.id)
    asked = call.query.get("calibration_id")
    if asked is not None and (calibration is None or asked != calibration.taken_at):
        known = "none" if calibration is None else calibration.taken_at
        raise NOT_FOUND(f"{parts[0]} has no calibration {asked[:60]}.", why=f"Known: {known}.")
    if parts[1:] == ("configuration",):
        return Reply(backends.configuration(device, calibration))
    if parts[1:] == ("properties",):
        found = {} if calibration is None else backends.properties(device, calibration)
        return Reply(found)
    if parts[1:] == ("status",):
        return Reply(backends.status(device, desk.runner.waiting))
    raise NOT_FOUND(f"A backend has no {'/'.join(parts[1:])[:40]}.")


def _listed(call: Call, device: Any, waiting: int) -> dict[str, Any]:
    return {
        "name": backends.name_of(device),
        "status": {"name": "online", "reason": "available"},
        "qubits": device.qubits,
        "physical_qubits": device.qubits,
        "queue_length": waiting,
        "processor_type": {"family": "twin", "revision": device.revision},
    }


async def _jobs(call: Call) -> Reply:
    if call.method == "POST":
        asked = msgspec.json.decode(await call.body(), type=jobs.Asked)
        client = call.headers.get("x-qx-client-application", "")
        job = await jobs.submit(call.desk, asked, client)
        return Reply({"id": job.id, "backend": asked.backend}, 200)
    if call.method != "GET":
        raise NOT_FOUND("Jobs are listed or made.")
    query = call.query
    tags = parse_qs(call.raw_query).get("tags", [])
    found = jobs.wanted(await _all(call), query, tags)
    if query.get("sort") == "ASC":
        found.reverse()
    limit = min(_number(query.get("limit"), 10), PAGE_MAX)
    start = _number(query.get("offset"), 0)
    params = query.get("exclude_params") != "true"
    page = [jobs.shown(job, params=params) for job in found[start : start + limit]]
    return Reply({"jobs": page, "count": len(found), "limit": limit, "offset": start})


async def _all(call: Call) -> list[Job]:
    found: list[Job] = []
    before = ""
    while len(found) < SCANNED_MAX:
        page = await call.desk.jobs((), 1000, before)
        found += page
        if len(page) < 1000:
            break
        before = page[-1].id
    return found


def _number(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.isdigit() else default


async def _job(call: Call, parts: tuple[str, ...]) -> Reply:
    job = await call.desk.job(parts[0])
    native = job.request.native
    if native.get("program") not in jobs.PROGRAMS or native.get("deleted"):
        raise NOT_FOUND(f"Job {job.id} did not come through this API, or was deleted.")
    match (call.method, parts[1:]):
        case ("GET", ()):
            return Reply(jobs.shown(job, params=call.query.get("exclude_params") != "true"))
        case ("GET", ("results",)):
            return await _results(call, job)
        case ("GET", ("metrics",)):
            return Reply(jobs.metrics(job))
        case ("GET", ("logs",)):
            steps = await call.desk.events(job.id)
            lines = [f"{answers.moment(e.at)} {e.state} {e.note}".rstrip() for e in steps]
            return Reply("\n".join(lines).encode(), kind="text/plain")
        case ("POST", ("cancel",)):
            if job.over:
                raise CONFLICT(f"Job {job.id} is {job.state}; it cannot be cancelled.")
            await call.desk.cancel(job.id)
            return Reply(status=204)
        case ("PUT", ("tags",)):
            return await _tag(call, job)
        case ("DELETE", ()):
            return await _delete(call, job)
    raise NOT_FOUND(f"{call.method} {call.path[:100]} is not served here.")


async def _results(call: Call, job: Job) -> Reply:
    if job.error is not None:
        return Reply(str(job.error.get("what", "")).encode(), kind="text/plain")
    native = job.request.native
    if job.state is not JobState.COMPLETED or native.get("told"):
        return Reply(status=204)
    if native["private"]:  # the results of a private job are told once
        await _note(call, job, told=True)
    results = await call.desk.results(job.id)
    if (mitigation := native.get("mitigation")) is not None:
        items = await asyncio.to_thread(answers.items, job, results)
        done = await call.desk.mitigated(items, mitigation["tasks"])
        return Reply(answers.mitigated(job, done))
    write = {
        "sampler": answers.sampled,
        "estimator": answers.estimated,
        "executor": answers.executed,
    }[native["program"]]
    return Reply(await asyncio.to_thread(write, job, results))


async def _tag(call: Call, job: Job) -> Reply:
    tags = (await call.json()).get("tags")
    if not isinstance(tags, list) or len(tags) > jobs.TAGS_MAX:
        raise CONFLICT("Tags are a short list of texts.")
    await _note(call, job, tags=[str(each)[:86] for each in tags])
    return Reply(status=204)


async def _delete(call: Call, job: Job) -> Reply:
    """Take a job out of this API; what it cost, and its record, stay with the node's owner."""
    if not job.over:
        await call.desk.cancel(job.id)
        job = await call.desk.job(job.id)
    await _note(call, job, deleted=True)
    return Reply(status=204)


async def _note(call: Call, job: Job, **noted: Any) -> None:
    """Keep something about a job, durably."""
    request = msgspec.structs.replace(job.request, native={**job.request.native, **noted})
    await call.desk.stored(Store.change, job.id, None, "", request=request)


class _Opened(msgspec.Struct, frozen=True):
    """The body of a new session."""

    backend: str
    mode: Literal["dedicated", "batch"] = "dedicated"
    max_ttl: int = 28_800
    instance: str = ""


async def _sessions(call: Call, parts: tuple[str, ...]) -> Reply:
    desk = call.desk
    if (call.method, parts) == ("POST", ()):
        asked = msgspec.json.decode(await call.body(1 << 16), type=_Opened)
        device = backends.find(asked.backend)
        made = await desk.open_session(device.id, mode=asked.mode, seconds_max=asked.max_ttl)
        return Reply(jobs.session(made, [], desk.context.clock.now()))
    if not parts:
        raise NOT_FOUND("Sessions are made one by one.")
    if call.method == "PATCH" and parts[1:] == ():
        if (await call.json()).get("accepting_jobs") is False:
            await desk.close_session(parts[0])
        return Reply(status=204)
    if (call.method, parts[1:]) == ("DELETE", ("close",)):
        await desk.close_session(parts[0], cancel=True)
        return Reply(status=204)
    if (call.method, parts[1:]) == ("GET", ()):
        found = await desk.session(parts[0])
        mine = [job for job in await _all(call) if job.request.session == found.id]
        return Reply(jobs.session(found, mine, desk.context.clock.now()))
    raise NOT_FOUND(f"{call.method} {call.path[:100]} is not served here.")


async def _usage(call: Call) -> dict[str, Any]:
    # Clients ask before each job, so that only what is at hand is added up.
    newest = await call.desk.jobs((), USAGE_JOBS)
    spent = sum(jobs.seconds(job) for job in newest)
    return {
        "instance_id": call.headers.get("service-crn", ""),
        "plan_id": "own-node",
        "usage_consumed_seconds": spent,
        "usage_limit_reached": False,
    }


def refuse(call: Call, error: SkerryError) -> Reply:
    """Tell a failure as IBM does."""
    text = f"{error.what} {error.why}".strip()
    status = 400 if error.problem is UNSUPPORTED else error.problem.http
    found = {"code": status, "message": text, "solution": error.hint}
    body = {"errors": [found], "error": found, "status_code": status, "trace": ""}
    return Reply(body, status)


WIRE = Vendor("ibm", answer, refuse)
