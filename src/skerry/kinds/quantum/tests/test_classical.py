"""Programs that compute and repeat by measured bits, against what they must come to by hand."""

from __future__ import annotations

import json
import math
from itertools import product
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from skerry.kinds.quantum import twins
from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.worker import emitting, running
from skerry.kinds.quantum.worker.conditions import holds
from skerry.kinds.quantum.worker.ir import UnsupportedError
from skerry.kinds.quantum.worker.qasm import read

HEAD = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'
SHOTS = 200


def ran(source: str, device: str = "", **options: Any) -> dict[str, Any]:
    """Return a program's result on the simulator, or on a device's twin."""
    found = load.find(device) if device else None
    made = twins.for_worker(found, load.calibration(found.id)) if found else None
    made = options.pop("device_shape", made)
    shape = {"source": HEAD + source, "format": "openqasm3", "device": made, "seed": 3}
    return running.run({**shape, "shots": SHOTS, "memory_bytes": 1 << 30, **options})


def values(source: str, **options: Any) -> dict[str, set[int]]:
    """Return what numbers each register held, over all shots."""
    found = ran(source, **options)
    return {
        name: {int(bits[start : start + size][::-1], 2) for bits in found["counts"]}
        for name, start, size in found["registers"]
    }


UNTIL_SUCCESS = """
def segment(qubit[2] anc, qubit psi) -> bit[2] {
  bit[2] b;
  reset anc;
  h anc;
  ccx anc[0], anc[1], psi;
  s psi;
  ccx anc[0], anc[1], psi;
  z psi;
  h anc;
  measure anc -> b;
  return b;
}
qubit psi; qubit[2] ancilla; bit[2] flags = "11"; bit out;
reset psi;
h psi;
while (int[2](flags) != 0) { flags = segment(ancilla, psi); }
rz(pi - arccos(3 / 5)) psi;
h psi;
out = measure psi;
"""


@pytest.mark.parametrize("engine", ["statevector", "mps"])
def test_repeating_until_success_makes_the_rotation_that_it_promises(engine: str) -> None:
    assert values(UNTIL_SUCCESS, engine=engine) == {"flags": {0}, "out": {0}}


def test_a_loop_runs_on_the_twin_of_a_machine_that_repeats_and_on_no_other() -> None:
    found = ran(UNTIL_SUCCESS, "quantinuum-helios")
    assert sum(n for bits, n in found["counts"].items() if bits[2] == "1") < SHOTS * 0.1
    assert "while (" in found["compiled"]
    with pytest.raises(UnsupportedError, match="A loop that measured bits end") as refused:
        ran(UNTIL_SUCCESS, "ibm-boston")
    assert refused.value.line == 19


def test_phase_estimation_turns_back_by_the_angle_that_it_has_measured() -> None:
    source = """
const int n = 5;
qubit q; qubit r; angle[n] c; uint[n] power = 16;
x r;
for uint i in [0:n - 1] {
  c >>= 1;
  reset q;
  h q;
  ctrl @ pow(power) @ phase(2 * pi * NUMBER / 32) q, r;
  inv @ phase(c) q;
  h q;
  measure q -> c[n - 1];
  power >>= 1;
}
"""
    for number in (11, 22):
        assert values(source.replace("NUMBER", str(number))) == {"c": {number}}


@pytest.mark.parametrize("engine", ["", "statevector"])
def test_loops_count_skip_and_break_by_measured_bits(engine: str) -> None:
    source = """
qubit q; bit c; uint[4] n; uint[4] odd;
while (c == 0) {
  n += 1;
  if (n[0] == 0) { continue; }
  odd += 1;
  if (n == 7) break;
  reset q;
  c = measure q;
}
"""
    assert values(source, engine=engine) == {"c": {0}, "n": {7}, "odd": {4}}


def test_a_known_loop_ends_where_a_measured_bit_says() -> None:
    source = """
qubit q; bit c; uint[3] n;
for int i in [1:6] { reset q; x q; c = measure q; n += uint[3](c); if (n == 3) { break; } x q; }
bit last = measure q;
"""
    assert values(source) == {"c": {1}, "n": {3}, "last": {1}}


def test_subroutines_return_from_their_middle_and_take_measured_values() -> None:
    source = """
def majority(bit[3] v) -> bit {
  if (int(v[0]) + int(v[1]) + int(v[2]) >= 2) { return 1; }
  return 0;
}
def first(uint[2] n, qubit q) -> uint[2] {
  for uint[2] i in [0:3] { if (i == n) { x q; return i + 1; } }
  return 0;
}
qubit[4] q; bit[3] c; bit most; uint[2] n; uint[2] found; bit turned;
x q[1]; x q[2];
c = measure q[0:2];
most = majority(c);
n = c[1:2] - 1;
found = first(n, q[3]);
turned = measure q[3];
"""
    assert values(source) == {"c": {6}, "most": {1}, "n": {2}, "found": {3}, "turned": {1}}


def test_ranges_and_cases_by_measured_numbers() -> None:
    """Each number of quarter turns is undone by its own case."""
    source = """
qubit[3] q; bit[2] c; bit out;
h q[0]; h q[1];
c = measure q[0:1];
for uint i in [0:c] { ry(pi / 4) q[2]; }
switch (uint[2](c)) {
  case 0 { ry(-pi / 4) q[2]; }
  case 1 { ry(-pi / 2) q[2]; }
  case 2, 3 { if (c[0]) { ry(-pi) q[2]; } else { ry(-3 * pi / 4) q[2]; } }
}
out = measure q[2];
"""
    assert values(source) == {"c": {0, 1, 2, 3}, "out": {0}}


