"""What mitigation makes of readings whose errors are known: no chance is in it but the flips."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit

from skerry.kernel.errors import SkerryError
from skerry.kinds.quantum.tests.wires.test_ibm import packed, written
from skerry.kinds.quantum.wires.ibm import options
from skerry.kinds.quantum.worker import mitigation, tensors
from skerry.kinds.quantum.worker.primitives import primitives


def test_readings_that_err_by_a_quarter_are_set_right_exactly() -> None:
    circuit = QuantumCircuit(2)
    circuit.x(1)
    asked = {"pubs": [[packed(written(circuit)), ["IZ", "ZI", "ZZ"], [], 512**-0.5]]}
    noise = options.noise({"resilience_level": 1}, "estimator")
    limits = {"labels": None, "seed": 1, "shots": 1, "precision": 0.1, "noise": noise}
    found = primitives({"program": "estimator", "params": asked, **limits})
    told = found["mitigation"]
    items = [
        _read(item, state) for item, state in zip(found["pubs"], ([0, 1], [0, 0]), strict=True)
    ]
    fields = mitigation.finished({"items": items, "tasks": told["tasks"]})[0]["fields"]
    assert fields["evs"]["values"] == pytest.approx([1.0, -1.0, -1.0])
    assert told["pubs"][0]["shots"] == 512


def _read(item: dict[str, Any], state: list[int]) -> dict[str, Any]:
    """Return readings of qubits in a state, a quarter of them wrong, each qubit in other shots."""
    flips = tensors.read(item["tensors"]["measurement_flips._meas"])
    shape = (*item["shape"], item["shots"], 2)
    shot = np.arange(item["shots"] * 16) % 16
    wrong = np.stack([shot % 4 == 0, shot // 4 == 0], axis=-1)[: item["shots"]]
    data = np.broadcast_to(np.array(state, dtype=bool) ^ wrong, shape) ^ flips
    return {"_meas": tensors.packed(data), **item["tensors"]}


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"options": {"resilience": {"pec_mitigation": True}}}, "pec_mitigation"),
        ({"options": {"resilience": {"zne_mitigation": True, "zne": {"amplifier": "pea"}}}}, "pea"),
        ({"resilience_level": 3}, "level 3"),
        ({"options": {"execution": {"init_qubits": False}}}, "init_qubits"),
        ({"options": {"simulator": {"noise_model": {}}}}, "noise_model"),
        (
            {"options": {"resilience": {"zne_mitigation": True, "zne": {"noise_factors": [1]}}}},
            "exponential needs at least 2",
        ),
    ],
)
def test_what_is_not_done_is_refused_by_name(params: dict[str, Any], name: str) -> None:
    with pytest.raises(SkerryError) as refused:
        options.noise(params, "estimator")
    assert name in f"{refused.value.what} {refused.value.why}"
