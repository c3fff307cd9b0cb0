"""Drives qiskit-aqt-provider 1 through AQT's portal, as a user does."""

from __future__ import annotations

import json
import os
import sys

from qiskit import QuantumCircuit, transpile
from qiskit_aqt_provider import AQTProvider


def main() -> None:
    """Run two circuits in one job, then one that is too wide."""
    provider = AQTProvider(os.environ["AQT_TOKEN"])
    backend = provider.get_backend("aqt-ibex-q1", workspace="qpu")
    circuit = QuantumCircuit(3)
    circuit.x(0)
    circuit.measure_all()
    bell = QuantumCircuit(2)
    bell.h(0)
    bell.cx(0, 1)
    bell.measure_all()
    chosen = transpile([circuit, bell], backend, seed_transpiler=1)
    counts = backend.run(chosen, shots=100).result().get_counts()
    wide = QuantumCircuit(14)
    wide.rz(0.1, range(14))
    wide.measure_all()
    try:
        backend.run(wide, shots=10).result()
        refused = "accepted"
    except Exception as error:
        refused = str(error)
    sys.stdout.write(json.dumps({"counts": counts, "refused": refused}))


if __name__ == "__main__":
    main()
