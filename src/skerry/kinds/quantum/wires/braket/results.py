"""The files that a task's results are, in Braket's schemas, made when they are asked for.

In `measurements` a row is a shot and a column a measured qubit, in the order of the program's bits;
in texts of bits the first character is the first of them (Braket calls that big-endian).
"""

from __future__ import annotations

from typing import Any

import msgspec

from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.contract import Job, Result
from skerry.kinds.quantum.wires.braket import names, observables, programs
from skerry.kinds.quantum.wires.braket.tasks import Native, state

MEASUREMENTS_MAX = 8_000_000
"""How many bits are listed shot by shot; of more, the probabilities are told."""

_ATOMS = {"g": (1, 1), "r": (1, 0), "e": (0, 0)}
"""Whether a site held an atom before, and after: one in the Rydberg state is not seen then."""


def header(name: str, version: str = "1") -> dict[str, str]:
    """Return the header of a schema."""
    return {"name": f"braket.{name}", "version": version}


def results_json(job: Job, native: Native, results: list[Result], arn: str) -> dict[str, Any]:
    """Return the content of `results.json`."""
    if native.kind == programs.PROGRAM_SET:
        return _set(job, native, results, arn)
    result = results[0]
    found: dict[str, Any] = {
        "taskMetadata": _task(job, native, arn),
        "additionalMetadata": {"action": msgspec.json.decode(native.action)},
    }
    if native.kind == programs.AHS:
        found["braketSchemaHeader"] = header(
            "task_result.analog_hamiltonian_simulation_task_result"
        )
        found["measurements"] = [_shot(text) for text in _every(result)]
        return found
    found["braketSchemaHeader"] = header("task_result.gate_model_task_result")
    found["additionalMetadata"] |= _vendor(job, result)
    view = native.views[0]
    outcome = _outcome(result, view)
    asked = [_asked(each, result, view) for each in view.results]
    if view.exact:
        asked = result.extra.get("values", [])
    return found | outcome | ({"resultTypes": asked} if asked else {})


def _task(job: Job, native: Native, arn: str) -> dict[str, Any]:
    found = {
        "braketSchemaHeader": header("task_result.task_metadata"),
        "id": arn,
        "shots": native.shots,
        "deviceId": native.device_arn,
        "createdAt": names.moment(job.created),
        "endedAt": names.moment(job.ended),
        "status": state(job),
    }
    if native.device_parameters:
        found["deviceParameters"] = msgspec.json.decode(native.device_parameters)
    return found


def _vendor(job: Job, result: Result) -> dict[str, Any]:
    """Return what Braket tells for a vendor's machine: here the program that the twin ran."""
    device = load.find(job.request.device)
    if device.status == "local":
        spent = round(result.provenance.seconds * 1000)
        shape = header("task_result.simulator_metadata")
        return {"simulatorMetadata": {"braketSchemaHeader": shape, "executionDuration": spent}}
    if device.vendor == "IQM":
        shape = header("task_result.iqm_metadata")
        compiled = result.provenance.compiled
        return {"iqmMetadata": {"braketSchemaHeader": shape, "compiledProgram": compiled}}
    return {}


def _columns(result: Result) -> list[int]:
    """Return the bits that were written; a bit that never was is no measurement."""
    return [bit for bit, qubit in enumerate(result.measured) if qubit >= 0]


def _every(result: Result) -> list[str]:
    """Return the outcome of every shot."""
    if result.memory:
        return list(result.memory)
    return [text for text, count in result.counts.items() for _ in range(count)]


def _outcome(result: Result, view: programs.View) -> dict[str, Any]:
    if result.shots == 0:
        return {}
    columns = _columns(result)
    qubits = [result.measured[bit] for bit in columns]
    if view.qubits is not None:
        qubits = [view.qubits[each] for each in qubits]
    if result.shots * len(columns) <= MEASUREMENTS_MAX:
        rows = [[int(text[bit]) for bit in columns] for text in _every(result)]
        return {"measurements": rows, "measuredQubits": qubits}
    found: dict[str, float] = {}
    for text, count in result.counts.items():
        key = "".join(text[bit] for bit in columns)
        found[key] = found.get(key, 0.0) + count / result.shots
    return {"measurementProbabilities": found, "measuredQubits": qubits}


