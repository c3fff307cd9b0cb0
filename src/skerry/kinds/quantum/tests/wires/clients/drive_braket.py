"""Drives amazon-braket-sdk against a node, as a user does, and prints what it found as JSON.

It is run by a test in a process of its own, with the node's address and the resource's keys in the
environment, as `skerry connect` prints them.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy
from botocore.exceptions import ClientError
from braket.ahs.analog_hamiltonian_simulation import AnalogHamiltonianSimulation
from braket.ahs.atom_arrangement import AtomArrangement
from braket.ahs.driving_field import DrivingField
from braket.aws import AwsDevice, AwsQuantumTask, AwsSession
from braket.circuits import Circuit, FreeParameter, Observable
from braket.circuits.observables import X, Z
from braket.experimental_capabilities import EnableExperimentalCapability
from braket.ir.openqasm import Program
from braket.program_sets import CircuitBinding, ProgramSet
from braket.timings.time_series import TimeSeries
from braket.tracking import Tracker

ACCESS_KEY = os.environ["AWS_ACCESS_KEY_ID"]
GARNET = "arn:aws:braket:eu-north-1::device/qpu/iqm/Garnet"
FORTE = "arn:aws:braket:us-east-1::device/qpu/ionq/Forte-Enterprise-1"
AQUILA = "arn:aws:braket:us-east-1::device/qpu/quera/Aquila"
SV1 = "arn:aws:braket:::device/quantum-simulator/amazon/sv1"
DM1 = "arn:aws:braket:::device/quantum-simulator/amazon/dm1"
TN1 = "arn:aws:braket:::device/quantum-simulator/amazon/tn1"


def devices() -> dict[str, Any]:
    garnet = AwsDevice(GARNET)
    depth = garnet.queue_depth()
    found = AwsDevice.get_devices(types=["QPU"])
    return {
        "name": garnet.name,
        "provider": garnet.provider_name,
        "available": garnet.is_available,
        "edges": garnet.topology_graph.number_of_edges(),
        "native": list(garnet.properties.paradigm.nativeGateSet),
        "cost": garnet.properties.service.deviceCost.price,
        "summary": garnet.properties.service.deviceDocumentation.summary,
        "waiting": depth.quantum_tasks,
        "found": sorted(each.name for each in found),
    }


def asymmetric() -> dict[str, Any]:
    """The first of three qubits is 1: every client must tell it in the same place."""
    circuit = Circuit().x(0).i(1).i(2)
    result = AwsDevice(SV1).run(circuit, shots=20).result()
    parts = Circuit().x(1).i(0).i(2).measure(2).measure(1).measure(0)
    swapped = AwsDevice(SV1).run(parts, shots=20).result()
    long = Circuit().ry(0, 1.0)
    for qubit in range(59):
        long.cnot(qubit, qubit + 1)
    network = AwsDevice(TN1).run(long, shots=50).result()
    return {
        "long": dict(network.measurement_counts),
        "network": AwsDevice(TN1).properties.service.deviceDocumentation.summary,
        "counts": dict(result.measurement_counts),
        "qubits": list(result.measured_qubits),
        "swapped": [dict(swapped.measurement_counts), list(swapped.measured_qubits)],
    }


def bell() -> dict[str, Any]:
    device = AwsDevice(GARNET)
    with Tracker() as tracker:
        task = device.run(Circuit().h(0).cnot(0, 1), shots=500, tags={"why": "a test"})
        result = task.result()
        cost = tracker.qpu_tasks_cost()
    again = AwsQuantumTask(task.id)
    return {
        "state": again.state(),
        "position": str(again.queue_position().queue_position),
        "counts": dict(result.measurement_counts),
        "compiled": result.additional_metadata.iqmMetadata.compiledProgram[:13],
        "tags": again.metadata()["tags"],
        "cost": str(cost),
        "bucket": task.metadata()["outputS3Bucket"],
        "keys": len(AwsSession().list_keys(task.metadata()["outputS3Bucket"], "tasks")) > 0,
        "arn": task.id,
    }


def results_of_types() -> dict[str, Any]:
    circuit = Circuit().h(0).cnot(0, 1).rx(2, 1.0)
    circuit.expectation(X(0) @ X(1)).variance(Z(2)).probability([2])
    result = AwsDevice(SV1).run(circuit, shots=4000).result()
    values = result.values
    chosen = result.get_value_by_result_type(Circuit().expectation(X(0) @ X(1)).result_types[0])
    sample = AwsDevice(SV1).run(Circuit().x(0).sample(Observable.Z(), 0), shots=10).result()
    return {
        "xx": values[0],
        "chosen": chosen,
        "variance": values[1],
        "probability": list(map(float, values[2])),
        "sample": list(map(float, sample.values[0])),
    }


def exact() -> dict[str, Any]:
    """Results without shots of both simulators, and noise that the program names."""
    skewed = Observable.Hermitian(numpy.array([[1, 2j], [-2j, 0]]))
    pure = Circuit().h(0).cnot(0, 1).state_vector().amplitude(["11"]).probability([0])
    pure.expectation(skewed, 0).variance(X(0) @ X(1))
    state, amplitudes, chances, mean, variance = AwsDevice(SV1).run(pure, shots=0).result().values
    noisy = Circuit().x(0).i(1).bit_flip(0, 0.2).density_matrix([0]).expectation(Z(0))
    matrix, flipped = AwsDevice(DM1).run(noisy, shots=0).result().values
    damped = Circuit().x(0).amplitude_damping(0, 0.25).probability([0])
    sampled = AwsDevice(DM1).run(damped, shots=4000).result()
    always, never = (Circuit().x(0).i(1).amplitude_damping(0, chance) for chance in (1.0, 0.0))
    both = AwsDevice(DM1).run(ProgramSet([always, never], shots_per_executable=50)).result()
    turn = FreeParameter("turn")
    slope = (
        Circuit()
        .rx(0, 2 * turn)
        .adjoint_gradient(
            3 * Observable.Y() @ Observable.I() - Observable.Z(), target=[[0, 1], [0]]
        )
    )
    told = AwsDevice(SV1).run(slope, shots=0, inputs={"turn": 0.3}).result().values[0]
    turned = Circuit().rx(0, 0.5).expectation(skewed, 0).sample(skewed, 0)
    estimate, samples = AwsDevice(SV1).run(turned, shots=4000).result().values
    return {
        "state": [abs(each) for each in state],
        "amplitude": abs(amplitudes["11"]),
        "chances": list(map(float, chances)),
        "mean": float(mean),
        "variance": float(variance),
        "matrix": numpy.array(matrix).tolist(),
        "flipped": float(flipped),
        "damped": [len(sampled.measurements), list(map(float, sampled.values[0]))],
        "set": [dict(each.entries[0].counts) for each in both.entries],
        "slope": [told["expectation"], told["gradient"]["turn"]],
        "estimate": float(estimate),
        "eigenvalues": sorted({round(float(each), 6) for each in samples}),
        "offered": sorted(
            each.name
            for each in AwsDevice(DM1)
            .properties.action["braket.ir.openqasm.program"]
            .supportedResultTypes
        ),
    }


def program_set() -> dict[str, Any]:
    angle = FreeParameter("turn")
    bound = CircuitBinding(
        Circuit().rx(0, angle).cnot(0, 1),
        input_sets={"turn": [0.0, 3.141592653589793]},
        observables=[Z(0) @ Z(1), Z(0)],
    )
    plain = Circuit().x(0).i(1)
    chosen = ProgramSet([bound, plain], shots_per_executable=200)
    device = AwsDevice(GARNET)
    with Tracker() as tracker:
        task = device.run(chosen)
        result = task.result()
        cost = str(tracker.qpu_tasks_cost())
    first = result.entries[0]
    return {
        "executables": result.num_executables,
        "expectations": [each.expectation for each in first.entries],
        "plain": dict(result.entries[1].entries[0].counts),
        "cost": cost,
        "arn": task.id,
    }


def verbatim() -> dict[str, Any]:
    native = Circuit().add_verbatim_box(Circuit().gpi2(0, 0.0).zz(0, 1, 1.5707963))
    ions = AwsDevice(FORTE).run(native, shots=100, disable_qubit_rewiring=True).result()
    box = Circuit().add_verbatim_box(Circuit().prx(9, 3.141592653589793, 0.0).cz(9, 4))
    result = AwsDevice(GARNET).run(box, shots=100, disable_qubit_rewiring=True).result()
    with EnableExperimentalCapability():
        mended = Circuit().prx(9, math.pi, 0.0).measure_ff(9, 3)
        mended.cc_prx(4, math.pi, 0.0, 3).cc_prx(9, math.pi, 0.0, 3)
    fed = AwsDevice(GARNET).run(Circuit().add_verbatim_box(mended), shots=100).result()
    return {
        "fed": dict(fed.measurement_counts),
        "fed qubits": list(fed.measured_qubits),
        "qubits": list(result.measured_qubits),
        "counts": dict(result.measurement_counts),
        "ions": sum(ions.measurement_counts.values()),
    }


def emulator() -> dict[str, Any]:
    found = {}
    box = Circuit().add_verbatim_box(Circuit().prx(9, 3.141592653589793, 0.0).cz(9, 4))
    result = AwsDevice(GARNET).emulator().run(box, shots=200).result()
    found["garnet"] = dict(result.measurement_counts)
    ions = Circuit().add_verbatim_box(Circuit().gpi(0, 0.0).zz(0, 1, 0.5))
    result = AwsDevice(FORTE).emulator().run(ions, shots=200).result()
    found["forte"] = dict(result.measurement_counts)
    return found


def atoms() -> dict[str, Any]:
    register = AtomArrangement().add([0.0, 0.0]).add([0.0, 2e-5])
    amplitude = TimeSeries().put(0.0, 0.0).put(1e-6, 6.28e6).put(2e-6, 0.0)
    flat = TimeSeries().put(0.0, 0.0).put(2e-6, 0.0)
    program = AnalogHamiltonianSimulation(
        register=register, hamiltonian=DrivingField(amplitude, flat, flat)
    )
    device = AwsDevice(AQUILA)
    result = device.run(program, shots=50).result()
    return {
        "shots": len(result.measurements),
        "sites": len(result.measurements[0].pre_sequence),
        "counts": dict(result.get_counts()),
        "width": float(device.properties.paradigm.lattice.area.width),
    }


def lifecycle() -> dict[str, Any]:
    """A long task runs, another waits behind it and is cancelled; then the long one is too."""
    layers = Circuit()
    for number in range(8):
        for qubit in range(12):
            layers.ry(qubit, 0.3 + number)
        for qubit in range(11):
            layers.cz(qubit, qubit + 1)
    device = AwsDevice(GARNET)
    first = device.run(layers, shots=5000)
    second = device.run(Circuit().h(0), shots=10)
    position = second.queue_position().queue_position
    waiting = {each.value: size for each, size in device.queue_depth().quantum_tasks.items()}
    second.cancel()
    first.cancel()
    first.state()
    try:
        second.cancel()
        again = "no failure"
    except ClientError as error:
        again = error.response["Error"]["Code"]
    client = AwsSession().braket_client
    filters = [{"name": "status", "operator": "EQUAL", "values": ["CANCELLED", "CANCELLING"]}]
    listed = client.search_quantum_tasks(filters=filters)["quantumTasks"]
    return {
        "position": position,
        "waiting": waiting,
        "second": second.state(),
        "result": second.result() is None,
        "again": again,
        "listed": sorted(each["quantumTaskArn"] for each in listed)
        == sorted([first.id, second.id]),
    }


def _refused(job: Callable[[], Any]) -> list[Any]:
    try:
        job()
    except ClientError as error:
        answer = error.response
        told = answer.get("programSetValidationFailures")
        return [answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], told]
    except ValueError as error:
        return ["ValueError", 0, str(error)]
    return ["accepted", 0, None]


def refusals() -> dict[str, Any]:
    garnet, simulator = AwsDevice(GARNET), AwsDevice(SV1)
    wide = Circuit()
    for qubit in range(25):
        wide.h(qubit)
    noisy = Circuit().h(0).bit_flip(0, 0.1)
    huge = Circuit()
    for qubit in range(40):
        huge.h(qubit)
    huge.expectation(Z(0))
    mixed = ProgramSet([Circuit().h(0), noisy], shots_per_executable=10)
    odd = _program("frobnicate q[0];\nb[0] = measure q[0];")
    conflict = _program(
        "#pragma braket result expectation x(q[0])\n#pragma braket result variance y(q[0])"
    )
    session = AwsSession()
    client, storage = session.braket_client, session.s3_client
    folder = {"outputS3Bucket": "some-bucket", "outputS3KeyPrefix": "tasks"}
    raw = {"deviceArn": GARNET, "shots": 10, **folder}
    kind = json.dumps({"braketSchemaHeader": {"name": "x"}})
    key = {"Bucket": "some-bucket", "Key": "tasks/x/results.json"}
    stranger = client.meta.config.__class__(retries={"max_attempts": 0})
    wrong = session.boto_session.client(
        "braket", aws_secret_access_key="wrong", aws_access_key_id=ACCESS_KEY, config=stranger
    )
    before = len(client.search_quantum_tasks(filters=[])["quantumTasks"])
    jobs: dict[str, Callable[[], Any]] = {
        "wide": lambda: garnet.run(wide, shots=10),
        "gate": lambda: garnet.run(odd, shots=10),
        "noise": lambda: garnet.run(noisy, shots=10),
        "set": lambda: garnet.run(mixed),
        "many": lambda: garnet.run(Circuit().h(0), shots=10**6),
        "zero": lambda: garnet.run(Circuit().h(0).probability([0]), shots=0),
        "conflict": lambda: simulator.run(conflict, shots=5),
        "partial": lambda: simulator.run(Circuit().h(0).cnot(0, 1).measure(0), shots=10),
        "vector": lambda: simulator.run(noisy, shots=10),
        "huge": lambda: simulator.run(huge, shots=0),
        "json": lambda: client.create_quantum_task(action="{", **raw),
        "kind": lambda: client.create_quantum_task(action=kind, **raw),
        "task": lambda: client.get_quantum_task(quantumTaskArn="arn:aws:braket:x:1:quantum-task/1"),
        "device": lambda: AwsDevice(GARNET.replace("Garnet", "Granite")),
        "read": lambda: storage.get_object(**key),
        "unmake": lambda: storage.delete_bucket(Bucket=key["Bucket"]),
        "stranger": lambda: wrong.get_device(deviceArn=GARNET),
    }
    found: dict[str, Any] = {name: _refused(job) for name, job in jobs.items()}
    after = len(client.search_quantum_tasks(filters=[])["quantumTasks"])
    return found | {"kept": after - before}


def _program(body: str) -> Program:
    return Program(source=f"OPENQASM 3.0;\nqubit[1] q;\nbit[1] b;\n{body}\n")


PARTS = (
    devices,
    asymmetric,
    bell,
    results_of_types,
    exact,
    program_set,
    verbatim,
    emulator,
    atoms,
    lifecycle,
    refusals,
)

if __name__ == "__main__":
    wanted = sys.argv[1:] or [each.__name__ for each in PARTS]
    sys.stdout.write(
        json.dumps({each.__name__: each() for each in PARTS if each.__name__ in wanted})
    )
