"""Which call a request is, below `…/quandela`.

    GET  /api/platforms/{name}/processor    /api/platform/{name}    /api/jobs/availability
    POST /api/job                           POST /api/job/cancel/{id}    /api/job/rerun/{id}
    GET  /api/job/status/{id}               /api/job/result/{id}

Source: perceval-quandela 1.3, the module `providers.quandela.rpc_handler`.
"""

from __future__ import annotations

from skerry.kernel.errors import NOT_FOUND, SkerryError
from skerry.kinds.quantum.wires.frame import Call, Reply, Vendor
from skerry.kinds.quantum.wires.quandela import jobs, platforms

_STATUS = {"INVALID": 400, "UNSUPPORTED": 400}


async def answer(call: Call) -> Reply:
    """Answer one request of the client."""
    call.authenticate(call.bearer())
    match (call.method, *call.parts):
        case ("GET", "api", "platforms", name, "processor") | ("GET", "api", "platform", name):
            return Reply(await platforms.shown(call.desk, name))
        case ("GET", "api", "jobs", "availability"):
            return Reply(await jobs.availability(call))
        case ("POST", "api", "job"):
            return await jobs.create(call)
        case ("POST", "api", "job", "cancel", job):
            return await jobs.cancel(call, job)
        case ("POST", "api", "job", "rerun", job):
            return await jobs.rerun(call, job)
        case ("GET", "api", "job", "status", job):
            return Reply(await jobs.status(call, job))
        case ("GET", "api", "job", "result", job):
            return Reply(await jobs.result(call, job))
    raise NOT_FOUND(f"{call.method[:10]} {call.path[:200]} is no operation of Quandela's here.")


def refuse(_: Call, error: SkerryError) -> Reply:
    """Return a failure in the shape that Quandela's client prints."""
    text = " ".join(part for part in (error.what, error.why, error.hint) if part)
    return Reply({"error": text}, _STATUS.get(error.code, error.problem.http))


WIRE = Vendor("quandela", answer, refuse)
"""The wire of Quandela."""
