"""Programs: parsed, refused with their line, written in dialects, compiled without a change."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.kinds.quantum import twins
from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.tests.circuits import distance, probabilities
from skerry.kinds.quantum.worker import emitting, running
from skerry.kinds.quantum.worker.checking import checked
from skerry.kinds.quantum.worker.compiling import compiled
from skerry.kinds.quantum.worker.devices import device
from skerry.kinds.quantum.worker.ir import ARITY, Circuit, UnsupportedError, matrix, measured
from skerry.kinds.quantum.worker.names import inverse
from skerry.kinds.quantum.worker.qasm import read
from skerry.kinds.quantum.worker.running import with_readout

HEAD = 'OPENQASM 3.0; include "stdgates.inc"; qubit[3] q; bit[3] c;\n'
MIXED = (
    "h q[0]; cx q[0], q[1]; rx(0.7) q[2]; cp(1.1) q[1], q[2]; ry(0.4) q[1]; swap q[0], q[2];"
    "u3(0.3, 0.2, 0.9) q[0]; ccx q[0], q[1], q[2]; crz(0.3) q[0], q[1]; iswap q[0], q[2]; h q;"
    "c = measure q;"
)
NATIVE_SETS = {
    each.native_gates: each.id
    for each in load.devices().values()
    if each.twin and each.native_gates
}


def test_it_unrolls_loops_gates_modifiers_and_inputs() -> None:
    text = (
        "input float theta; const int n = 2; gate pair(a) x, y { cx x, y; rz(a / 2) y; }"
        "pair(theta * 2) q[0], q[1]; for int i in [0:n] { rx(i * pi / 2) q[i]; }"
        "inv @ pow(2) @ s q[0]; negctrl @ x q[0], q[1]; let last = q[1:2]; h last;"
        "if (n == 2) { x q[2]; } barrier q; delay[100ns] q[0]; reset q[1]; c[1] = measure q[2];"
    )
    found = read(HEAD + text, {"theta": 0.5})
    assert found["ops"] == [
        ["cx", [0, 1], []],
        ["rz", [1], [0.5]],
        ["rx", [0], [0.0]],
        ["rx", [1], [math.pi / 2]],
        ["rx", [2], [math.pi]],
        ["sdg", [0], []],
        ["sdg", [0], []],
        ["x", [0], []],
        ["cx", [0, 1], []],
        ["x", [0], []],
        ["h", [1], []],
        ["h", [2], []],
        ["x", [2], []],
        ["barrier", [0, 1, 2], []],
        ["delay", [0], [pytest.approx(1e-7)]],
        ["reset", [1], []],
        ["measure", [2], [1]],
    ]
    assert measured(found) == [-1, 2, -1]


def test_it_reads_openqasm_2_and_brakets_dialect() -> None:
    old = read(
        'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2];'
        "u2(0, pi) q[0]; CX q[0], q[1]; measure q -> c;",
        {},
    )
    assert [op[0] for op in old["ops"]] == ["u", "cx", "measure", "measure"]
    braket = read(
        "OPENQASM 3.0; bit[2] b;\n#pragma braket verbatim\nbox { prx(1.5, 0.2) $3; cz $3, $7; }"
        "\n#pragma braket result probability\nb[0] = measure $3; b[1] = measure $7;",
        {},
    )
    assert braket["labels"] == ["3", "7"]
    assert braket["verbatim"]
    assert braket["pragmas"] == ["braket result probability"]
    assert read("OPENQASM 3; qubit q; si q; v q; phaseshift(1) q;", {})["ops"][0][0] == "sdg"


def test_a_program_that_measures_nothing_is_measured() -> None:
    found = with_readout(read("OPENQASM 3; qubit[2] q; h q[0];", {}))
    assert found["registers"] == [["meas", 0, 2]]
    assert [op for op in found["ops"] if op[0] == "measure"] == [
        ["measure", [0], [0]],
        ["measure", [1], [1]],
    ]


@pytest.mark.parametrize("declared", ["", "bit[2] b; "])
def test_what_is_measured_for_later_pulses_is_no_result(declared: str) -> None:
    """The first qubit is 1, so that the pulse after it turns the second one on."""
    source = f"{declared}prx(pi, 0) $0; measure_ff(7) $0; cc_prx(pi, 0, 7) $1;"
    found = running.run(
        {"source": f"OPENQASM 3; {source}", "format": "openqasm3", "device": None}
        | {"shots": 20, "seed": 1, "memory_bytes": 1 << 30}
    )
    assert found["registers"][-1][0] == "meas"
    assert found["counts"] == {f"{'00' if declared else ''}11": 20}


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("OPENQASM 3;\nqubit q;\nfoo q;", 3, "foo"),
        ("OPENQASM 3;\nqubit q;\nh q", 3, "unexpectedly"),
        ("OPENQASM 3;\nqubit q; bit c;\nwhile (c == 0) { x q; }", 3, "does not end"),
        ("OPENQASM 3;\nqubit q; bit c; float n = 1;\nif (c) {\nn = 2; }", 4, "n cannot change"),
        ("OPENQASM 3;\nqubit q; bit c; float n;\nn = int(c);", 3, "n cannot depend"),
        ("OPENQASM 3;\nqubit[2] q; bit c;\npow(int(c)) @ x q[0];", 3, "known before"),
        ("OPENQASM 3;\nqubit q; bit c; int n;\nrx(3.0 / c) q;", 3, "`/` cannot"),
        ("OPENQASM 3;\nqubit q; angle a; bit c;\na[0] = c;\ngpi(a) q;", 4, "gpi cannot depend"),
        ("OPENQASM 3;\nextern f(bit) -> bit;\nqubit q; bit c;\nc = f(c);", 4, "extern"),
        ('OPENQASM 3;\ndefcalgrammar "openpulse";\nqubit q;', 2, "Pulses"),
        ("OPENQASM 3;\nqubit q; int a = 1;\nint a = 2;", 3, "declared twice"),
        ("OPENQASM 3;\nqubit q; array[int, 2] a = {1, 2};\na[2] = 1;", 3, "outside of an array"),
        ("OPENQASM 3;\nqubit q; bit[2] c;\nif (c[2]) { x q; }", 3, "Index 2 is outside"),
        (
            "OPENQASM 3;\ndef f(qubit q) -> bit { if (1 == 0) { return measure q; } }\nqubit q;"
            " bit c;\nc = f(q);",
            4,
            "returns nothing",
        ),
        ("OPENQASM 3;\ndef f(qubit q) { f(q); }\nqubit q;\nf(q);", 2, "calls itself"),
        ("OPENQASM 3;\nqubit[2] q;\nh q[2];", 3, "outside"),
        ("OPENQASM 3;\nqubit[2] q;\ncx q[0], q[0];", 3, "twice"),
        ("OPENQASM 3;\nqubit[99999] q;", 2, "4096"),
        ("OPENQASM 3;\nqubit q;\nrz(1 / 0) q;", 3, "value"),
        ("OPENQASM 3;\nqubit q;\nrz(theta) q;", 3, "theta"),
        ('OPENQASM 3;\ninclude "/etc/passwd";', 2, "included"),
        ("OPENQASM 3;\nqubit q;\nwhile (true) { }", 3, "does not end"),
        ("OPENQASM 3;\nqubit q;\ngate a x { a x; }\na q;", 3, "itself"),
        ("OPENQASM 3;\nqubit q;\n#pragma braket noise bit_flip(0.1) q", 3, "noise"),
        ("OPENQASM 3;\nqubit q;\nfor int i in [0:9999999] { h q; }", 3, "range"),
    ],
)
def test_what_cannot_be_run_is_named_with_its_line(text: str, line: int, word: str) -> None:
    with pytest.raises(UnsupportedError) as refused:
        read(text, {})
    assert word in f"{refused.value.what} {refused.value.why}"
    assert refused.value.line == line


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda b: b.decode("latin-1")))
@settings(max_examples=60, deadline=None)
def test_garbage_is_refused_and_never_crashes(text: str) -> None:
    try:
        read(text, {})
    except UnsupportedError as error:
        assert error.what


@pytest.mark.parametrize("native", NATIVE_SETS, ids=" ".join)
def test_compiling_changes_no_outcome(native: tuple[str, ...]) -> None:
    source = with_readout(read(HEAD + MIXED, {}))
    found = _compiled(source, NATIVE_SETS[native])
    assert {op[0] for op in found["ops"]} - {"measure"} <= set(native)
    assert distance(probabilities(source), probabilities(found)) < 1e-9
    again = read(emitting.openqasm3(found), {})
    assert distance(probabilities(found), probabilities(again)) < 1e-9


def _compiled(source: Circuit, device_id: str, level: str = "logical", **more: Any) -> Circuit:
    target = device(twins.for_worker(load.find(device_id), load.calibration(device_id)) or {})
    return compiled(source, target, level, more.get("layout", []), 1)


def test_compiled_gates_lie_on_the_edges_of_the_device() -> None:
    source = with_readout(read(HEAD + MIXED, {}))
    found = _compiled(source, "iqm-garnet")
    calibration = load.calibration("iqm-garnet")
    assert calibration is not None
    edges = {frozenset((a, b)) for a, b, _ in calibration.edges()}
    labels = found["labels"]
    pairs = [frozenset(labels[q] for q in op[1]) for op in found["ops"] if len(op[1]) == 2]
    assert pairs
    assert set(pairs) <= edges


def test_verbatim_programs_pass_untouched_or_are_refused() -> None:
    text = "OPENQASM 3; bit[2] b; prx(1.0, 0.5) $1; cz $1, {}; b[0] = measure $1;"
    source = read(text.format("$2"), {})
    found = _compiled(source, "iqm-garnet", "verbatim")
    assert found["ops"] == source["ops"]
    for wrong, word in (("$20", "interact"), ("$99", "no qubit")):
        with pytest.raises(UnsupportedError, match=word):
            _compiled(read(text.format(wrong), {}), "iqm-garnet", "verbatim")
    with pytest.raises(UnsupportedError, match="not a gate"):
        _compiled(read("OPENQASM 3; h $1;", {}), "iqm-garnet", "verbatim")


def test_a_layout_is_kept() -> None:
    source = with_readout(read("OPENQASM 3; qubit[2] q; h q[0]; cx q[0], q[1];", {}))
    assert _compiled(source, "iqm-garnet", layout=["14", "15"])["labels"] == ["14", "15"]
    with pytest.raises(UnsupportedError, match="no qubit"):
        _compiled(source, "iqm-garnet", layout=["14", "99"])


@pytest.mark.parametrize("name", sorted(ARITY))
def test_every_gate_is_unitary_and_its_inverse_undoes_it(name: str) -> None:
    qubits, params = ARITY[name]
    values = [0.1 * (number + 1) for number in range(params)]
    gate = np.array(matrix(name, values))
    assert np.allclose(gate @ gate.conj().T, np.eye(2**qubits))
    try:
        undone = inverse([name, list(range(qubits)), values])
    except UnsupportedError:
        assert name == "phased_xz"
        return
    product = gate
    for op in undone:
        product = np.array(matrix(op[0], op[2])) @ product
    phase = product[0, 0]
    assert abs(abs(phase) - 1) < 1e-9
    assert np.allclose(product, phase * np.eye(2**qubits))


def test_dialects_mean_the_same() -> None:
    source = with_readout(read(HEAD + MIXED.replace("ccx q[0], q[1], q[2];", ""), {}))
    for text in (emitting.openqasm3(source), emitting.braket(source)):
        assert distance(probabilities(source), probabilities(read(text, {}))) < 1e-9
    simple = with_readout(read("OPENQASM 3; qubit[2] q; h q[0]; cp(0.3) q[0], q[1];", {}))
    old = read(emitting.openqasm2(simple), {})
    assert distance(probabilities(simple), probabilities(old)) < 1e-9
    with pytest.raises(UnsupportedError, match="iswap"):
        emitting.openqasm2(source)


def test_bits_are_in_the_order_of_the_program() -> None:
    found = read("OPENQASM 3; qubit[3] q; bit[3] c; x q[0]; c[2] = measure q[0];", {})
    assert measured(found) == [-1, -1, 0]


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        '{"qubits": -1, "bits": 0, "ops": []}',
        '{"qubits": 1, "bits": 0, "ops": [["h", [3], []]]}',
        '{"qubits": 1, "bits": 0, "ops": [["foo", [0], []]]}',
        '{"qubits": 2, "bits": 0, "ops": [["cx", [0, 0], []]]}',
        '{"qubits": 1, "bits": 0, "ops": [["rx", [0], [1e999]]]}',
        '{"qubits": 1, "bits": 1, "ops": [["measure", [0], [4]]]}',
        '{"qubits": 1, "bits": 0, "ops": [["rx", [0], ["theta"]]]}',
        '{"qubits": 1, "bits": 0, "ops": [], "registers": [["c", 0, 9]]}',
    ],
)
def test_circuits_from_outside_are_checked(text: str) -> None:
    with pytest.raises(UnsupportedError):
        checked(text, {})


def test_circuits_from_outside_may_have_parameters() -> None:
    text = '{"qubits": 1, "bits": 1, "ops": [["rx", [0], ["t"]], ["measure", [0], [0]]]}'
    assert checked(text, {"t": 0.5})["ops"][0] == ["rx", [0], [0.5]]


def test_bits_of_known_numbers_decide() -> None:
    source = (
        "OPENQASM 3; qubit[3] q; uint[3] n = 5; for uint i in [0:2] { if (bool(n[i])) x q[i]; }"
    )
    assert [op[1] for op in read(source, {})["ops"]] == [[0], [2]]
    for wrong in ("n[-1]", "n[0:1]", "2.5[0]"):
        with pytest.raises(UnsupportedError) as refused:
            read(f"OPENQASM 3; qubit q; uint[3] n = 5; rz({wrong}) q;", {})
        assert refused.value.line == 1 or "OpenQASM" in refused.value.what
