"""State vectors and noisy trajectories on qsim, for circuits that measure at their end."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cirq
import numpy as np
import qsimcirq

from .ir import matrix
from .noise import DEPOLARISE_1, DEPOLARISE_2, PAULI, Noisy


@lru_cache(maxsize=8192)
def _gate(name: str, params: tuple[float, ...]) -> Any:
    if name == DEPOLARISE_1:
        return cirq.depolarize(params[0])
    if name == DEPOLARISE_2:
        return cirq.depolarize(params[0], n_qubits=2)
    if name == PAULI:
        return cirq.asymmetric_depolarize(*params)
    return cirq.MatrixGate(np.array(matrix(name, params), dtype=complex), unitary_check=False)


def sample(noisy: Noisy, shots: int, seed: int, threads: int) -> Any:
    """Return the bits of every shot as an array of booleans, one row a shot."""
    circuit = noisy.circuit
    line = cirq.LineQubit.range(circuit["qubits"])
    ops, written = [], {}
    for name, qubits, params in circuit["ops"]:
        if name == "measure":
            written[params[0]] = qubits[0]
        elif name not in ("barrier", "delay"):
            ops.append(_gate(name, tuple(params)).on(*(line[each] for each in qubits)))
    found = cirq.Circuit(ops)
    read = sorted(set(written.values()))
    bits = np.zeros((shots, circuit["bits"]), dtype=bool)
    if not read:
        return bits
    found.append(cirq.measure(*(line[each] for each in read), key="m"))
    options = qsimcirq.QSimOptions(max_fused_gate_size=3, cpu_threads=threads)
    simulator = qsimcirq.QSimSimulator(qsim_options=options, seed=seed % (1 << 31))
    outcome = simulator.run(found, repetitions=shots).measurements["m"]
    column = {qubit: number for number, qubit in enumerate(read)}
    for bit, qubit in written.items():
        bits[:, bit] = outcome[:, column[qubit]]
    return bits
