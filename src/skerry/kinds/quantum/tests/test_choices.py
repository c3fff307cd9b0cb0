"""Circuits that decide while they run: read, compiled, with noise, on every engine that can."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.kinds.quantum import twins
from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.worker import conditions, emitting, natives, running
from skerry.kinds.quantum.worker.ir import Circuit, UnsupportedError, flat, matrix, multiply
from skerry.kinds.quantum.worker.qasm import read

HEAD = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'
TELEPORT = (
    HEAD + "qubit[3] q; bit[2] c; bit out;\nPREPARE q[0];\nh q[1]; cx q[1], q[2];\n"
    "cx q[0], q[1]; h q[0];\nc[0] = measure q[0]; c[1] = measure q[1];\n"
    "if (c[1]) { x q[2]; }\nif (c[0] == 1) { z q[2]; }\nUNDO q[2];\nout = measure q[2];\n"
)
TURNED = TELEPORT.replace("PREPARE", "ry(1.2)").replace("UNDO", "ry(-1.2)")
FLIPPED = TELEPORT.replace("PREPARE", "x").replace("UNDO", "x")
SHOTS = 1000
QEC = """
qubit[3] q; qubit[2] a; bit[3] c; bit[2] syn;
def syndrome(qubit[3] d, qubit[2] a) -> bit[2] {
  bit[2] b;
  cx d[0], a[0]; cx d[1], a[0]; cx d[1], a[1]; cx d[2], a[1];
  measure a -> b;
  return b;
}
x q[WHICH];
syn = syndrome(q, a);
if (int[2](syn) == 1) x q[0];
if (int[2](syn) == 2) x q[2];
if (int[2](syn) == 3) x q[1];
c = measure q;
"""


def asked(source: str, device: str = "", **options: Any) -> dict[str, Any]:
    found = load.find(device) if device else None
    made = twins.for_worker(found, load.calibration(found.id)) if found else None
    shape = {"source": source, "format": "openqasm3", "device": made, "shots": SHOTS, "seed": 5}
    return {**shape, "memory_bytes": 1 << 30, **options}


def wrong(found: dict[str, Any]) -> float:
    """Return how often the last bit is 1."""
    return float(sum(n for bits, n in found["counts"].items() if bits[-1] == "1") / SHOTS)


@pytest.mark.parametrize("engine", ["statevector", "mps", "density-matrix"])
def test_a_teleported_state_arrives_on_every_engine(engine: str) -> None:
    found = running.run(asked(TURNED, engine=engine))
    assert wrong(found) == 0
    assert len(found["counts"]) == 4
    assert found["engine"] == engine


def test_clifford_gates_go_to_stim_and_agree_with_a_state_vector_about_noise() -> None:
    planned = running.plan(asked(FLIPPED, "ibm-torino"))
    assert planned["engine"] == "stim"
    found = [running.run(asked(FLIPPED, "ibm-torino", engine=e)) for e in ("", "statevector")]
    one, other = map(wrong, found)
    # Five standard deviations of a difference of two such shares.
    assert abs(one - other) < 5 * math.sqrt(2 * 0.15 * 0.85 / SHOTS)
    assert 0.02 < one < 0.3
    assert "if (c[1]) {" in found[0]["compiled"]


def test_a_wrongly_read_bit_decides_wrongly() -> None:
    source = HEAD + "qubit[2] q; bit c; bit out;\nc = measure q[0];\nif (c) { x q[1]; }\n"
    source += "out = measure q[1];\n"
    made = asked(source, engine="stim")
    made["device"] = {"id": "d", "native": ["rz", "sx", "x", "cz"], "labels": ["0", "1"]}
    made["device"] |= {"pairs": {"0-1": 0.0}, "feedforward": "any"}
    made["device"]["one"] = {"0": {"r01": 0.5}, "1": {}}
    for engine in ("stim", "statevector"):
        counts = running.run(made | {"engine": engine, "layout": ["0", "1"]})["counts"]
        assert set(counts) == {"00", "11"}
        assert counts["11"] == pytest.approx(SHOTS / 2, abs=80)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_subroutine_finds_the_error_and_a_choice_mends_it(place: int) -> None:
    found = running.run(asked(HEAD + QEC.replace("WHICH", str(place))))
    assert {bits[:3] for bits in found["counts"]} == {"000"}
    assert [name for name, _, _ in found["registers"]] == ["c", "syn"]


@pytest.mark.parametrize("device", ["ibm-boston", "quantinuum-h2-1", "iqm-garnet"])
def test_machines_that_decide_have_twins_that_do(device: str) -> None:
    assert wrong(running.run(asked(TURNED, device))) < 0.15


@pytest.mark.parametrize("device", ["ibm-miami", "ionq-forte-enterprise-1", "google-willow"])
def test_all_others_refuse_with_the_line(device: str) -> None:
    with pytest.raises(UnsupportedError, match=f"cannot run on {device}") as refused:
        running.plan(asked(TURNED, device))
    assert refused.value.line == 8


def test_a_machine_of_conditional_pulses_refuses_more_than_these() -> None:
    for body, word in (("cz q[0], q[1];", "cz cannot"), ("reset q[0];", "reset cannot")):
        with pytest.raises(UnsupportedError, match=word) as refused:
            running.plan(
                asked(
                    f"{HEAD}qubit[2] q; bit[2] c;\nc = measure q;\nif (c[0]) {{ {body} }}",
                    "iqm-garnet",
                )
            )
        assert refused.value.why.startswith("Only prx")
        assert refused.value.line == 5
    both = f"{HEAD}qubit[2] q; bit[2] c;\nc = measure q;\nif (c == 3) {{ x q[0]; }}"
    with pytest.raises(UnsupportedError, match="one measured bit"):
        running.plan(asked(both, "iqm-garnet"))


def test_estimates_take_the_worse_branch() -> None:
    body = "c = measure q[0];\nif (c) { cz q[0], q[1]; cz q[0], q[1]; x q[1]; } else { CZ }\n"
    both, one = (
        running.plan(asked(f"{HEAD}qubit[2] q; bit c;\n{text}", "ibm-boston", optimisation=0))
        for text in (body.replace("CZ", "x q[1]; x q[1]; x q[1];"), body.replace("CZ", ""))
    )
    assert (both["one_qubit_gates"], both["two_qubit_gates"]) == (3, 2)
    assert (one["one_qubit_gates"], one["two_qubit_gates"]) == (1, 2)
    assert both["depth"] == one["depth"] == 3
    assert both["fidelity"] <= one["fidelity"] < 1


def test_the_phase_that_a_branch_owes_is_paid_in_it() -> None:
    """Compiled for a machine without z pulses, each branch does what it did before."""
    inner = [["rz", [0], [0.7]], ["rx", [0], [0.4]], ["rz", [0], [1.1]]]
    ops = [["rz", [0], [0.3]], ["if", [0], [["bit", 0], inner, [], 0]], ["rx", [0], [0.9]]]
    circuit: Circuit = {"qubits": 1, "bits": 1, "registers": [], "ops": ops}
    made = natives.renamed(circuit, ("prx", "cz"))["ops"]
    for taken in (1, 2):
        before, after = (unitary(_way(each, taken)) for each in (ops, made))
        # What is owed at the end is a rotation about z: no reading tells it.
        assert [abs(v) for row in after for v in row] == pytest.approx(
            [abs(v) for row in before for v in row]
        )


def _way(ops: list[Any], taken: int) -> list[Any]:
    return [each for op in ops for each in (op[2][taken] if op[0] == "if" else [op])]


def unitary(ops: list[Any]) -> list[list[complex]]:
    found: list[list[complex]] = [[1, 0], [0, 1]]
    for name, _, params in ops:
        found = multiply(matrix(name, params), found)
    return found


MEANINGS: list[tuple[str, Callable[[int], bool]]] = [
    ("c == 5", lambda c: c == 5),
    ("c != 0", lambda c: c != 0),
    ("c", bool),
    ("!c[0] && (c[1] || c[2])", lambda c: not c & 1 and bool(c & 6)),
    ("c < 3", lambda c: c < 3),
    ("~c[1]", lambda c: not c & 2),
    ("~c == 2", lambda c: c == 5),
    ("c - 5 > -3", lambda c: c > 2),
    ("3 * c >= 8", lambda c: 3 * c >= 8),
    ("popcount(c) == 2", lambda c: c.bit_count() == 2),
    ("c[1:2] == 2", lambda c: c >> 1 == 2),
    ("(c << 1) == 4", lambda c: c in (2, 6)),
    ("c % 4 == 1", lambda c: c % 4 == 1),
    ("int(c[0]) + int(c[1]) + int(c[2]) >= 2", lambda c: c.bit_count() >= 2),
    ("c[0] ^ c[2]", lambda c: (c ^ c >> 2) & 1 == 1),
    ("uint[3](c) + 1 >= 4", lambda c: c + 1 >= 4),
    ("(c & 3) == n", lambda c: c & 3 == 2),
]


def decides(circuit: Circuit, bits: tuple[bool, ...]) -> bool:
    """Return what a circuit's choice is for bits, after what it computes of them."""
    every = [*bits, *[False] * (circuit["bits"] - len(bits))]
    for name, _, params in circuit["ops"]:
        if name == "if":
            return conditions.holds(params[0], every)
        every[params[0]] = conditions.holds(params[1], every)
    raise AssertionError("nothing is decided")


