"""Drives PennyLane through amazon-braket-pennylane-plugin: a value and its gradient on a twin."""

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

    def first() -> object:
        qml.PauliX(0)
        return qml.counts()

    def product() -> object:
        qml.Hadamard(0)
        qml.CNOT([0, 1])
        return qml.expval(qml.PauliX(0) @ qml.PauliX(1))

    def turned(angle: float) -> object:
        qml.RX(angle, wires=0)
        return qml.expval(qml.PauliZ(0))

    counts, mean = qml.QNode(first, ideal)(), qml.QNode(product, ideal)()
    node = qml.QNode(turned, twin, diff_method="parameter-shift")
    angle = np.array(0.5, requires_grad=True)
    found = {
        "asymmetric": {key: int(value) for key, value in counts.items()},
        "product": float(mean),
        "value": float(node(angle)),
        "gradient": float(qml.grad(node)(angle)),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
