"""Programs in OpenQASM whose indices are measured, against what they must come to by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.kinds.quantum import twins
from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.worker import running
from skerry.kinds.quantum.worker.ir import UnsupportedError

HEAD = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'
SHOTS = 100


def ran(source: str, device: str = "") -> list[dict[str, int]]:
    """Return what number each register held, once for every outcome."""
    found = load.find(device) if device else None
    shape = twins.for_worker(found, load.calibration(found.id)) if found else None
    asked = {"source": HEAD + source, "format": "openqasm3", "device": shape, "seed": 3}
    result = running.run({**asked, "shots": SHOTS, "memory_bytes": 1 << 30})
    return [
        {name: int(bits[at : at + size][::-1], 2) for name, at, size in result["registers"]}
        for bits in result["counts"]
    ]


DRAWN = "qubit[5] q; bit[2] c; h q[0]; h q[1]; c[0] = measure q[0]; c[1] = measure q[1];\n"


@pytest.mark.parametrize(
    "statement",
    [
        "reset q; x q[c];",
        "reset q; x q[0:3]; x q[c]; x q[0:3];",
        "def turn(qubit a) { x a; } reset q; turn(q[c]);",
        "reset q; x q; for int i in [0:3] { uint[2] k = c ^ uint[2](i); if (i) { reset q[k]; } }",
    ],
)
def test_a_gate_goes_where_a_measured_number_says(statement: str) -> None:
    found = ran(f"{DRAWN}{statement} bit[4] out = measure q[0:3];")
    assert {each["c"] for each in found} == {0, 1, 2, 3}
    assert all(each["out"] == 1 << each["c"] for each in found)


def test_bits_are_written_and_read_where_a_measured_number_says() -> None:
    found = ran(
        f'{DRAWN}bit[4] one; one[c] = 1; bit[4] table = "0110"; bit told = table[c];\n'
        "bit[4] seen; reset q; x q[2]; seen[c] = measure q[c];"
    )
    assert {each["c"] for each in found} == {0, 1, 2, 3}
    for each in found:
        assert each["one"] == 1 << each["c"]
        assert each["told"] == (each["c"] in (1, 2))
        assert each["seen"] == (4 if each["c"] == 2 else 0)


def test_a_declaration_measures_the_qubit_that_a_measured_number_names() -> None:
    found = ran(f"{DRAWN}reset q; x q[1]; x q[2]; bit told = measure q[c];")
    assert {(each["c"], each["told"]) for each in found} == {(0, 0), (1, 1), (2, 1), (3, 0)}


def test_an_angle_is_looked_up_by_what_was_measured() -> None:
    """A table of angles turns each outcome's qubit by a half turn in all."""
    source = "array[angle[16], 4] turns = {0, pi / 4, pi / 2, 3 * pi / 4};\n"
    source += f"{DRAWN}ry(turns[c]) q[4]; ry(pi - c * pi / 4) q[4]; bit out = measure q[4];"
    assert {each["out"] for each in ran(source)} == {1}


@given(st.lists(st.integers(-8, 7), min_size=4, max_size=4), st.permutations(range(4)))
@settings(max_examples=10, deadline=None)
def test_numbers_are_looked_up_by_numbers_that_were_looked_up(
    numbers: list[int], order: list[int]
) -> None:
    source = f"""
array[int[4], 4] numbers = {{{", ".join(map(str, numbers))}}};
array[uint[2], 4] order = {{{", ".join(map(str, order))}}};
{DRAWN}int[6] told = numbers[order[c]] + 1;
"""
    for each in ran(source):
        expected = (numbers[order[each["c"]]] + 1) % 64
        assert each.get("told", expected) == expected  # what is known is no bits, and not told


def test_what_may_lie_outside_is_refused_unless_the_program_asks_before() -> None:
    with pytest.raises(UnsupportedError, match="outside of a register of 3") as refused:
        ran(f"{DRAWN}qubit[3] r; x r[c];")
    assert refused.value.line == 4
    found = ran(f"{DRAWN}qubit[3] r; if (c < 3) {{ x r[c]; }} bit[3] out = measure r;")
    assert {(each["c"], each["out"]) for each in found} == {(0, 1), (1, 2), (2, 4), (3, 0)}
    with pytest.raises(UnsupportedError, match="may be outside of an array of 3"):
        ran(f"{DRAWN}array[uint[2], 3] a = {{1, 2, 3}}; uint[2] told = a[c];")
    with pytest.raises(UnsupportedError, match="What is returned or named again") as refused:
        ran(
            f"{DRAWN}def f(bit[2] k, qubit[4] w) -> bit {{\nreturn measure w[k]; }}\n"
            "uint[2] k = 1; bit told = f(c, q[0:3]);"
        )
    assert refused.value.line == 5
    with pytest.raises(UnsupportedError, match="What is returned or named again"):
        ran(f"{DRAWN}let a = q[c]; x a;")
    with pytest.raises(UnsupportedError, match="Something is done before an index"):
        ran(f"{DRAWN}def f(qubit a) -> bit {{ x a; return 1; }} bit[4] one; one[c] ^= f(q[0]);")
    with pytest.raises(UnsupportedError, match="depends on 7 measured bits"):
        ran("qubit[128] q; uint[7] c = measure q[0:6]; x q[c];")


def test_a_machine_that_decides_by_bits_alone_follows_a_measured_index() -> None:
    """Nothing is computed on the way: each place is an `if` of its own, as a machine knows it."""
    source = "qubit[4] q; bit c; x q[0]; c = measure q[0]; x q[c]; bit[2] out = measure q[0:1];"
    found = ran(source, "quantinuum-h2-1")
    assert {"c": 1, "out": 3} in found


def test_bits_go_round() -> None:
    source = f"{DRAWN}bit[4] one; one[c] = 1; bit[4] left = rotl(one, 1); bit[4] right;\n"
    found = ran(f"{source}right = rotr(one, 3);")
    assert all(each["left"] == each["right"] == 1 << (each["c"] + 1) % 4 for each in found)
    with pytest.raises(UnsupportedError, match="rotl takes bits of a known width"):
        ran("qubit q; uint[4] k = rotl(3, 1);")