@pytest.mark.parametrize(("text", "meaning"), MEANINGS)
def test_conditions_mean_what_they_say_and_are_written_as_they_are(
    text: str, meaning: Callable[[int], bool]
) -> None:
    source = f"{HEAD}int n = 2; qubit q; bit[3] c;\nif ({text}) {{ x q; }} else {{ y q; }}\n"
    circuit = read(source, {})
    again = read(emitting.openqasm3(circuit), {})
    for each in (circuit, again):
        for bits in product([False, True], repeat=3):
            number = sum(bit << at for at, bit in enumerate(bits))
            assert decides(each, bits) == meaning(number)
    passed = running.parsed({"source": json.dumps(circuit), "format": "circuit"})
    assert [op[0] for op in flat(passed["ops"]) if op[0] != "set"] == ["x", "y"]


@pytest.mark.parametrize(
    "condition", [[], ["bit", 3], ["not"], ["xor", ["bit", 0]], ["bit", True, 1], "c", [["bit", 0]]]
)
def test_conditions_from_outside_that_are_none_are_refused(condition: Any) -> None:
    ops = [["if", [0], [condition, [["x", [0], []]], [], 0]]]
    text = json.dumps({"qubits": 1, "bits": 1, "ops": ops})
    with pytest.raises(UnsupportedError, match="not a circuit in JSON"):
        running.parsed({"source": text, "format": "circuit"})


