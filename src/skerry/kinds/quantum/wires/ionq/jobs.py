"""Jobs as IonQ's API shows them.

A job of several circuits has a child for each: `<job>.<number>`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from skerry.kernel.errors import INVALID, UNSUPPORTED
from skerry.kinds.quantum.contract import Job, JobRequest, JobState, Options, Program, Result
from skerry.kinds.quantum.desk import Desk
from skerry.kinds.quantum.wires.ionq import circuits, devices
from skerry.kinds.quantum.wires.ionq.sessions import moment, within

SHOTS = 100
SIMULATOR_SHOTS = 16_384
"""The simulator's probabilities are frequencies of at least so many shots."""

TYPES = frozenset({"ionq.circuit.v1", "ionq.multi-circuit.v1", "ionq.qasm3.v1"})
SHOTS_V2 = "ionq.result.shots.json.v2"
METADATA_BYTES_MAX = 1 << 20
MEMORY_MAX = 1_000_000
_STATES = {
    JobState.QUEUED: "ready",
    JobState.RUNNING: "started",
    JobState.CANCELLING: "started",
    JobState.COMPLETED: "completed",
    JobState.PARTIAL: "failed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "canceled",
}


class Input(msgspec.Struct, frozen=True):
    """What is to run."""

    qubits: int = 0
    gateset: str = "qis"
    circuit: list[Any] = []
    circuits: list[dict[str, Any]] = []
    data: str = ""


class Asked(msgspec.Struct, frozen=True):
    """The body of a new job."""

    input: Input
    type: str = "ionq.circuit.v1"
    backend: str = "simulator"
    shots: int | str | None = None
    name: str = ""
    metadata: dict[str, str] = {}
    noise: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    session_id: str = ""
    dry_run: bool = False


async def submit(desk: Desk, asked: Asked) -> Job:
    """Queue a job; raise what is wrong with it."""
    if asked.type not in TYPES:
        raise INVALID(f"Jobs of the type {asked.type[:40]} are not run here.")
    if len(msgspec.json.encode(asked.metadata)) > METADATA_BYTES_MAX:
        raise INVALID(f"Metadata has at most {METADATA_BYTES_MAX >> 20} MiB.")
    if (asked.settings.get("error_mitigation") or {}).get("debiasing"):
        raise UNSUPPORTED("Debiasing is not done here.", why="Switch error mitigation off.")
    if asked.dry_run:
        raise UNSUPPORTED("A dry run is not done here.", why="GET /jobs/estimate tells the cost.")
    noise = str(asked.noise.get("model") or "ideal")
    device = devices.find(asked.backend, noise)
    shots = _shots(asked.shots)
    is_ideal = device.id == devices.SIMULATOR_DEVICE
    request = JobRequest(
        device=device.id,
        programs=_programs(asked),
        shots=max(shots, SIMULATOR_SHOTS) if is_ideal else shots,
        level="verbatim" if asked.input.gateset == "native" and not is_ideal else "logical",
        options=Options(memory=True, seed=_seed(asked.noise.get("seed"))),
        name=asked.name[:256],
        session=asked.session_id,
        one_task=True,
        native={
            "ionq": asked.type,
            "backend": asked.backend,
            "noise": noise,
            "shots": shots,
            "metadata": asked.metadata,
            "qubits": asked.input.qubits,
        },
    )
    if request.all_shots > MEMORY_MAX:
        request = msgspec.structs.replace(
            request, options=msgspec.structs.replace(request.options, memory=False)
        )
    return await desk.submit(await within(desk, request))


def _programs(asked: Asked) -> tuple[Program, ...]:
    found = asked.input
    if asked.type == "ionq.qasm3.v1":
        return (Program(found.data),)
    several = asked.type == "ionq.multi-circuit.v1"
    lists = [each.get("circuit") for each in found.circuits] if several else [found.circuit]
    if not lists:
        raise INVALID("The job has no circuit.")
    made = (circuits.circuit(each, found.qubits, found.gateset) for each in lists)
    return tuple(Program(msgspec.json.encode(each).decode(), format="circuit") for each in made)


def _shots(found: int | str | None) -> int:
    if found is None or found == "None":
        return SHOTS
    text = str(found)[:20]
    if not text.isdigit() or int(text) < 1:
        raise INVALID(f"{text!r} is no number of shots.")
    return int(text)


def _seed(found: Any) -> int | None:
    return int(found) if isinstance(found, int) else None


def shown(job: Job, child: int | None = None) -> dict[str, Any]:
    """Return a job, or one of its children."""
    native = job.request.native
    number = job.id if child is None else f"{job.id}.{child}"
    found: dict[str, Any] = {
        "id": number,
        "status": _STATES[job.state],
        "type": native["ionq"] if child is None else "ionq.circuit.v1",
        "backend": native["backend"],
        "name": job.request.name,
        "shots": native["shots"],
        "metadata": native["metadata"],
        "noise": {"model": native["noise"]},
        "submitted_at": moment(job.created),
        "session_id": job.request.session or None,
        "dry_run": False,
        "stats": {"qubits": native["qubits"], "circuits": job.executions if child is None else 1},
        "nature": job.nature,
    }
    if job.started:
        found["started_at"] = moment(job.started)
    if job.ended:
        found["completed_at"] = moment(job.ended)
        found["execution_duration_ms"] = job.usage.get("engine_ms", 0)
    if job.error is not None:
        found["failure"] = {"code": job.error["code"], "error": job.error["what"]}
    if child is None and job.executions > 1:
        found["child_job_ids"] = [f"{job.id}.{each}" for each in range(job.executions)]
    if job.state is JobState.COMPLETED:
        found["results"] = _results(job, number, aggregated=child is None and job.executions > 1)
    return found


def _results(job: Job, number: str, *, aggregated: bool) -> dict[str, Any]:
    if job.request.native["ionq"] == "ionq.qasm3.v1":
        return {SHOTS_V2: {"id": "shots"}}
    base = f"/v0.4/jobs/{number}/results"
    probabilities = f"{base}/probabilities{'/aggregated' if aggregated else ''}"
    found = {"probabilities": {"url": probabilities}}
    if not aggregated:
        found |= {"histogram": {"url": f"{base}/histogram"}, "shots": {"url": f"{base}/shots"}}
    return found


def outcome(bits: str) -> str:
    """Return the number of an outcome; qubit 0 is its lowest bit."""
    return str(int(bits[::-1] or "0", 2))


def probabilities(result: Result) -> dict[str, float]:
    """Return the frequency of every outcome."""
    return {outcome(bits): count / result.shots for bits, count in result.counts.items()}


def histogram(result: Result) -> dict[str, int]:
    """Return how often every outcome came."""
    return {outcome(bits): count for bits, count in result.counts.items()}


def shots(result: Result) -> list[str]:
    """Return the outcome of every shot, in its order where that was kept."""
    if result.memory:
        return [outcome(bits) for bits in result.memory]
    return [outcome(bits) for bits, count in result.counts.items() for _ in range(count)]


def registers(result: Result) -> dict[str, Any]:
    """Return every shot's registers, for programs in OpenQASM 3."""
    texts = result.memory or tuple(
        bits for bits, count in result.counts.items() for _ in range(count)
    )
    return {
        "shots": [
            {
                "registers": {
                    name: [int(bit) for bit in text[start : start + size]]
                    for name, start, size in result.registers
                }
            }
            for text in texts
        ]
    }
