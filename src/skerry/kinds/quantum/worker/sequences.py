"""Reads Pulser's sequences (abstract representation, JSON) as analog programs of `worker.atoms`.

Pulser itself reads them, checks them against the device that they name, and samples their pulses
every nanosecond. One global channel between the ground and the Rydberg state is run; a sequence
that drives single atoms, other states or moving masks is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .ir import UnsupportedError

OPERATIONS_MAX = 2000
NANOSECONDS_MAX = 100_000
_MICRO = 1e-6
_TIMES = frozenset({"duration", "time"})


def read(source: str, bindings: Mapping[str, float]) -> dict[str, Any]:
    """Return a sequence in the shape of Braket's programs; raise UnsupportedError."""
    _check(source)
    try:
        from pulser import Sequence  # noqa: PLC0415 (seconds; only for sequences)
        from pulser.sampler import sample  # noqa: PLC0415
    except ImportError as error:
        raise UnsupportedError(
            "Pulser's sequences need pulser-core.", "pip install 'skerry[quantum]'"
        ) from error
    try:
        sequence = Sequence.from_abstract_repr(source)
        if sequence.is_register_mappable():
            raise UnsupportedError("The sequence does not say where its atoms are.")
        if sequence.is_parametrized():
            sequence = sequence.build(**_values(bindings))
        sites = [tuple(map(float, place)) for place in sequence.register.qubits.values()]
        driven = sample(sequence, extended_duration=sequence.get_duration()).to_nested_dict()
    except UnsupportedError:
        raise
    except Exception as error:  # Pulser's errors and those of its schemas have no common class
        text = " ".join(str(error).split())[:400]
        raise UnsupportedError("Pulser refuses the sequence.", text) from error
    return _program(sites, _global(driven))


def _values(bindings: Mapping[str, float]) -> dict[str, Any]:
    """Return values of variables; `name[0]`, `name[1]`, … are those of an array."""
    found: dict[str, Any] = {}
    for key, value in bindings.items():
        name, bracket, _ = key.partition("[")
        if bracket:
            found.setdefault(name, []).append(value)
        else:
            found[name] = value
    return found


def _check(source: str) -> None:
    """Refuse what would make Pulser allocate without bounds, before it reads anything."""
    try:
        found = json.loads(source)
        operations = found["operations"]
        durations = list(_durations(operations, 0))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UnsupportedError("The program is no sequence of Pulser's.", str(error)) from error
    if not isinstance(operations, list) or len(operations) > OPERATIONS_MAX:
        raise UnsupportedError(f"A sequence has at most {OPERATIONS_MAX} operations.")
    if any(isinstance(each, bool) or not isinstance(each, int) for each in durations):
        raise UnsupportedError("Durations are whole nanoseconds; variables are for values only.")
    if sum(durations) > NANOSECONDS_MAX or min(durations, default=1) < 0:
        raise UnsupportedError(f"A sequence lasts at most {NANOSECONDS_MAX} ns.")


def _durations(part: Any, depth: int) -> Iterator[Any]:
    """Yield every duration that a part of a sequence names."""
    if depth > 40:
        raise ValueError("waveforms are nested too deep")
    if isinstance(part, dict):
        for name, value in part.items():
            if name in _TIMES:
                yield value
            else:
                yield from _durations(value, depth + 1)
    elif isinstance(part, list):
        for each in part:
            yield from _durations(each, depth + 1)


def _global(driven: dict[str, Any]) -> dict[str, Any]:
    """Return the samples of the one global channel; refuse everything else that is driven."""
    for basis, atoms in driven["Local"].items():
        for name, samples in atoms.items():
            if any(np.any(each) for each in samples.values()):
                raise UnsupportedError(f"The sequence drives the atom {name} alone ({basis}).")
    for basis, samples in driven["Global"].items():
        if basis != "ground-rydberg" and any(np.any(each) for each in samples.values()):
            raise UnsupportedError(f"The sequence drives the states {basis}.")
    found: dict[str, Any] = driven["Global"].get("ground-rydberg", {})
    if not found or not len(found["amp"]):
        raise UnsupportedError("The sequence drives nothing.")
    return found


def _program(sites: list[tuple[float, ...]], samples: dict[str, Any]) -> dict[str, Any]:
    if any(len(each) != 2 for each in sites):
        raise UnsupportedError("Atoms are placed in a plane on these machines.")
    field = {
        "amplitude": _series(np.asarray(samples["amp"]) / _MICRO),
        "detuning": _series(np.asarray(samples["det"]) / _MICRO),
        "phase": _series(np.asarray(samples["phase"]), in_steps=True),
    }
    return {
        "braketSchemaHeader": {"name": "braket.ir.ahs.program", "version": "1"},
        "setup": {
            "ahs_register": {
                "sites": [[repr(x * _MICRO), repr(y * _MICRO)] for x, y in sites],
                "filling": [1] * len(sites),
            }
        },
        "hamiltonian": {"drivingFields": [field], "localDetuning": []},
    }


def _series(values: Any, *, in_steps: bool = False) -> dict[str, Any]:
    """Return samples of every nanosecond as points between which values change evenly.

    A phase changes in steps instead: it holds until the next point.
    """
    values = np.append(values, values[-1]).astype(float)
    places = np.arange(len(values))
    least = 1e-9 * max(1.0, float(np.abs(values).max()))
    bends = np.abs(np.diff(values, 2) if not in_steps else np.diff(values)[:-1]) > least
    kept = np.concatenate(([True], bends, [True]))
    return {
        "pattern": "uniform",
        "time_series": {
            "times": [repr(float(each) * 1e-9) for each in places[kept]],
            "values": [repr(float(each)) for each in values[kept]],
        },
    }