TREES = st.recursive(
    st.integers(0, 3).map(lambda bit: ["bit", bit]),
    lambda inner: (
        inner.map(lambda each: ["not", each])
        | st.lists(inner, max_size=3).map(lambda each: ["and", *each])
        | st.lists(inner, max_size=3).map(lambda each: ["or", *each])
        | st.tuples(inner, inner).map(lambda each: ["xor", *each])
    ),
    max_leaves=8,
)


def test_expressions_of_qiskit_are_computed_with_registers_as_numbers() -> None:
    from qiskit import ClassicalRegister
    from qiskit.circuit.classical import expr

    from skerry.kinds.quantum.worker import qiskit_conditions

    register = ClassicalRegister(3)
    meanings: list[tuple[Any, Callable[[int], bool]]] = [
        (expr.less(register, 3), lambda c: c < 3),
        (expr.equal(expr.bit_and(register, 3), 1), lambda c: c & 3 == 1),
        (expr.equal(expr.bit_not(register), 2), lambda c: c == 5),
        (expr.not_equal(register, 6), lambda c: c != 6),
        (expr.index(register, 1), lambda c: c & 2 == 2),
        ((register, 4), lambda c: c == 4),
        ((register[2], 0), lambda c: not c & 4),
    ]
    for asked_for, meaning in meanings:
        found = qiskit_conditions.read(asked_for, list(register).index)
        for bits in product([False, True], repeat=3):
            number = sum(bit << at for at, bit in enumerate(bits))
            assert conditions.holds(found, bits) == meaning(number)
    with pytest.raises(UnsupportedError, match="Float"):
        qiskit_conditions.read(expr.less(expr.lift(1.5), 2.0), list(register).index)


@given(TREES)
@settings(max_examples=60, deadline=None)
def test_conditions_go_through_qiskit_and_back(tree: Any) -> None:
    from qiskit import QuantumCircuit

    from skerry.kinds.quantum.worker import qiskit_conditions

    bits = QuantumCircuit(0, 4).clbits
    there = qiskit_conditions.written(tree, bits)
    back = qiskit_conditions.read(there, bits.index)
    for values in product([False, True], repeat=4):
        assert conditions.holds(tree, values) == conditions.holds(back, values)


@pytest.mark.parametrize(
    ("qubits", "engine"), [(3, "density-matrix"), (8, "statevector"), (12, "mps")]
)
def test_the_engine_for_choices_with_noise_fits_their_size(qubits: int, engine: str) -> None:
    chain = "".join(f"cx q[{at}], q[{at + 1}];" for at in range(qubits - 1))
    body = f"qubit[{qubits}] q; bit c; ry(0.3) q[0]; {chain} c = measure q[0];\n"
    planned = running.plan(asked(f"{HEAD}{body}if (c) {{ ry(0.4) q[1]; }}", "quantinuum-h2-1"))
    assert planned["engine"] == engine
