"""Drives PennyLane through Amazon's plug-in: an expectation and its gradient on a twin."""

from __future__ import annotations

import json
import sys

import pennylane as qml
from pennylane import numpy as np

GARNET = "arn:aws:braket:eu-north-1::device/qpu/iqm/Garnet"
SV1 = "arn:aws:braket:::device/quantum-simulator/amazon/sv1"


def main() -> None:
    """Measure three things; parameters of the gradient travel as a program set."""
    ideal = qml.device("braket.aws.qubit", device_arn=SV1, wires=3, shots=2000)
    twin = qml.device("braket.aws.qubit", device_arn=GARNET, wires=2, shots=1000)

    @qml.qnode(ideal)
    def first() -> object:
        qml.PauliX(0)
        return qml.counts()

    @qml.qnode(ideal)
    def product() -> object:
        qml.Hadamard(0)
        qml.CNOT([0, 1])
        return qml.expval(qml.PauliX(0) @ qml.PauliX(1))

    @qml.qnode(twin, diff_method="parameter-shift")
    def turned(angle: float) -> object:
        qml.RX(angle, wires=0)
        return qml.expval(qml.PauliZ(0))

    angle = np.array(0.5, requires_grad=True)
    found = {
        "asymmetric": {key: int(value) for key, value in first().items()},
        "product": float(product()),
        "value": float(turned(angle)),
        "gradient": float(qml.grad(turned)(angle)),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
