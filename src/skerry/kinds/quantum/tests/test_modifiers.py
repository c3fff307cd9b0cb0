"""Modifiers of gates and phases of all qubits, against Qiskit's own reading of the program."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from qiskit import qasm3
from qiskit.quantum_info import Operator

from skerry.kinds.quantum.worker.compiling import to_qiskit
from skerry.kinds.quantum.worker.ir import UnsupportedError
from skerry.kinds.quantum.worker.qasm import read

HEAD = """OPENQASM 3.0;
include "stdgates.inc";
gate turned(a) q { gphase(a); rx(a) q; s q; }
gate pair q, r { h q; gphase(0.3); cx q, r; rz(0.7) r; }
qubit[5] q;
"""
ONE = ("x", "h", "t", "sx", "rx(0.3)", "u2(0.4, 1.1)", "u3(0.2, 0.5, 0.9)", "turned(0.8)")
TWO = ("cx", "swap", "cp(0.6)", "cry(0.9)", "pair", "cu(0.3, 0.2, 0.9, 0.4)")


pytestmark = pytest.mark.filterwarnings("ignore:.*argument ``annotated``:DeprecationWarning")


def assert_means_what_qiskit_reads(program: str) -> None:
    """Compare two unitaries, up to a phase of all qubits."""
    mine = to_qiskit(read(HEAD + program, {}))
    assert Operator(mine).equiv(Operator(qasm3.loads(HEAD + program))), program


@pytest.mark.parametrize(
    "program",
    [
        "h q[0]; h q[1]; ctrl @ gphase(0.7) q[0]; ctrl(2) @ gphase(1.1) q[0], q[1]; h q[0];",
        "h q[0]; ctrl @ turned(0.8) q[0], q[1]; h q[0];",
        "h q[0]; negctrl @ inv @ u3(0.2, 0.5, 0.9) q[0], q[1]; h q[0];",
        "h q[0]; ctrl @ pair q[0], q[1], q[2];",
        "h q; ctrl(3) @ x q[0], q[1], q[2], q[3]; ctrl @ cswap q[0], q[1], q[2], q[3];",
        "h q; ctrl(2) @ U(0.3, 0.4, 0.5) q[4], q[1], q[0];",
        "h q; ctrl @ cu(0.3, 0.2, 0.9, 0.4) q[2], q[1], q[0];",
        "h q; pow(0.5) @ x q[0]; ctrl @ pow(0.25) @ x q[1], q[2]; pow(-0.5) @ s q[3];",
        "h q; pow(2.0) @ sx q[0]; pow(3) @ turned(0.8) q[1]; pow(0.5) @ U(0.3, 0.4, 0.5) q[2];",
    ],
)
def test_modified_gates_are_those_that_qiskit_reads(program: str) -> None:
    assert_means_what_qiskit_reads(program)


@given(
    st.lists(st.sampled_from(["ctrl", "negctrl", "inv", "pow(2)", "pow(-1)"]), max_size=3),
    st.sampled_from(ONE + TWO),
)
@example(["negctrl", "ctrl", "inv"], "swap")
@example(["ctrl", "pow(2)", "ctrl"], "u3(0.2, 0.5, 0.9)")
@settings(max_examples=25, deadline=None)
def test_modifiers_in_any_order_mean_what_qiskit_reads(modifiers: list[str], gate: str) -> None:
    count = 1 + (gate in TWO) + sum(each.endswith("ctrl") for each in modifiers)
    places = ", ".join(f"q[{at}]" for at in range(count))
    before = "h q; t q[0]; "
    assert_means_what_qiskit_reads(f"{before}{' @ '.join([*modifiers, gate])} {places};")


def test_a_rotation_of_two_qubits_is_controlled() -> None:
    """Qiskit's reader has no gates of this name; controlled by a 1 they are the plain gate."""
    for name in ("rxx", "ryy", "rzz"):
        given_one = to_qiskit(read(f"{HEAD}x q[0]; ctrl @ {name}(0.4) q[0], q[1], q[2];", {}))
        plain = to_qiskit(read(f"{HEAD}x q[0]; {name}(0.4) q[1], q[2];", {}))
        given_none = to_qiskit(read(f"{HEAD}x q[0]; negctrl @ {name}(0.4) q[0], q[1], q[2];", {}))
        start = [Operator(each).data[:, 0] for each in (given_one, plain, given_none)]
        assert abs(start[0].conj() @ start[1]) == pytest.approx(1)
        assert abs(start[2][1]) == pytest.approx(1)


def test_a_root_of_what_is_no_single_gate_is_refused_with_its_line() -> None:
    with pytest.raises(UnsupportedError, match="Powers that are no whole numbers") as refused:
        read(f"{HEAD}\npow(0.5) @ pair q[0], q[1];", {})
    assert refused.value.line == 7


def test_nothing_is_done_where_a_box_says_so() -> None:
    ops = read(f"{HEAD}box {{ nop q[1]; x q[0]; }}", {})["ops"]
    assert [op[0] for op in ops].count("x") == 1
    assert {op[0] for op in ops} <= {"barrier", "delay", "x"}
