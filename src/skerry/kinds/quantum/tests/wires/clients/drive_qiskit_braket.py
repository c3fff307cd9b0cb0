"""Drives Qiskit through qiskit-braket-provider, as `drive_braket` does Amazon's own SDK."""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

from qiskit import QuantumCircuit, transpile

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from qiskit_braket_provider import BraketProvider


def asymmetric(backend: Any) -> dict[str, int]:
    """Qubit 0 of three is 1; Qiskit writes bit 0 last."""
    circuit = QuantumCircuit(3, 3)
    circuit.x(0)
    circuit.measure([0, 1, 2], [0, 1, 2])
    counts: dict[str, int] = backend.run(circuit, shots=40).result().get_counts()
    return counts


def main() -> None:
    """Run one circuit and a batch of two."""
    provider = BraketProvider()
    garnet = provider.get_backend("Garnet")
    simulator = provider.get_backend("SV1")
    bell = QuantumCircuit(2)
    bell.h(0)
    bell.cx(0, 1)
    bell.measure_all()
    job = garnet.run([transpile(bell, garnet, seed_transpiler=1), bell], shots=200)
    results = job.result()
    found = {
        "asymmetric": asymmetric(simulator),
        "qubits": garnet.num_qubits,
        "counts": results.get_counts(),
        "status": str(job.status()),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
