"""What Azure's wire reads besides requests: what programs record, filters of listings, and Quil."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.kernel.errors import SkerryError
from skerry.kinds.quantum.tests.wires.recording import READ_0, READ_1, recording
from skerry.kinds.quantum.wires.azure import filters, quil, results
from skerry.kinds.quantum.worker import qir

SHAPES: tuple[tuple[tuple[str, ...], Any, str], ...] = (
    ((READ_1,), 1, "0"),
    ((), None, ""),
    (("rt__array_record_output(i64 0, ptr @0)",), ["array", []], "[]"),
    (("rt__tuple_record_output(i64 1, ptr @0)", READ_0), ["tuple", [0]], "(1,)"),
    (
        ("rt__tuple_record_output(i64 2, ptr @0)", "rt__array_record_output(i64 1, ptr @1)", READ_1,
         "rt__array_record_output(i64 2, ptr @2)", READ_0, READ_1),
        ["tuple", [["array", [1]], ["array", [0, 1]]]],
        "([0], [1, 0])",
    ),
    ((READ_0, READ_1), ["tuple", [0, 1]], "(1, 0)"),
)  # fmt: skip


@pytest.mark.parametrize(("lines", "shape", "text"), SHAPES)
def test_what_a_program_records_gives_outcomes_their_shape(
    lines: tuple[str, ...], shape: Any, text: str
) -> None:
    assert qir.recorded(recording(*lines)) == shape
    if shape is not None:
        assert results.display(results.value(shape, "10")) == text


FIELD = st.sampled_from(["Name", "State", "Target", "ProviderId"])
VALUE = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=8)


@settings(max_examples=40)
@given(st.lists(st.tuples(FIELD, VALUE), min_size=1, max_size=4), VALUE)
def test_a_filter_finds_what_it_says(terms: list[tuple[str, str]], other: str) -> None:
    def quoted(value: str) -> str:
        return "'" + value.replace("'", "''") + "'"

    text = " and ".join(f"({name} eq {quoted(v)} or {name} eq 'x y')" for name, v in terms)
    row: dict[str, Any] = {}
    for name, value in terms:
        row.setdefault(filters._field(name), value)
    expected = all(
        str(row[filters._field(name)]).lower() in (value.lower(), "x y") for name, value in terms
    )
    assert filters._Reader(text).read()(row) is expected
    assert filters._Reader(f"startswith(Name, {quoted(other)})").read()({"name": f"{other}z"})


@settings(max_examples=40)
@given(st.text(max_size=60))
def test_any_text_is_a_filter_or_is_refused(text: str) -> None:
    refused_or(lambda: filters._Reader(text).read())


@settings(max_examples=40)
@given(st.text(st.sampled_from("XRCZ()[]0123 pi\n*/ro.DELAMESUBIT#"), max_size=60))
def test_any_text_is_quil_or_is_refused(text: str) -> None:
    refused_or(lambda: quil.circuits(text, {}))


def refused_or(job: Callable[[], Any]) -> None:
    try:
        job()
    except SkerryError as error:
        assert error.problem.http in (400, 501)


def test_quil_is_read_with_its_memory_and_angles() -> None:
    text = "PRAGMA X\nDECLARE ro BIT[2]\nDECLARE t REAL[2]\nRX(2*t[1] - pi/2) 5 # why\nCNOT 5 3\n"
    found = quil.circuits(f"{text}MEASURE 3 ro[1]", {"t": [[0, 1], [0, 2.5]]})
    assert [each["ops"][0][2][0] for each in found] == pytest.approx([0.4292, 3.4292], abs=1e-3)
    assert found[0]["ops"][1:] == [["cx", [1, 0], []], ["measure", [0], [1]]]
    assert found[0]["registers"] == [["ro", 0, 2]]
    for bad in ("RX(t[9]) 0", "RX(1/0) 0", "CNOT 1 1", "MEASURE 0 ro[2]", "JUMP @a", "RX 0"):
        with pytest.raises(SkerryError, match="Line 6"):
            quil.circuits(f"{text}{bad}", {"t": [[0, 1]]})
    unfit: list[Any] = [[1], {"t": []}, {"t": [[1, "x"]]}, {"t": 1}]
    unfit.append({"t": [[1, 1]], "u": [[1], [2]]})
    for sets in unfit:
        with pytest.raises(SkerryError):
            quil.circuits(text, sets)
