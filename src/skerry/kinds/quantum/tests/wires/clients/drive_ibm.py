"""What qiskit-ibm-runtime, unmodified, sees of a node; it prints what it found as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister, transpile
from qiskit.circuit import Parameter
from qiskit.circuit.classical import expr
from qiskit.quantum_info import SparsePauliOp
from qiskit_ibm_runtime import Batch, EstimatorV2, QiskitRuntimeService, SamplerV2, Session
from qiskit_ibm_runtime.exceptions import IBMRuntimeError
from qiskit_ibm_runtime.executor_estimator import Estimator as ExecutorEstimator
from qiskit_ibm_runtime.executor_sampler.sampler import Sampler

CRN = "crn:v1:bluemix:public:quantum-computing:us-east:a/skerry:lab::"
SEED = 7
NEAR = [0, 1]
"""Two qubits that interact."""


def bell() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return circuit


def rotated() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.ry(Parameter("theta"), 0)
    circuit.cx(0, 1)
    return circuit


def teleported() -> QuantumCircuit:
    sent, read, out = QuantumRegister(3), ClassicalRegister(2, "c"), ClassicalRegister(1, "out")
    circuit = QuantumCircuit(sent, read, out)
    circuit.ry(1.2, 0)
    circuit.h(1)
    circuit.cx(1, 2)
    circuit.cx(0, 1)
    circuit.h(0)
    circuit.measure([0, 1], read)
    with circuit.switch(read) as case:
        with case(1):
            circuit.z(2)
        with case(2):
            circuit.x(2)
        with case(3):
            circuit.y(2)
    with circuit.if_test(expr.logic_and(expr.lift(read[0]), expr.logic_not(expr.lift(read[0])))):
        circuit.x(2)
    circuit.ry(-1.2, 2)
    circuit.measure(2, out)
    return circuit


def decided(service: Any, found: dict[str, Any]) -> None:
    backend = service.backend("ibm_torino")
    chosen = [("teleported", backend, 1000), ("teleported ideally", None, 200)]
    for name, target, shots in chosen:
        circuit = teleported()
        if target is not None:  # the machine has no `switch`: the same by `if`
            circuit = transpile(
                chained(), target, initial_layout=[15, 16, 17], seed_transpiler=SEED
            )
        job = SamplerV2(target or service.backend("sim_ideal")).run([circuit], shots=shots)
        found[name] = job.result()[0].data.out.get_counts()
    repeated = QuantumCircuit(1, 1)
    with repeated.while_loop((repeated.clbits[0], 0)):
        repeated.h(0)
        repeated.measure(0, 0)
    job = SamplerV2(service.backend("sim_ideal")).run([repeated], shots=20)
    found["repeated"] = job.result()[0].data.c.get_counts()


def chained() -> QuantumCircuit:
    circuit = QuantumCircuit(QuantumRegister(3), ClassicalRegister(2, "c"))
    circuit.add_register(ClassicalRegister(1, "out"))
    circuit.ry(1.2, 0)
    circuit.h(1)
    circuit.cx(1, 2)
    circuit.cx(0, 1)
    circuit.h(0)
    circuit.measure([0, 1], [0, 1])
    with circuit.if_test((circuit.clbits[1], 1)):
        circuit.x(2)
    with circuit.if_test((circuit.cregs[0], 1)) as otherwise:
        circuit.z(2)
    with otherwise, circuit.if_test((circuit.cregs[0], 3)):
        circuit.z(2)
    circuit.ry(-1.2, 2)
    circuit.measure(2, 2)
    return circuit


def sampled(backend: Any, found: dict[str, Any]) -> Any:
    circuit = transpile(bell(), backend, initial_layout=[15, 16], seed_transpiler=SEED)
    job = SamplerV2(backend).run([circuit, (circuit, [], 50)], shots=2000)
    result = job.result()
    found["counts"] = result[0].data.meas.get_counts()
    found["shots"] = [each.data.meas.num_shots for each in result]
    found["nature"] = result.metadata["nature"]
    found["status"] = job.status()
    found["usage"] = job.usage()
    found["inputs"] = job.inputs["pubs"][0][0].num_qubits
    found["executor"] = Sampler(backend).run([circuit], shots=100).result()[0].data.meas.num_shots
    return circuit


def estimated(backend: Any, found: dict[str, Any]) -> None:
    circuit = transpile(rotated(), backend, initial_layout=[15, 16], seed_transpiler=SEED)
    sums = [SparsePauliOp("ZZ"), SparsePauliOp(["XX", "IZ", "II"], [0.5, 1.0, 2.0])]
    observables = [[each.apply_layout(circuit.layout)] for each in sums]
    angles = [[0.0], [1.5707963], [3.1415926]]
    data = EstimatorV2(backend).run([(circuit, observables, angles)]).result()[0].data
    found["evs"], found["stds"] = data.evs.tolist(), data.stds.tolist()
    try:
        EstimatorV2(backend, options={"resilience": {"pec_mitigation": True}}).run(
            [(circuit, observables[0], [0.0])]
        )
    except (IBMRuntimeError, ValueError) as error:
        found["cancellation"] = str(error)


def against_noise(backend: Any, found: dict[str, Any]) -> None:
    """Twirling, mitigation and decoupling, done by the server and by the client's executor."""
    circuit = transpile(rotated(), backend, initial_layout=NEAR, seed_transpiler=SEED)
    observable = SparsePauliOp(["ZZ", "XX"], [1.0, 0.5]).apply_layout(circuit.layout)
    pub = (circuit, [[observable], [2 * observable]], [[0.3], [1.2]], 0.03)
    twirling = {"num_randomizations": 4}
    for level in (0, 2):
        options = {"resilience_level": level, "twirling": twirling}
        result = EstimatorV2(backend, options=options).run([pub]).result()
        found[f"level {level}"] = result[0].data.evs.tolist()
    found["extrapolated"] = list(result[0].data.evs_extrapolated.shape)
    found["done"] = [result.metadata["resilience"]["zne"]["noise_factors"], result[0].metadata]
    options = {"resilience_level": 1, "default_shots": 1000, "twirling": twirling}
    client = ExecutorEstimator(backend, options=options)
    found["by the client"] = (
        client.run([(circuit, observable, [[0.3], [1.2]])]).result()[0].data.evs.tolist()
    )
    measured = transpile(bell(), backend, initial_layout=NEAR, seed_transpiler=SEED)
    twirled = {"twirling": {"enable_gates": True, "enable_measure": True, "num_randomizations": 4}}
    for name, sampler in (
        ("twirled", SamplerV2(backend, options=twirled)),
        ("twirled by the client", Sampler(backend, options=twirled)),
        ("decoupled", SamplerV2(backend, options={"dynamical_decoupling": {"enable": True}})),
    ):
        found[name] = sampler.run([measured], shots=400).result()[0].data.meas.get_counts()


