"""Circuits of AQT as jobs: gates of ions in units of pi, and one measurement of all at the end."""

from __future__ import annotations

import math
from typing import Annotated, Any

import msgspec

from skerry.kernel.errors import ENGINE_FAILED, INVALID, NOT_FOUND, TIMED_OUT
from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.catalogue.model import Device
from skerry.kinds.quantum.contract import Job, JobRequest, JobState, Options, Program, Result
from skerry.kinds.quantum.twins import is_runnable
from skerry.kinds.quantum.wires.frame import Call, Reply

WIRE = "aqt"
VENDOR = "Alpine Quantum Technologies"
SIMULATOR = "sim-ideal"
SIMULATED_QUBITS = 20
WAIT_SECONDS = 20.0

_Angle = Annotated[float, msgspec.Meta(ge=0.0, le=2.0)]
_Half = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
_Quarter = Annotated[float, msgspec.Meta(ge=0.0, le=0.5)]
_Qubit = Annotated[int, msgspec.Meta(ge=0, lt=31)]


class Rz(msgspec.Struct, frozen=True, tag_field="operation", tag="RZ"):
    """A rotation about z."""

    qubit: _Qubit
    phi: float


class R(msgspec.Struct, frozen=True, tag_field="operation", tag="R"):
    """A rotation about an axis in the equator."""

    qubit: _Qubit
    phi: _Angle
    theta: _Half


class Rxx(msgspec.Struct, frozen=True, tag_field="operation", tag="RXX"):
    """The gate that entangles two ions."""

    qubits: Annotated[tuple[_Qubit, ...], msgspec.Meta(min_length=2, max_length=2)]
    theta: _Quarter


class Measure(msgspec.Struct, frozen=True, tag_field="operation", tag="MEASURE"):
    """The measurement of all ions."""


class Circuit(msgspec.Struct, frozen=True):
    """A circuit and how often it is repeated."""

    repetitions: Annotated[int, msgspec.Meta(ge=1, le=2000)]
    quantum_circuit: Annotated[
        tuple[Rz | R | Rxx | Measure, ...], msgspec.Meta(min_length=1, max_length=2000)
    ]
    number_of_qubits: Annotated[int, msgspec.Meta(ge=1, le=31)]


class Payload(msgspec.Struct, frozen=True):
    """The circuits of a job."""

    circuits: Annotated[tuple[Circuit, ...], msgspec.Meta(min_length=1, max_length=50)]


class Submitted(msgspec.Struct, frozen=True):
    """The body of a job."""

    payload: Payload
    label: Annotated[str, msgspec.Meta(max_length=200)] | None = None


def machine() -> Device:
    """Return the machine whose twin is served."""
    return next(
        each for each in load.devices().values() if each.vendor == VENDOR and is_runnable(each)
    )


def workspaces(call: Call) -> list[dict[str, Any]]:
    """Return the one workspace that a resource is."""
    found = [_resource(machine()), _resource(load.find(SIMULATOR))]
    kept = ("id", "name", "type")
    return [
        {
            "id": call.desk.context.ref.name,
            "accepting_job_submissions": True,
            "jobs_being_processed": True,
            "resources": [{key: each[key] for key in kept} for each in found],
        }
    ]


def _resource(device: Device) -> dict[str, Any]:
    is_local = device.status == "local"
    return {
        "id": device.id,
        "name": device.name if is_local else f"{device.name} (twin, not the hardware)",
        "type": "simulator" if is_local else "device",
        "status": "online",
        "available_qubits": SIMULATED_QUBITS if is_local else device.qubits,
        "status_updated_at": f"{device.as_of}T00:00:00Z",
    }


def resource(name: str) -> dict[str, Any]:
    """Return one machine; raise NOT_FOUND."""
    return _resource(_find(name))


def _find(name: str) -> Device:
    known = {each.id: each for each in (machine(), load.find(SIMULATOR))}
    if name not in known:
        raise NOT_FOUND(f"There is no resource {name[:60]}.", why=f"There are {', '.join(known)}.")
    return known[name]


