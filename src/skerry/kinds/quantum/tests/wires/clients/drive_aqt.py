"""Drives qiskit-aqt-provider 2 by its direct access, as a user does."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from qiskit import QuantumCircuit, transpile
from qiskit_aqt_provider import AQTProvider

URL, TOKEN = os.environ["AQT_URL"], os.environ["AQT_TOKEN"]


def _refused(job: Callable[[], Any]) -> list[Any]:
    try:
        job()
    except Exception as error:
        cause = error.__cause__ or error
        answer = getattr(cause, "response", None)
        told = [answer.status_code, answer.text] if answer is not None else [0, str(error)]
        return [type(error).__name__, *told]
    return ["accepted", 0, ""]


def main() -> None:
    """Run circuits, then bad ones."""
    access = AQTProvider().direct_access()
    backend = access.get_resource(URL, TOKEN)
    circuit = QuantumCircuit(3)
    circuit.x(0)
    circuit.measure_all()
    bell = QuantumCircuit(2)
    bell.h(0)
    bell.cx(0, 1)
    bell.measure_all()
    chosen = transpile([circuit, bell], backend, seed_transpiler=1)
    wide = QuantumCircuit(14)
    wide.rz(0.1, range(14))
    wide.measure_all()
    found = {
        "name": backend.name,
        "qubits": backend.num_qubits,
        "asymmetric": backend.run(chosen[0], shots=100).result().get_counts(),
        "bell": backend.run(chosen[1], shots=200).result().get_counts(),
        "wide": _refused(lambda: backend.run(wide, shots=10)),
        "token": _refused(lambda: access.get_resource(URL, TOKEN[:-2] + "xx")),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
