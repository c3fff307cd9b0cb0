"""Which call a request is.

    GET  …/v1/workspaces, …/v1/resources/{id}          POST …/v1/submit/{workspace}/{resource}
    GET  …/v1/result/{job}
    direct access, below …/aqt/direct: GET /status/ions, /system/name
    PUT  /circuit                                      GET  /circuit/result/{job}, which waits

The portal's client of version 1 begins its paths at the root, that of version 2 below a base URL.
Source: qiskit-aqt-provider 2.0 and 1.15, aqt-connector 0.5.
"""

from __future__ import annotations

from skerry.kernel.errors import NOT_FOUND, SkerryError
from skerry.kinds.quantum.wires.aqt import jobs
from skerry.kinds.quantum.wires.frame import Call, Reply, Vendor

_STATUS = {"INVALID": 422, "UNSUPPORTED": 422, "TOO_LARGE": 422, "UNAUTHENTICATED": 401}


async def answer(call: Call) -> Reply:
    """Answer one request of the client."""
    call.authenticate(call.bearer())
    parts = call.parts[1:] if call.parts[0] == "api" else call.parts
    match (call.method, *parts):
        case ("GET", "v1", "workspaces"):
            return Reply(jobs.workspaces(call))
        case ("GET", "v1", "resources", name):
            return Reply(jobs.resource(name))
        case ("POST", "v1", "submit", workspace, name):
            return await jobs.submit(call, workspace, name)
        case ("GET", "v1", "result", job):
            return await jobs.result(call, job)
        case ("GET", "direct", "status", "ions"):
            return Reply({"num_ions": jobs.machine().qubits})
        case ("GET", "direct", "system", "name"):
            return Reply(f"{jobs.machine().id}-twin")
        case ("PUT", "direct", "circuit"):
            return await jobs.submit_direct(call)
        case ("GET", "direct", "circuit", "result", job):
            return await jobs.result_direct(call, job)
    raise NOT_FOUND(f"{call.method[:10]} {call.path[:200]} is no operation of AQT's here.")


def refuse(_: Call, error: SkerryError) -> Reply:
    """Return a failure in AQT's shape."""
    text = " ".join(part for part in (error.what, error.why, error.hint) if part)
    return Reply({"detail": text}, _STATUS.get(error.code, error.problem.http))


WIRE = Vendor("aqt", answer, refuse)
"""The wire of AQT."""