def _asked(asked: observables.ResultType, result: Result, view: programs.View) -> dict[str, Any]:
    """Return a result type as it was asked for, with its value; bits and places are the same."""
    count = len(result.measured)
    texts: list[str]
    if asked.type == "sample":
        texts = _every(result)
        value = observables.value(asked, texts, [1] * len(texts), count)
    else:
        texts = list(result.counts)
        value = observables.value(asked, texts, list(result.counts.values()), count)
    shape: dict[str, Any] = {"type": asked.type}
    if asked.observable:
        shape["observable"] = list(asked.observable)
    if asked.targets is not None:
        labels = view.qubits or range(count)
        shape["targets"] = [labels[each] for each in asked.targets]
    return {"type": shape, "value": value}


def _shot(text: str) -> dict[str, Any]:
    before, after = zip(*(_ATOMS[letter] for letter in text), strict=True)
    return {
        "shotMetadata": {"shotStatus": "Success"},
        "shotResult": {"preSequence": list(before), "postSequence": list(after)},
    }


def _set(job: Job, native: Native, results: list[Result], arn: str) -> dict[str, Any]:
    """Return the results of a program set; what did not run is told as a failure."""
    told: list[dict[str, Any]] = []
    made: list[dict[str, Any]] = []
    by_number = {each.execution: each for each in results}
    sources = msgspec.json.decode(native.action)["programs"]
    number = 0
    for place, program in enumerate(job.request.programs):
        executables, states = [], []
        for row in range(len(program.bindings)):
            found, outcome = _executable(job, by_number.get(number), row, native.views[place])
            executables.append(found)
            states.append(outcome)
            number += 1
        told.append({"executables": states})
        made.append(
            {
                "braketSchemaHeader": header("task_result.program_result"),
                "executableResults": executables,
                "source": {"braketSchemaHeader": header("ir.openqasm.program"), **sources[place]},
                "additionalMetadata": _first(job, executables, by_number, number),
            }
        )
    metadata = {
        "braketSchemaHeader": header("task_result.program_set_task_metadata"),
        "id": arn,
        "deviceId": native.device_arn,
        "requestedShots": native.shots,
        "successfulShots": len(results) * job.request.shots,
        "programMetadata": told,
        "createdAt": names.moment(job.created),
        "endedAt": names.moment(job.ended),
        "status": state(job),
        "totalFailedExecutables": job.executions - len(results),
    }
    return {
        "braketSchemaHeader": header("task_result.program_set_task_result"),
        "programResults": made,
        "taskMetadata": metadata,
    }


def _first(
    job: Job, executables: list[Any], by_number: dict[int, Result], end: int
) -> dict[str, Any]:
    """Return the vendor's part for a program: that of its first executable that ran."""
    ran = (by_number.get(each) for each in range(end - len(executables), end))
    return next((_vendor(job, each) for each in ran if each is not None), {})


def _executable(
    job: Job, result: Result | None, row: int, view: programs.View
) -> tuple[dict[str, Any], dict[str, Any]]:
    if result is not None:
        shape = header("task_result.program_set_executable_result")
        found = {"braketSchemaHeader": shape, "inputsIndex": row} | _outcome(result, view)
        return found, {}
    reason = str((job.error or {}).get("what") or f"The task is {state(job)}.")
    failure = {"failureReason": reason, "retryable": False, "category": "DEVICE"}
    shape = header("task_result.program_set_executable_failure")
    return {"braketSchemaHeader": shape, "inputsIndex": row, "failureMetadata": failure}, failure