def program(circuit: Circuit) -> Program:
    """Return a circuit as a program that runs as it is; raise INVALID."""
    ops: list[Any] = []
    *gates, last = circuit.quantum_circuit
    if not isinstance(last, Measure):
        raise INVALID("A circuit ends with one MEASURE.")
    for gate in gates:
        match gate:
            case Rz(qubit=qubit, phi=phi):
                ops.append(["rz", [qubit], [phi * math.pi]])
            case R(qubit=qubit, phi=phi, theta=theta):
                ops.append(["r", [qubit], [theta * math.pi, phi * math.pi]])
            case Rxx(qubits=qubits, theta=theta):
                ops.append(["rxx", list(qubits), [theta * math.pi]])
            case _:
                raise INVALID("A circuit has one MEASURE, at its end.")
    count = circuit.number_of_qubits
    ops += [["measure", [each], [each]] for each in range(count)]
    shape = {
        "qubits": count,
        "bits": count,
        "registers": [["meas", 0, count]],
        "ops": ops,
        "verbatim": True,
    }
    text = msgspec.json.encode(shape).decode()
    return Program(text, "circuit", dialect="aqt", shots=circuit.repetitions)


async def _queue(call: Call, device: Device, circuits: tuple[Circuit, ...], label: str) -> Job:
    request = JobRequest(
        device=device.id,
        programs=tuple(program(each) for each in circuits),
        shots=circuits[0].repetitions,
        options=Options(memory=True),
        name=label,
        native={"wire": WIRE},
    )
    return await call.desk.submit(request)


async def submit(call: Call, workspace: str, name: str) -> Reply:
    """Queue circuits."""
    if workspace != call.desk.context.ref.name:
        raise NOT_FOUND(f"There is no workspace {workspace[:60]}.")
    asked = msgspec.convert(await call.json(), Submitted)
    job = await _queue(call, _find(name), asked.payload.circuits, asked.label or "")
    return Reply({"job": _about(call, job), "response": {"status": "queued"}})


def _about(call: Call, job: Job) -> dict[str, Any]:
    return {
        "job_id": job.id,
        "job_type": "quantum_circuit",
        "label": job.request.name or None,
        "resource_id": job.request.device,
        "workspace_id": call.desk.context.ref.name,
    }


async def _job(call: Call, job_id: str) -> Job:
    job = await call.desk.job(job_id)
    if job.request.native.get("wire") != WIRE:
        raise NOT_FOUND(f"The job {job_id[:60]} is none of AQT's.")
    return job


async def result(call: Call, job_id: str) -> Reply:
    """Return a job's state with its results, if it has any."""
    job = await _job(call, job_id)
    about = _about(call, job)
    if job.state is JobState.COMPLETED:
        results = await call.desk.results(job.id)
        told = {str(each.execution): _shots(each) for each in results}
        return Reply({"job": about, "response": {"status": "finished", "result": told}})
    return Reply({"job": about, "response": _state(job)})


def _state(job: Job) -> dict[str, Any]:
    if job.state in (JobState.FAILED, JobState.PARTIAL):
        return {"status": "error", "message": str((job.error or {}).get("what") or "It failed.")}
    if job.state is JobState.CANCELLED:
        return {"status": "cancelled"}
    if job.state in (JobState.RUNNING, JobState.CANCELLING):
        return {"status": "ongoing", "finished_count": job.done}
    return {"status": "queued"}


def _shots(found: Result) -> list[list[int]]:
    """Return every shot; the first number is ion 0."""
    return [[int(bit) for bit in text] for text in found.memory]


async def submit_direct(call: Call) -> Reply:
    """Queue one circuit, by direct access."""
    asked = msgspec.convert(await call.json(), Circuit)
    job = await _queue(call, machine(), (asked,), "")
    return Reply(job.id)


async def result_direct(call: Call, job_id: str) -> Reply:
    """Return the result of a circuit once it is there."""
    job = await _job(call, job_id)
    clock = call.desk.context.clock
    deadline = clock.monotonic() + call.desk.config.job_seconds_max
    while not job.over:
        if clock.monotonic() > deadline:
            raise TIMED_OUT("The circuit has not been run yet.")
        job = await call.desk.wait(job.id, WAIT_SECONDS)
    if job.state is not JobState.COMPLETED:
        return Reply({"job_id": job.id, "payload": {"status": "error"}})
    results = await call.desk.results(job.id)
    if len(results) != 1:
        raise ENGINE_FAILED("Jobs of several circuits are read from the portal.")
    told = {"status": "finished", "result": _shots(results[0])}
    return Reply({"job_id": job.id, "payload": told})
