"""How the command line writes what it has to tell."""

from __future__ import annotations

import io

import msgspec

from skerry.surfaces.cli.output import Output
from skerry.surfaces.cli.render import show
from skerry.surfaces.units import number, safe
from skerry.testing.hosts import ManualClock


class Rows(msgspec.Struct):
    columns: list[str]
    rows: list[list[object]]
    more: bool = False
    status: str = "SELECT 2"


def test_columns_and_rows_are_a_table() -> None:
    out, error = io.StringIO(), io.StringIO()
    output = Output(out=out, error=error)
    show(output, Rows(["n", "name", "name"], [[1, "ada", None], [22, "\x1b[2J", "x"]]))
    assert [line.split() for line in out.getvalue().splitlines()] == [
        ["n", "name", "name"],
        ["1", "ada", "NULL"],
        ["22", "�[2J", "x"],
    ]
    assert error.getvalue() == "2 rows, status SELECT 2\n"


def test_progress_without_a_terminal_is_a_line_a_step_and_now_and_then_one() -> None:
    clock, error = ManualClock(), io.StringIO()
    with Output(out=io.StringIO(), error=error, clock=clock).steps() as report:
        report(0, 0, "sending")
        for step in range(1, 120):
            clock.seconds += 0.125
            report(0, 0, f"sending, {step} MiB")
        for step in range(120):
            clock.seconds += 0.125
            report(step, 200, "copying")
    assert error.getvalue().splitlines() == [
        "· sending",
        "· sending, 40 MiB",
        "· sending, 80 MiB",
        "· copying",
        "· copying 20%",
        "· copying 40%",
    ]


def test_moments_are_told_by_the_names_of_fields() -> None:
    day = 86_400 * 1_000_000_000
    assert number("joined", day, 2 * day) == "1970-01-02T00:00:00Z"
    assert number("expires", day, 0) == "1970-01-02T00:00:00Z"
    assert number("since", day, 2 * day) == "1d ago"
    assert number("started", 0, day) == "-"
    assert number("version", day, day) == str(day)


def test_text_of_others_cannot_steer_the_terminal() -> None:
    assert safe("a\x1b[2Jb\x9bc\nd\té") == "a�[2Jb�c\nd\té"
