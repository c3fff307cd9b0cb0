"""Gradients of expectations: against differences of exact expectations, and what has none."""

from __future__ import annotations

from typing import Any

import pytest

from skerry.kinds.quantum.worker import exact, exactly
from skerry.kinds.quantum.worker.ir import UnsupportedError

GATES = (
    "qubit[3] q;\nh q[0]; rx(a * 2 + b) q[0]; ctrl @ ry(b / 3) q[0], q[1]; xx(a) q[1], q[2];\n"
    "prx(a, b) q[2]; U(a, b, 0.3) q[1]; pow(3) @ rz(b) q[0]; inv @ phaseshift(a * b) q[1];\n"
    "cphaseshift(sin(a)) q[0], q[2]; ms(a, b, 0.2) q[0], q[1]; gpi2(b) q[2]; xy(a) q[0], q[1];\n"
    "negctrl @ x q[1], q[2]; pow(2) @ prx(b, a) q[0];\n"
)
TERMS = ((0.5, "x(q[0]) @ z(q[1])"), (-2.0, "h(q[2])"), (1.0, "y(q[1]) @ y(q[2])"))
POINT = {"a": 0.37, "b": -0.81}
STEP = 1e-4


def run(body: str, values: dict[str, float], result: str, **options: Any) -> Any:
    inputs = "".join(f"input float {name};\n" for name in values)
    asked = {
        "source": f"OPENQASM 3.0;\n{inputs}{body}\n#pragma braket result {result}\n",
        "format": "openqasm3",
        "bindings": values,
        "shots": 0,
        "seed": 1,
        "memory_bytes": 1 << 30,
        "engine": exactly.VECTOR,
    }
    return exact.run(asked | options)["values"][0]


def expectation(values: dict[str, float]) -> float:
    found = (run(GATES, values, f"expectation {text}")["value"] for _, text in TERMS)
    return float(sum(w * value for (w, _), value in zip(TERMS, found, strict=True)))


def test_a_gradient_is_how_the_expectation_changes() -> None:
    text = "0.5 * x(q[0]) @ z(q[1]) - 2 * h(q[2]) + y(q[1]) @ y(q[2])"
    found = run(GATES, POINT, f"adjoint_gradient expectation({text}) all")
    assert found["type"] == {
        "type": "adjoint_gradient",
        "observable": "0.5 * x @ z - 2 * h + y @ y",
        "targets": [[0, 1], [2], [1, 2]],
        "parameters": ["a", "b"],
    }
    assert found["value"]["expectation"] == pytest.approx(expectation(POINT), abs=1e-12)
    for name, slope in found["value"]["gradient"].items():
        more, less = (expectation(POINT | {name: POINT[name] + by}) for by in (STEP, -STEP))
        assert slope == pytest.approx((more - less) / (2 * STEP), abs=1e-6)


REFUSED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "no input nope": ("rx(a) q;", "adjoint_gradient expectation(z(q)) nope", {}),
    "has no gradient": ("rx(a) q;", "adjoint_gradient expectation(hermitian([[1]]) q) a", {}),
    "names no qubit": ("rx(a) q;", "adjoint_gradient expectation(z(q[1])) a", {}),
    "only result type": (
        "rx(a) q;",
        "adjoint_gradient expectation(z(q)) a\n#pragma braket result probability",
        {},
    ),
    "no noise": (
        "rx(a) q;\n#pragma braket noise bit_flip(0.1) q",
        "adjoint_gradient expectation(z(q)) a",
        {},
    ),
    "resets no qubit": ("rx(a) q;\nreset q;", "adjoint_gradient expectation(z(q)) a", {}),
    "without shots": ("rx(a) q;", "adjoint_gradient expectation(z(q)) a", {"shots": 5}),
    "on a state vector": (
        "rx(a) q;",
        "adjoint_gradient expectation(z(q)) a",
        {"engine": exactly.DENSITY},
    ),
    "are free": ("rx(a) q;", "adjoint_gradient expectation(z(q)) a", {"memory_bytes": 9}),
    "cannot be read": ("pow(a) @ rx(a) q;", "adjoint_gradient expectation(z(q)) a", {}),
}


@pytest.mark.parametrize("word", REFUSED)
def test_what_has_no_gradient_is_refused_with_the_reason(word: str) -> None:
    body, result, options = REFUSED[word]
    with pytest.raises(UnsupportedError) as refused:
        run(f"qubit q;\n{body}", {"a": 0.2}, result, **options)
    assert word in f"{refused.value.what} {refused.value.why}"
