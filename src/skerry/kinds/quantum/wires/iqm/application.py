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


async def answer(call: Call) -> Reply:
    """Answer one request of the client."""
    call.authenticate(call.bearer())
    if call.parts[:2] != ("api", "v1"):
        raise _nothing(call)
    match call.parts[2:]:
        case ("jobs", *rest):
            return await _jobs(call, tuple(rest))
        case rest if call.method == "GET":
            return _machines(call, rest)
    raise _nothing(call)


def _machines(call: Call, parts: tuple[str, ...]) -> Reply:
    match parts:
        case ("about",):
            return Reply({"name": jobs.SOURCE, "iqm-server": {"version": "v1"}})
        case ("quantum-computers",):
            return Reply({"quantum_computers": machines.listed()})
        case ("quantum-computers", name, "health"):
            return Reply({"name": machines.find(name).name, "healthy": True})
        case ("quantum-computers", name, "artifacts", which):
            return Reply(machines.artifact(call.desk, name, which))
        case ("calibration-sets", name, chosen, *rest):
            return Reply(machines.calibrated(call.desk, name, chosen, "/".join(rest)))
    raise _nothing(call)


async def _jobs(call: Call, parts: tuple[str, ...]) -> Reply:
    match (call.method, *parts):
        case ("POST", name, "circuit"):
            return await jobs.create(call, name)
        case ("POST", _, "run"):
            raise UNSUPPORTED("A twin has no pulses: circuits alone can be run.")
        case ("POST", job, "cancel"):
            await call.desk.cancel((await jobs.find(call, job)).id)
            return Reply(status=204)
        case ("DELETE", _):
            raise UNSUPPORTED("Jobs are kept, so that what they cost can be told later.")
        case ("GET", job, *rest):
            return await jobs.show(call, job, "/".join(rest))
    raise _nothing(call)


def _nothing(call: Call) -> SkerryError:
    return NOT_FOUND(f"{call.method[:10]} {call.path[:200]} is no operation of IQM's here.")


def refuse(_: Call, error: SkerryError) -> Reply:
    """Return a failure in IQM Server's shape."""
    text = " ".join(part for part in (error.what, error.why, error.hint) if part)
    body = {"message": text, "error_code": error.code.lower(), "source": jobs.SOURCE}
    return Reply(body, error.problem.http)


WIRE = Vendor("iqm", answer, refuse)
"""The wire of IQM."""