def test_only_outputs_are_told_where_a_program_names_them() -> None:
    source = (
        "qubit[2] q; bit[2] c; output uint[4] twice; x q[1]; c = measure q; twice = c; twice *= 2;"
    )
    found = ran(source)
    assert found["registers"] == [["twice", 0, 4]]
    assert found["counts"] == {"0010": SHOTS}
    assert found["measured"] == [-1] * 4


def test_arrays_are_computed_with_before_anything_runs() -> None:
    source = """
array[float, 2, 2] turns = {{0.5, 0.25}, {1.0, -0.25}};
array[uint[8], 3] sizes = {5, 6, 7};
def twice(mutable array[uint[8], #dim=1] it) {
  for int i in [0:sizeof(it) - 1] { it[i] = 2 * it[i]; }
}
twice(sizes);
turns[0] = turns[1];
qubit q;
rx(pi * (turns[0, 0] + turns[0, 1] + turns[1, 1])) q;
for uint[8] each in sizes[1:2] { rx(pi / each) q; }
"""
    angles = [op[2][0] for op in read(HEAD + source, {})["ops"]]
    assert angles == pytest.approx([math.pi / 2, math.pi / 12, math.pi / 14])


def test_a_body_for_an_external_function_makes_its_program_run() -> None:
    """The gate teleportation of OpenQASM's examples, whose vote is left to its reader there."""
    source = """
extern vote(bit[3]) -> bit;
def vote(bit[3] c) -> bit { return c[0] & c[1] | c[1] & c[2] | c[0] & c[2]; }
def logical(qubit[3] d) -> bit { bit[3] c; bit r; measure d -> c; r = vote(c); return r; }
qubit[3] q; qubit[3] a; bit r;
x a[0]; x a[2];
r = logical(a);
if (r == 1) x q;
bit[3] out = measure q;
"""
    assert values(source) == {"r": {1}, "out": {7}}


def test_what_is_written_of_a_circuit_that_repeats_means_the_same() -> None:
    circuit = read(HEAD + UNTIL_SUCCESS, {})
    again = read(emitting.openqasm3(circuit), {})
    loops = [next(op for op in each["ops"] if op[0] == "while") for each in (circuit, again)]
    for bits in product([False, True], repeat=2):
        assert [holds(each[2][0], bits) for each in loops] == [any(bits)] * 2
    assert [op[0] for op in loops[0][2][1]] == [op[0] for op in loops[1][2][1]]
    with pytest.raises(UnsupportedError, match="nothing that measured bits decide"):
        emitting.openqasm2(circuit)


def test_loops_and_stores_of_qiskits_circuits_are_run() -> None:
    from qiskit import QuantumCircuit
    from qiskit.circuit.classical import expr

    from skerry.kinds.quantum.worker.qpy import circuit_of

    made = QuantumCircuit(1, 3)
    with made.while_loop(expr.logic_not(made.clbits[0])):
        made.x(0)
        made.measure(0, 0)
        made.store(made.clbits[1], expr.logic_not(made.clbits[1]))
    made.store(made.clbits[2], expr.bit_xor(made.clbits[0], expr.lift(False)))
    circuit = circuit_of(made)
    found = running.run(
        {"source": json.dumps(circuit), "format": "circuit", "device": None}
        | {"shots": 10, "seed": 1, "memory_bytes": 1 << 30}
    )
    assert found["counts"] == {"111": 10}


def test_a_loop_without_end_is_stopped() -> None:
    source = "qubit q; bit c;\nwhile (c == 0) { reset q; GATE c = measure q; }\n"
    for gate in ("", "ry(0.0) q;"):
        with pytest.raises(UnsupportedError, match="did not end within 4096 rounds"):
            ran(source.replace("GATE", gate), shots=1)


EXPRESSIONS = st.recursive(
    st.sampled_from(["a", "b", "1", "3", "6"]),
    lambda inner: st.tuples(st.sampled_from(["+", "-", "*", "&", "|", "^"]), inner, inner).map(
        lambda each: f"({each[1]} {each[0]} {each[2]})"
    ),
    max_leaves=5,
)


@given(EXPRESSIONS, EXPRESSIONS, st.sampled_from(["<", "<=", "==", "!=", ">"]))
@example("(a | (a - 1))", "a", "<")
@example("((a - b) ^ 6)", "(3 & (b - a))", ">")
@settings(max_examples=25, deadline=None)
def test_measured_numbers_are_computed_as_known_ones_are(one: str, other: str, sign: str) -> None:
    """Every value of two registers is prepared, measured and computed with, in one circuit each."""
    for number in (0, 5, 10, 15):
        flips = "".join(f"x q[{at}];" for at in range(4) if number >> at & 1)
        source = f"""
qubit[4] q; uint[2] a; uint[2] b; int[8] sum; bool less;
{flips}
a = measure q[0:1]; b = measure q[2:3];
sum = {one}; less = {one} {sign} {other};
"""
        names = {"a": number & 3, "b": number >> 2}
        expected = eval(f"({one}), {one} {sign} {other}", names)  # of the letters above alone
        found = values(source, shots=1)
        assert found.get("sum", {expected[0] % 256}) == {expected[0] % 256}
        assert found.get("less", {expected[1]}) == {expected[1]}
