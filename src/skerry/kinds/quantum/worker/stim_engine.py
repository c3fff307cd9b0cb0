"""Clifford circuits with Pauli noise on Stim, whatever their gates are called."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import stim

from .conditions import Condition, holds
from .ir import LOOP_ENDLESS, LOOP_ROUNDS_MAX, Op, UnsupportedError, is_dynamic, matrix
from .noise import DEPOLARISE_1, DEPOLARISE_2, PAULI, Noisy

_ROUNDING = 9
_PRECISION = 1e-6
"""Stim gives matrices in single precision."""

_PLAIN = {
    "reset": "R",
    DEPOLARISE_1: "DEPOLARIZE1",
    DEPOLARISE_2: "DEPOLARIZE2",
    PAULI: "PAULI_CHANNEL_1",
}

Step = tuple[str, tuple[int, ...]]


@lru_cache(maxsize=4096)
def clifford(name: str, params: tuple[float, ...]) -> tuple[Step, ...] | None:
    """Return a gate as Stim's instructions on its own qubits; None if it is not Clifford."""
    unitary = np.round(np.array(matrix(name, params), dtype=complex), _ROUNDING)
    if len(unitary) > 8:
        return None
    try:
        tableau = stim.Tableau.from_unitary_matrix(unitary, endian="big")
    except ValueError:
        return None
    if not _same(unitary, tableau.to_unitary_matrix(endian="big")):
        return None  # Stim also takes matrices that are only near a Clifford gate
    return tuple(
        (each.name, tuple(target.value for target in each.targets_copy()))
        for each in tableau.to_circuit("elimination")
    )


def _same(one: Any, other: Any) -> bool:
    """Tell whether two unitaries are equal up to a phase."""
    overlap = np.trace(other.conj().T @ one) / len(one)
    return bool(np.max(np.abs(one - overlap * other)) < _PRECISION)


def sample(noisy: Noisy, shots: int, seed: int) -> Any:
    """Return the bits of every shot as an array of booleans, one row a shot."""
    if is_dynamic(noisy.circuit):
        return _decided(noisy, shots, seed)
    lines: list[str] = []
    written = [-1] * noisy.circuit["bits"]
    records = 0
    for name, qubits, params in noisy.circuit["ops"]:
        if name == "measure":
            lines.append(f"M {qubits[0]}")
            written[params[0]] = records
            records += 1
        else:
            lines += _lines(name, qubits, params)
    found = stim.Circuit("\n".join(lines)).compile_sampler(seed=seed).sample(shots)
    bits = np.zeros((shots, len(written)), dtype=bool)
    for bit, record in enumerate(written):
        if record >= 0:
            bits[:, bit] = found[:, record]
    return bits


def _lines(name: str, qubits: list[int], params: list[float]) -> list[str]:
    """Return an operation as Stim's text: to read that is ten times faster than to append."""
    if name in _PLAIN:
        chances = f"({', '.join(map(repr, params))})" if params else ""
        return [f"{_PLAIN[name]}{chances} {' '.join(map(str, qubits))}"]
    if name in ("barrier", "delay"):
        return []
    steps = clifford(name, tuple(params))
    assert steps is not None, "the router sends Clifford circuits only"
    return [f"{step} {' '.join(str(qubits[each]) for each in targets)}" for step, targets in steps]


class _Choice(NamedTuple):
    condition: Condition
    then: list[Any]
    otherwise: list[Any]


class _Loop(NamedTuple):
    condition: Condition
    body: list[Any]


class _Set(NamedTuple):
    bit: int
    condition: Condition


class _Read(NamedTuple):
    qubit: int
    bit: int


def _decided(noisy: Noisy, shots: int, seed: int) -> Any:
    """Return the bits of a circuit that decides while it runs: one tableau for every shot."""
    steps = _steps(noisy.circuit["ops"])
    seeds, chances = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1])
    bits = np.zeros((shots, noisy.circuit["bits"]), dtype=bool)
    for row in bits:
        simulator = stim.TableauSimulator(seed=int(seeds.integers(1 << 62)))
        _walk(steps, simulator, row, noisy.reads, chances)
    return bits


def _steps(ops: list[Op]) -> list[Any]:
    """Return operations as what Stim does at one go, readings, and choices."""
    found: list[Any] = []
    for name, qubits, params in ops:
        if name == "measure":
            found.append(_Read(qubits[0], params[0]))
        elif name == "set":
            found.append(_Set(*params))
        elif name == "while":
            found.append(_Loop(params[0], _steps(params[1])))
        elif name == "if":
            found.append(_Choice(params[0], _steps(params[1]), _steps(params[2])))
        else:
            if not found or not isinstance(found[-1], stim.Circuit):
                found.append(stim.Circuit())
            found[-1] += stim.Circuit("\n".join(_lines(name, qubits, params)))
    return found


def _walk(
    steps: list[Any], simulator: Any, bits: Any, reads: list[tuple[float, float]], chances: Any
) -> None:
    for step in steps:
        if isinstance(step, _Read):
            value = simulator.measure(step.qubit)
            bits[step.bit] = value ^ (chances.random() < reads[step.bit][value])
        elif isinstance(step, _Choice):
            taken = step.then if holds(step.condition, bits) else step.otherwise
            _walk(taken, simulator, bits, reads, chances)
        elif isinstance(step, _Set):
            bits[step.bit] = holds(step.condition, bits)
        elif isinstance(step, _Loop):
            for _ in range(LOOP_ROUNDS_MAX):
                if not holds(step.condition, bits):
                    break
                _walk(step.body, simulator, bits, reads, chances)
            else:
                raise UnsupportedError(LOOP_ENDLESS)
        else:
            simulator.do(step)