def in_sessions(backend: Any, circuit: Any, found: dict[str, Any]) -> None:
    with Session(backend) as session:
        job = SamplerV2(session).run([circuit], shots=10)
        job.result()
        found["session"] = [job.session_id == session.details()["id"], session.details()["mode"]]
    found["session"].append(session.status())
    try:
        late = Session.from_id(session.session_id, session.service)
        SamplerV2(late).run([circuit], shots=10)
    except IBMRuntimeError as error:
        found["late"] = str(error)
    with Batch(backend) as batch:
        jobs = [SamplerV2(batch).run([circuit], shots=10) for _ in range(2)]
        found["batch"] = [each.result()[0].data.meas.num_shots for each in jobs]


def main() -> None:
    url, token = sys.argv[1:]
    service = QiskitRuntimeService(
        channel="ibm_quantum_platform", token=token, url=f"{url}/ibm/experimental", instance=CRN
    )
    found: dict[str, Any] = {"backends": [each.name for each in service.backends()]}
    backend = service.backend("ibm_torino")
    found["qubits"] = backend.num_qubits
    found["gates"] = sorted(backend.target.operation_names)
    found["t1"] = backend.qubit_properties(15).t1
    circuit = sampled(backend, found)
    estimated(backend, found)
    against_noise(backend, found)
    in_sessions(backend, circuit, found)
    decided(service, found)
    job = SamplerV2(service.backend("sim_ideal")).run([bell()], shots=100)
    found["ideal"] = job.result()[0].data.meas.get_counts()
    found["listed"] = job.job_id() in [each.job_id() for each in service.jobs(limit=5)]
    job.update_tags(["mine"])
    found["tagged"] = [each.job_id() for each in service.jobs(job_tags=["mine"])] == [job.job_id()]
    try:
        job.cancel()
    except Exception as error:
        found["cancel"] = type(error).__name__
    print(json.dumps(found))  # noqa: T201


main()
