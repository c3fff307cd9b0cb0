"""Which call a request is. The client takes no path in its URL, so that paths begin at the root.

    GET  /api/v1/quantum-computers                  …/{name}/health, …/{name}/artifacts/…
    GET  /api/v1/calibration-sets/{name}/{set}      …/dynamic-quantum-architecture, …/metrics
    POST /api/v1/jobs/{name}/circuit                POST …/jobs/{id}/cancel
    GET  /api/v1/jobs/{id}                          …/payload, …/artifacts/{which}

Source: iqm-client 36, the modules `iqm_server_client` and `station_control.interface`.
"""

from __future__ import annotations

from skerry.kernel.errors import NOT_FOUND, UNSUPPORTED, SkerryError
from skerry.kinds.quantum.wires.frame import Call, Reply, Vendor
from skerry.kinds.quantum.wires.iqm import jobs, machines

SOURCE = "skerry"


async def answer(call: Call) -> Reply:
    """Answer one request of the client."""
    call.authenticate(call.bearer())
    if call.parts[:2] != ("api", "v1"):
        raise _nothing(call)
    match (call.method, *call.parts[2:]):
        case ("GET", "about"):
            return Reply({"name": SOURCE, "iqm-server": {"version": "v1"}})
        case ("GET", "quantum-computers"):
            return Reply({"quantum_computers": machines.listed()})
        case ("GET", "quantum-computers", name, "health"):
            return Reply({"name": machines.find(name).name, "healthy": True})
        case ("GET", "quantum-computers", name, "artifacts", which):
            return Reply(machines.artifact(call.desk, name, which))
        case ("GET", "calibration-sets", name, chosen, *rest):
            return Reply(machines.calibrated(call.desk, name, chosen, "/".join(rest)))
        case ("POST", "jobs", name, "circuit"):
            return await jobs.create(call, name)
        case ("POST", "jobs", _, "run"):
            raise UNSUPPORTED("A twin has no pulses: circuits alone can be run.")
        case ("POST", "jobs", job, "cancel"):
            await call.desk.cancel((await jobs.find(call, job)).id)
            return Reply(status=204)
        case ("DELETE", "jobs", _):
            raise UNSUPPORTED("Jobs are kept, so that what they cost can be told later.")
        case ("GET", "jobs", job, *rest):
            return await jobs.show(call, job, "/".join(rest))
    raise _nothing(call)


def _nothing(call: Call) -> SkerryError:
    return NOT_FOUND(f"{call.method[:10]} {call.path[:200]} is no operation of IQM's here.")


def refuse(_: Call, error: SkerryError) -> Reply:
    """Return a failure in IQM Server's shape."""
    text = " ".join(part for part in (error.what, error.why, error.hint) if part)
    body = {"message": text, "error_code": error.code.lower(), "source": SOURCE}
    return Reply(body, error.problem.http)


WIRE = Vendor("iqm", answer, refuse)
"""The wire of IQM."""
