"""Outcomes in the formats that a job may ask for.

What a program of QIR records is written as it records it: arrays in brackets, tuples as `Item1`,
`Item2`. Programs without such have an array for every register, and a tuple of several.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import msgspec

from skerry.kernel.errors import INVALID
from skerry.kinds.quantum.contract import Job, Result
from skerry.kinds.quantum.worker.conditions import holds

V1, V2 = "microsoft.quantum-results.v1", "microsoft.quantum-results.v2"
USUAL = {
    "honeywell.openqasm.v1": "honeywell.quantum-results.v1",
    "ionq.circuit.v1": "ionq.quantum-results.v1",
    "pasqal.pulser.v1": "pasqal.pulser-results.v1",
    "qir.v1": V2,
    "rigetti.quil.v1": "rigetti.quil-results.v1",
}
"""The format of outcomes of a job that names none."""

_BITS = str.maketrans("gre", "010")
"""Pulser writes 1 for an atom that is excited; one that is not there reads 0."""


def check(output: str, given: str) -> None:
    """Raise INVALID unless outcomes of a format of programs can be written in another."""
    is_atoms = given == "pasqal.pulser.v1"
    fitting = [each for each in _WRITERS if each.startswith("pasqal") == is_atoms]
    if output not in fitting:
        raise INVALID(
            f"Results of {given[:60]} are not written as {output[:60]!r}.",
            why=f"They are as {', '.join(fitting)}.",
        )


def written(job: Job, found: list[Result]) -> bytes:
    """Return the outcome of a job in the format that it asks for.

    Only Quil has several executions; their shots follow each other, as if they were one.
    """
    return msgspec.json.encode(_WRITERS[job.request.native["outputs"]](job, _joined(found)))


def _joined(found: list[Result]) -> Result:
    if len(found) == 1:
        return found[0]
    counts: dict[str, int] = {}
    for each in found:
        for bits, count in each.counts.items():
            counts[bits] = counts.get(bits, 0) + count
    return msgspec.structs.replace(
        found[0],
        shots=sum(each.shots for each in found),
        counts=counts,
        memory=tuple(bits for each in found for bits in shots_of(each)),
    )


def shots_of(result: Result) -> list[str]:
    """Return the bits of every shot, in their order where that was kept."""
    if result.memory:
        return list(result.memory)
    return [bits for bits, count in result.counts.items() for _ in range(count)]


def value(shape: Any, bits: str) -> Any:
    """Return what a shot gave, in the shape that the program records."""
    if isinstance(shape, int):
        return int(bits[shape]) if shape < len(bits) else 0
    name, children = shape
    if name == "value":
        places = defaultdict(bool, {place: bit == "1" for place, bit in enumerate(bits)})
        return next((number for number, only in children if holds(only, places)), None)
    values = [value(each, bits) for each in children]
    if name == "array":
        return values
    return {f"Item{number}": each for number, each in enumerate(values, 1)}


def display(found: Any) -> str:
    """Return the text of an outcome, which clients read as a literal of Python."""
    if isinstance(found, list):
        return f"[{', '.join(display(each) for each in found)}]"
    if isinstance(found, dict):
        parts = [display(each) for each in found.values()]
        return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
    return msgspec.json.encode(found).decode()


def _shape(job: Job, result: Result) -> Any:
    recorded = job.request.native.get("shape")
    if recorded is not None:
        return recorded
    arrays = [["array", list(range(start, start + size))] for _, start, size in result.registers]
    return arrays[0] if len(arrays) == 1 else ["tuple", arrays]


def _microsoft_v2(job: Job, result: Result) -> Any:
    shape = _shape(job, result)
    histogram = [
        {"Outcome": found, "Display": display(found), "Count": count}
        for found, count in _merged(shape, result)
    ]
    every = [value(shape, bits) for bits in shots_of(result)]
    return {"DataFormat": V2, "Results": [{"Histogram": histogram, "Shots": every}]}


def _microsoft_v1(job: Job, result: Result) -> Any:
    found: list[Any] = []
    for outcome, count in _merged(_shape(job, result), result):
        found += [display(outcome), count / result.shots]
    return {"Histogram": found}


def _merged(shape: Any, result: Result) -> list[tuple[Any, int]]:
    """Return what was recorded, each once, and how often it came; not all bits need be in it."""
    counts: dict[str, int] = {}
    values: dict[str, Any] = {}
    for bits, count in result.counts.items():
        found = value(shape, bits)
        text = display(found)
        values[text] = found
        counts[text] = counts.get(text, 0) + count
    return [(values[text], count) for text, count in sorted(counts.items())]


def _ionq(job: Job, result: Result) -> Any:
    """Return frequencies by number; bit 0 is the lowest of it."""
    found: dict[str, float] = {}
    for bits, count in result.counts.items():
        key = str(int(bits[::-1] or "0", 2))
        found[key] = found.get(key, 0.0) + count / result.shots
    return {"duration": job.usage.get("engine_ms", 0), "histogram": found}


def _quantinuum(job: Job, result: Result) -> Any:
    """Return the texts of every register, whose last bit comes first."""
    every = shots_of(result)
    return {
        name: [bits[start : start + size][::-1] for bits in every]
        for name, start, size in result.registers
    }


def _rigetti(job: Job, result: Result) -> Any:
    every = shots_of(result)
    return {
        name: [[int(bit) for bit in bits[start : start + size]] for bits in every]
        for name, start, size in result.registers
    }


def _pasqal(job: Job, result: Result) -> Any:
    counter: dict[str, int] = {}
    for text, count in result.counts.items():
        bits = text.translate(_BITS)
        counter[bits] = counter.get(bits, 0) + count
    return {"counter": counter}


_WRITERS: dict[str, Callable[[Job, Result], Any]] = {
    V1: _microsoft_v1,
    V2: _microsoft_v2,
    "honeywell.quantum-results.v1": _quantinuum,
    "ionq.quantum-results.v1": _ionq,
    "rigetti.quil-results.v1": _rigetti,
    "pasqal.pulser-results.v1": _pasqal,
}
