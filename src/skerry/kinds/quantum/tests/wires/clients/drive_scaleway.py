"""Drives qiskit-scaleway, and scaleway-qaas-client below it, as a user does."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit_scaleway import ScalewayProvider
from scaleway_qaas_client.v1alpha1 import QaaSClient

URL, KEY = os.environ["QISKIT_SCALEWAY_API_URL"], os.environ["QISKIT_SCALEWAY_SECRET_KEY"]
PROJECT = os.environ["QISKIT_SCALEWAY_PROJECT_ID"]


def _refused(job: Callable[[], Any]) -> str:
    try:
        job()
    except Exception as error:
        return str(error)
    return "accepted"


def main() -> None:
    """Run circuits, then bad ones."""
    provider = ScalewayProvider()
    garnet = provider.get_backend("QPU-GARNET-20PQ")
    simulator = provider.get_backend("EMU-SKERRY")
    session = garnet.start_session(deduplication_id="once", max_duration="10m")
    again = garnet.start_session(deduplication_id="once", max_duration="10m")
    bits = ClassicalRegister(2, "low"), ClassicalRegister(1, "high")
    circuit = QuantumCircuit(QuantumRegister(3), *bits)
    circuit.x(0)
    circuit.measure([0, 1, 2], [0, 1, 2])
    bell = QuantumCircuit(2)
    bell.h(0)
    bell.cx(0, 1)
    bell.measure_all()
    ideal = simulator.run(circuit, shots=30).result(fetch_interval=1)
    results = garnet.run([bell, bell], shots=200, session_id=session).result(fetch_interval=1)
    client = QaaSClient(PROJECT, KEY, URL)
    wide = QuantumCircuit(21)
    wide.h(range(21))
    wide.measure_all()
    found = {
        "backends": sorted(each.name for each in provider.backends()),
        "session": session == again,
        "asymmetric": ideal.get_counts(),
        "bells": results.get_counts(),
        "memory": len(results.get_memory(0)),
        "wide": _refused(lambda: garnet.run(wide, shots=10, session_id=session)),
        "payload": _refused(lambda: client.create_model(payload="{")),
        "token": _refused(lambda: QaaSClient(PROJECT, KEY[:-2] + "xx", URL).list_platforms()),
    }
    garnet.stop_session(session)
    found["status"] = str(client.get_session(session).status)
    found["stopped"] = _refused(lambda: garnet.run(bell, shots=10, session_id=session))
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
