"""IonQ's API v0.4, below `…/ionq`, and at `/v0.4` for clients that accept no path in a URL.

POST, GET /v0.4/jobs   GET, DELETE …/{id}   PUT …/{id}/status/cancel   GET …/{id}/results/…
GET  …/{id}/artifacts/{artifact}   GET /v0.4/jobs/estimate
GET  /v0.4/backends[/{name}[/characterizations]]   /v0.4/calibrations[/current]
POST /v0.4/sessions   GET …/{id}   POST …/{id}/end
"""

from __future__ import annotations

from typing import Any

import msgspec

from skerry.kernel.errors import CONFLICT, INVALID, NOT_FOUND, UNSUPPORTED, SkerryError
from skerry.kinds.quantum import pricing
from skerry.kinds.quantum.contract import Job
from skerry.kinds.quantum.wires.frame import Call, Reply, Vendor
from skerry.kinds.quantum.wires.ionq import devices, jobs, sessions
from skerry.kinds.quantum.wires.ionq.sessions import PAGE_MAX

VERSION = "v0.4"
_READERS = {
    "probabilities": jobs.probabilities,
    "histogram": jobs.histogram,
    "shots": jobs.shots,
}


async def answer(call: Call) -> Reply:
    """Answer one request."""
    call.authenticate(call.bearer())
    if call.parts[:1] != (VERSION,):
        raise NOT_FOUND(f"{call.path[:60]} is not served here; the version is {VERSION}.")
    parts = call.parts[1:]
    match parts[:1]:
        case ("jobs",):
            return await _jobs(call, parts[1:])
        case ("backends",):
            return _backends(call, parts[1:])
        case ("calibrations",):
            return _calibrations(parts[1:])
        case ("sessions",):
            return await sessions.answer(call, parts[1:])
    raise NOT_FOUND(f"{call.method} {call.path[:60]} is not served here.")


async def _jobs(call: Call, parts: tuple[str, ...]) -> Reply:
    match (call.method, parts):
        case ("POST", ()):
            asked = msgspec.json.decode(await call.body(), type=jobs.Asked)
            job = await jobs.submit(call.desk, asked)
            return Reply(
                {"id": job.id, "status": "ready", "session_id": job.request.session or None}
            )
        case ("GET", ()):
            return await _list(call)
        case ("GET", ("estimate",)):
            return Reply(_estimate(call))
    return await _job(call, parts)


async def _job(call: Call, parts: tuple[str, ...]) -> Reply:
    number, _, child = parts[0].partition(".")
    job = await call.desk.job(number)
    if "ionq" not in job.request.native or (child and not _is_child(job, child)):
        raise NOT_FOUND(f"There is no job {parts[0][:60]}.")
    index = int(child) if child else None
    match (call.method, parts[1:]):
        case ("GET", ()):
            return Reply(jobs.shown(job, index))
        case ("PUT", ("status", "cancel")):
            found = await call.desk.cancel(job.id)
            return Reply(jobs.shown(found))
        case ("GET", ("results", name)) if name in _READERS:
            result = await call.desk.result(job.id, index or 0)
            return Reply(_READERS[name](result))
        case ("GET", ("results", "probabilities", "aggregated")):
            results = await call.desk.results(job.id)
            return Reply({f"{job.id}.{r.execution}": jobs.probabilities(r) for r in results})
        case ("GET", ("artifacts", "shots")):
            return Reply(jobs.registers(await call.desk.result(job.id, 0)))
        case ("DELETE", ()):
            raise UNSUPPORTED("Jobs are kept here, with what they cost.")
    raise NOT_FOUND(f"{call.method} {call.path[:60]} is not served here.")


def _is_child(job: Job, text: str) -> bool:
    return text.isdigit() and int(text) < job.executions


async def _list(call: Call) -> Reply:
    limit = min(int(call.query.get("limit", "25") or 25), PAGE_MAX)
    session, status = call.query.get("session_id", ""), call.query.get("status", "")
    found = [
        jobs.shown(job)
        for job in await call.desk.jobs((), PAGE_MAX, call.query.get("next", ""))
        if "ionq" in job.request.native and session in ("", job.request.session)
    ]
    if status:
        wanted = {"queued": ("submitted", "ready")}.get(status, (status,))
        found = [each for each in found if each["status"] in wanted]
    page: dict[str, Any] = {"jobs": found[:limit]}
    if len(found) > limit:
        page["next"] = found[limit - 1]["id"]
    return Reply(page)


def _estimate(call: Call) -> dict[str, Any]:
    """Return what a job would cost on the machine, at the dated price list."""
    query = call.query
    device = devices.find(query.get("backend", ""))
    try:
        one, two, shots = (int(query.get(name, 0)) for name in ("1q_gates", "2q_gates", "shots"))
        qubits = int(query.get("qubits", 0))
    except ValueError as error:
        raise INVALID("Counts are whole numbers.", why=str(error)) from error
    use = pricing.Use(1, shots, one, two, qubits)
    found = call.desk.cost(device, [use], "USD")
    seconds = None
    gate = device.value("two_qubit_seconds")
    if gate is not None:
        seconds = shots * (one * (device.value("one_qubit_seconds") or 0.0) + two * gate)
    return {
        "input_values": {
            "backend": query.get("backend"),
            "1q_gates": one,
            "2q_gates": two,
            "qubits": qubits,
            "shots": shots,
            "error_mitigation": query.get("error_mitigation") == "true",
            "session": query.get("session") == "true",
        },
        "estimated_at": sessions.moment(call.desk.context.clock.now()),
        "cost_unit": "usd",
        "estimated_cost": None if found.hardware is None else found.hardware / 1_000_000,
        "estimated_execution_time": seconds,
        "current_predicted_queue_time": 0,
        "rate_information": {
            "lines": list(found.lines),
            "prices": found.prices,
            "as_of": found.as_of,
        },
    }


def _backends(call: Call, parts: tuple[str, ...]) -> Reply:
    at = sessions.moment(call.desk.context.clock.now())
    waiting = call.desk.runner.waiting
    if not parts:
        return Reply([devices.listed(n, d, waiting, at) for n, d in devices.backends()])
    device = devices.find(parts[0])
    if parts[1:] == ():
        return Reply(devices.listed(parts[0], device, waiting, at))
    if parts[1:] == ("characterizations",):
        is_machine = device.id != devices.SIMULATOR_DEVICE
        found = [devices.characterization(parts[0], device)] if is_machine else []
        return Reply({"characterizations": found, "pages": 1})
    raise NOT_FOUND(f"{call.path[:60]} is not served here.")


def _calibrations(parts: tuple[str, ...]) -> Reply:
    found = devices.characterization("qpu", devices.find("qpu"))
    return Reply(found if parts == ("current",) else {"calibrations": [found]})


def refuse(call: Call, error: SkerryError) -> Reply:
    """Tell a failure as IonQ does; what waits for nothing is not told as what may be retried."""
    status = 400 if error.problem in (UNSUPPORTED, CONFLICT) else error.problem.http
    text = f"{error.what} {error.why}".strip()
    return Reply({"statusCode": status, "error": error.code, "message": text}, status)


WIRE = Vendor("ionq", answer, refuse)
