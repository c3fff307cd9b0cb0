"""What qiskit-ionq and cirq-ionq, unmodified, see of a node; it prints what it found as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

import cirq
import cirq_ionq
from qiskit import QuantumCircuit, transpile
from qiskit_ionq import GPI2Gate, GPIGate, IonQProvider, MSGate, Session
from qiskit_ionq.exceptions import IonQAPIError


def ghz(qubits: int = 3) -> QuantumCircuit:
    circuit = QuantumCircuit(qubits, qubits)
    circuit.h(0)
    for number in range(qubits - 1):
        circuit.cx(number, number + 1)
    circuit.measure(range(qubits), range(qubits))
    return circuit


def by_qiskit(url: str, token: str) -> dict[str, Any]:
    provider = IonQProvider(token, url=f"{url}/ionq/v0.4")
    found: dict[str, Any] = {}
    simulator = provider.get_backend("ionq_simulator")
    job = simulator.run(ghz(), shots=400)
    found["ideal"] = job.result(wait=0.1).get_counts()
    model = provider.get_backend("ionq_simulator")
    model.set_options(noise_model="forte-1")
    noisy = model.run(ghz(), shots=1000, memory=True)
    result = noisy.result(wait=0.1)
    found["noisy"], found["memory"] = result.get_counts(), len(result.get_memory())
    several = simulator.run([ghz(2), ghz(3)], shots=100)
    counts = several.result(wait=0.1).get_counts()
    found["several"] = [sorted(each) for each in counts]
    machine = provider.get_backend("ionq_qpu.forte-1")
    found["status"], found["qubits"] = machine.status(), machine.calibration().qubits
    asymmetric = QuantumCircuit(3, 3)
    asymmetric.x(0)
    asymmetric.measure(range(3), range(3))
    found["order"] = machine.run(asymmetric, shots=100).result(wait=0.1).get_counts()
    native = QuantumCircuit(2, 2)
    native.append(GPI2Gate(0.25), [0])
    native.append(GPIGate(0.0), [1])
    native.append(MSGate(0, 0, 0.25), [0, 1])
    native.measure([0, 1], [0, 1])
    ions = provider.get_backend("ionq_simulator", gateset="native")
    found["native"] = sum(ions.run(native, shots=100).result(wait=0.1).get_counts().values())
    controlled = QuantumCircuit(3, 3)
    controlled.x([0, 1])
    controlled.ccx(0, 1, 2)
    controlled.p(0.3, 0)
    controlled.cp(0.2, 0, 1)
    controlled.measure(range(3), range(3))
    found["controlled"] = (
        simulator.run(transpile(controlled, simulator), shots=50).result(wait=0.1).get_counts()
    )
    reused = ghz(2)
    reused.reset(0)
    reused.measure(0, 0)
    found["reused"] = model.run(reused, shots=100).result(wait=0.1).get_counts()
    estimate = machine.client.estimate_job(
        backend="qpu.forte-1", oneq_gates=1, twoq_gates=2, qubits=3, shots=1000
    )
    found["estimate"] = [estimate.cost, estimate.cost_unit]
    found["sessions"] = in_sessions(machine)
    try:
        simulator.run(ghz(), shots=-1)
    except IonQAPIError as error:
        found["refused"] = error.status_code
    return found


def in_sessions(machine: Any) -> dict[str, Any]:
    """A session of one job, and one of little money; each is closed at its end."""
    found: dict[str, Any] = {}
    with Session(machine, max_time=5, max_jobs=1) as session:
        first = machine.run(ghz(2), shots=100)
        found["counts"] = sum(first.result(wait=0.1).get_counts().values())
        found["settings"] = session.details()["settings"]
        try:
            machine.run(ghz(2), shots=100)
        except IonQAPIError as error:
            found["full"] = [error.status_code, error.message]
    found["closed"], found["used"] = session.status(), session.usage() >= 0
    again = Session.from_id(session.session_id, backend=machine)
    try:
        again.run(ghz(2), shots=100)
    except IonQAPIError as error:
        found["over"] = error.status_code
    poor = Session(machine, max_cost=30)
    found["paid"] = poor.run(ghz(2), shots=100).status().name
    try:
        poor.run(ghz(2), shots=100)
    except IonQAPIError as error:
        found["poor"] = error.status_code
    poor.close()
    return found


def by_cirq(url: str, token: str) -> dict[str, Any]:
    service = cirq_ionq.Service(remote_host=url, api_key=token, default_target="simulator")
    first, second = cirq.LineQubit.range(2)
    circuit = cirq.Circuit(
        cirq.H(first), cirq.CNOT(first, second), cirq.ZZ(first, second) ** 0.5,
        cirq.measure(first, second, key="m"),
    )  # fmt: skip
    result = service.run(circuit, repetitions=200, seed=1)
    batch = service.run_batch([circuit, circuit], repetitions=50)
    job = service.create_job(circuit, repetitions=100, target="qpu.forte-1")
    counts = job.results().counts("m")
    return {
        "histogram": {str(k): v for k, v in result.histogram(key="m").items()},
        "batch": [int(each.repetitions) for each in batch],
        "qpu": {str(k): v for k, v in counts.items()},
        "calibration": service.get_current_calibration().num_qubits(),
    }


def main() -> None:
    base, url, token = sys.argv[1:]
    found = {"qiskit": by_qiskit(base, token), "cirq": by_cirq(url, token)}
    print(json.dumps(found))  # noqa: T201


main()
