"""Clifford circuits with Pauli noise on Stim, whatever their gates are called."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import stim

from .ir import matrix
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
    circuit, written = stim.Circuit(), [-1] * noisy.circuit["bits"]
    records = 0
    for name, qubits, params in noisy.circuit["ops"]:
        if name == "measure":
            circuit.append("M", qubits)
            written[params[0]] = records
            records += 1
        elif name in _PLAIN:
            circuit.append(_PLAIN[name], qubits, params)
        elif name not in ("barrier", "delay"):
            steps = clifford(name, tuple(params))
            assert steps is not None, "the router sends Clifford circuits only"
            for step, targets in steps:
                circuit.append(step, [qubits[each] for each in targets])
    found = circuit.compile_sampler(seed=seed).sample(shots)
    bits = np.zeros((shots, len(written)), dtype=bool)
    for bit, record in enumerate(written):
        if record >= 0:
            bits[:, bit] = found[:, record]
    return bits
