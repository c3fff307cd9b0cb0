"""IBM's executor: what a samplex may hold, and what is refused of it."""

from __future__ import annotations

import base64
import io
import json
import pickle
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit, qpy
from qiskit.circuit import Parameter
from samplomatic import build
from samplomatic.serialization import samplex_to_json
from samplomatic.transpiler import generate_boxing_pass_manager

from skerry.kinds.quantum.worker import tensors
from skerry.kinds.quantum.worker.ir import UnsupportedError
from skerry.kinds.quantum.worker.primitives import primitives

ANGLES = np.array([[0.3], [1.2]])


def call() -> dict[str, Any]:
    """Return a call of the executor: 3 randomisations of a twirled circuit at 2 angles."""
    circuit = QuantumCircuit(2)
    circuit.rx(Parameter("angle"), 0)
    circuit.cz(0, 1)
    circuit.measure_all()
    template, samplex = build(generate_boxing_pass_manager().run(circuit))
    file = io.BytesIO()
    qpy.dump([template], file, version=17)
    item = {
        "item_type": "samplex",
        "samplex": {"ssv": 4, "samplex_json": samplex_to_json(samplex, None, 4)},
        "samplex_arguments": {"parameter_values": tensors.packed(ANGLES)},
        "shape": [3, 2],
    }
    packed = base64.b64encode(zlib.compress(file.getvalue())).decode()
    program = {"shots": 10, "circuits": {"b64_data": packed}, "items": [item]}
    return {"schema_version": "v2.0", "quantum_program": program, "options": {}}


def made(asked: dict[str, Any], seed: int = 1) -> dict[str, Any]:
    return primitives({"program": "executor", "params": asked, "labels": None, "seed": seed})


def test_every_randomisation_is_an_execution_and_the_flips_come_back() -> None:
    found = made(call())
    item = found["pubs"][0]
    assert (item["shape"], len(item["programs"])) == ([3, 2], 6)
    flips = tensors.read(item["tensors"]["measurement_flips.meas"])
    assert (flips.shape, flips.dtype) == ((3, 2, 1, 2), bool)
    rows = found["programs"][0]["bindings"]
    assert len({json.dumps(row) for row in rows}) == 6
    assert made(call()) == found, "the same seed draws the same"
    assert made(call(), 2) != found


def with_samplex(change: Any) -> dict[str, Any]:
    asked = call()
    item = asked["quantum_program"]["items"][0]
    found = json.loads(item["samplex"]["samplex_json"])
    change(found)
    item["samplex"]["samplex_json"] = json.dumps(found)
    return asked


def table(data: bytes) -> Any:
    """Return a change that puts other bytes where a samplex has its expressions."""
    text = json.dumps({"id": "P", "ssv": "4", "circuit_base64": base64.b64encode(data).decode()})
    return lambda found: found["attrs"].update(param_table=text)


def old(version: int) -> bytes:
    file = io.BytesIO()
    qpy.dump(QuantumCircuit(1), file, version=17)
    data = file.getvalue()
    return data[:6] + bytes([version]) + data[7:]


def bomb() -> dict[str, Any]:
    asked = call()
    data = base64.b64encode(zlib.compress(bytes(64 << 20))).decode()
    tensor = {"data": data, "shape": [8 << 20], "dtype": "f64"}
    asked["quantum_program"]["items"][0]["samplex_arguments"]["parameter_values"] = tensor
    return asked


def shaped(shape: list[int]) -> dict[str, Any]:
    asked = call()
    asked["quantum_program"]["items"][0]["shape"] = shape
    return asked


def without_nodes(found: dict[str, Any]) -> None:
    found["nodes"] = found["nodes"][:1]


REFUSED: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "a pickle": (lambda: with_samplex(table(pickle.dumps(["x"]))), "not QPY"),
    "old expressions": (lambda: with_samplex(table(old(12))), "version 12"),
    "half of it": (lambda: with_samplex(without_nodes), ""),
    "a bomb": (bomb, "at most 16 MiB"),
    "too many": (lambda: shaped([5000, 2]), "at most 4096 circuits"),
    "another shape": (lambda: shaped([3, 3]), "malformed"),
    "no shape": (lambda: shaped([-1]), "above 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_samplex_is_refused(name: str) -> None:
    asked, reason = REFUSED[name]
    with pytest.raises(UnsupportedError) as caught:
        made(asked())
    assert reason in f"{caught.value.what} {caught.value.why}"


def test_options_that_would_change_the_answer_are_refused_by_name() -> None:
    asked = call()
    asked["options"] = {"scheduler_timing": True}
    with pytest.raises(UnsupportedError, match="scheduler_timing"):
        made(asked)
