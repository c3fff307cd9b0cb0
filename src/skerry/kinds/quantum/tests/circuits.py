"""Exact probabilities of small circuits by their matrices alone: the oracle of the tests."""

from __future__ import annotations

import numpy as np

from skerry.kinds.quantum.worker.ir import NOT_GATES, Circuit, matrix


def probabilities(circuit: Circuit) -> dict[str, float]:
    """Return the chance of every bit string of a circuit that measures at its end."""
    count = circuit["qubits"]
    state = np.zeros([2] * count, dtype=complex)
    state[(0,) * count] = 1
    written = {}
    for name, qubits, params in circuit["ops"]:
        if name == "measure":
            written[params[0]] = qubits[0]
        if name in NOT_GATES:
            continue
        wires = len(qubits)
        gate = np.array(matrix(name, params)).reshape([2] * (2 * wires))
        state = np.tensordot(gate, state, axes=(list(range(wires, 2 * wires)), qubits))
        state = np.moveaxis(state, range(wires), qubits)
    found: dict[str, float] = {}
    for index in np.ndindex(*state.shape):
        key = "".join(str(index[written[bit]]) for bit in range(circuit["bits"]))
        found[key] = found.get(key, 0.0) + float(abs(state[index]) ** 2)
    return found


def distance(one: dict[str, float], other: dict[str, float]) -> float:
    """Return the largest difference of a probability."""
    return max(abs(one.get(key, 0.0) - other.get(key, 0.0)) for key in {*one, *other})
