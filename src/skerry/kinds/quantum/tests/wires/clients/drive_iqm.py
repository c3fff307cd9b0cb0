"""Drives Qiskit on IQM, and iqm-client below it, as a user does."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from iqm.iqm_client import Circuit, CircuitOperation
from iqm.iqm_client.iqm_client import IQMClient
from iqm.qiskit_iqm import IQMProvider
from qiskit import QuantumCircuit, transpile

URL, TOKEN = os.environ["SKERRY_URL"], os.environ["IQM_TOKEN"]


def _refused(job: Callable[[], Any]) -> list[str]:
    try:
        job()
    except Exception as error:
        return [type(error).__name__, str(error)]
    return ["accepted", ""]


def main() -> None:
    """Run circuits, then bad ones."""
    backend = IQMProvider(URL, quantum_computer="garnet").get_backend()
    circuit = QuantumCircuit(3, 3)
    circuit.x(0)
    circuit.measure([0, 1, 2], [0, 1, 2])
    bell = QuantumCircuit(2)
    bell.h(0)
    bell.cx(0, 1)
    bell.measure_all()
    chosen = transpile([circuit, bell], backend, seed_transpiler=1)
    job = backend.run(chosen, shots=300)
    counts = job.result().get_counts()
    client = IQMClient.from_url(URL, quantum_computer="garnet")
    metrics = client.get_quality_metric_set()

    def circuit_of(*steps: CircuitOperation) -> Circuit:
        return Circuit(name="raw", instructions=steps)

    turn = CircuitOperation(name="prx", locus=("QB1",), args={"angle": 3.1415926, "phase": 0.0})
    read = CircuitOperation(name="measure", locus=("QB1", "QB2"), args={"key": "m"})
    tracker = client.submit_circuits([circuit_of(turn, read)], shots=100)
    tracker.wait_for_completion()
    raw = client.get_job_measurement_counts(tracker.job_id)[0]
    found = {
        "counts": counts,
        "qubits": backend.num_qubits,
        "architecture": len(client.get_static_quantum_architecture().connectivity),
        "metrics": len(metrics.observations),
        "raw": [raw.measurement_keys, raw.counts],
        "name": client.quantum_computer_name,
        "shots": _refused(lambda: client.submit_circuits([circuit_of(read)], shots=10**6)),
        "machine": _refused(lambda: IQMClient.from_url(URL, quantum_computer="granite")),
        "job": _refused(lambda: client.get_job("00000000-0000-4000-a000-000000000000")),
    }
    os.environ["IQM_TOKEN"] = TOKEN[:-2] + "xx"
    found["token"] = _refused(lambda: IQMClient.from_url(URL, quantum_computer="garnet"))
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
