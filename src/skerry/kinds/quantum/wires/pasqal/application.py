"""Which call a request is, below `…/pasqal`.

    GET   /api/v1/devices/specs               /api/v1/batches, /api/v2/jobs?batch_id=
    POST  /api/v1/batches                     /api/v2/batches/{id}/jobs
    GET   /api/v2/batches/{id}                /api/v1/batches/{id}/status
    PATCH /api/v2/batches/{id}/complete       …/{id}/cancel
    GET   /api/v2/jobs/{id}                   /api/v1/jobs/{id}/status, …/{id}/results_link
    PATCH /api/v2/jobs/{id}/cancel
    GET   /results/{id}                       a link that `results_link` told

Source: pasqal-cloud 0.24, the module `http_client`.
"""

from __future__ import annotations

from skerry.kernel.errors import NOT_FOUND, SkerryError
from skerry.kinds.quantum.wires.frame import Call, Reply, Vendor
from skerry.kinds.quantum.wires.pasqal import batches, devices, jobs

_STATUS = {"INVALID": 400, "UNSUPPORTED": 400}


async def answer(call: Call) -> Reply:
    """Answer one request of the client."""
    if call.method == "GET" and call.parts[0] == "results" and len(call.parts) == 2:
        return await jobs.download(call, call.parts[1])
    call.authenticate(call.bearer())
    if call.parts[:2] not in (("api", "v1"), ("api", "v2")):
        raise _nothing(call)
    match (call.method, *call.parts[2:]):
        case ("GET", "devices", "specs" | "public-specs" as which):
            return _done(devices.listed(public=which != "specs"))
        case ("POST", "batches"):
            return _done(await batches.create(call))
        case ("GET", "batches"):
            return await batches.listed(call)
        case (_, "batches", batch, *rest):
            return await _batch(call, batch, rest)
        case ("GET", "jobs"):
            return await batches.jobs_of(call)
        case (_, "jobs", job, *rest):
            return await _job(call, job, rest)
    raise _nothing(call)


async def _batch(call: Call, batch: str, rest: list[str]) -> Reply:
    match (call.method, rest):
        case ("GET", []):
            return _done(await batches.shown(call, batch))
        case ("GET", ["status"]):
            return _done(await batches.status(call, batch))
        case ("POST", ["jobs"]):
            return _done(await batches.add(call, batch))
        case ("PATCH", ["complete"]):
            return _done(await batches.close(call, batch, cancel=False))
        case ("PATCH", ["cancel"]):
            return _done(await batches.close(call, batch, cancel=True))
    raise _nothing(call)


async def _job(call: Call, job: str, rest: list[str]) -> Reply:
    found = await jobs.find(call, job)
    match (call.method, rest):
        case ("GET", []):
            return _done(jobs.told(call, found))
        case ("GET", ["status"]):
            return _done({"id": found.id, "status": jobs.state(found)})
        case ("GET", ["results_link"]):
            return _done({"results_link": jobs.link(call, found)})
        case ("PATCH", ["cancel"]):
            return _done(jobs.told(call, await call.desk.cancel(found.id)))
    raise _nothing(call)


def _done(data: object) -> Reply:
    return Reply({"status": "success", "message": "OK", "code": 200, "data": data})


def _nothing(call: Call) -> SkerryError:
    return NOT_FOUND(f"{call.method[:10]} {call.path[:200]} is no operation of Pasqal's here.")


def refuse(_: Call, error: SkerryError) -> Reply:
    """Return a failure in the shape that Pasqal's client reads (JSend)."""
    text = " ".join(part for part in (error.what, error.why, error.hint) if part)
    status = _STATUS.get(error.code, error.problem.http)
    told = {"description": text}
    body = {"status": "fail", "message": error.what, "code": str(status), "data": told}
    return Reply(body, status)


WIRE = Vendor("pasqal", answer, refuse)
"""The wire of Pasqal."""
