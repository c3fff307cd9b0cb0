"""Delays whose length follows from the times of a machine's gates, against sums made by hand."""

from __future__ import annotations

import re
from typing import Any

import pytest

from skerry.kinds.quantum.tests.test_classical import ran
from skerry.kinds.quantum.worker.ir import UnsupportedError

MACHINE: dict[str, Any] = {
    "id": "d",
    "native": ["rz", "sx", "x", "cz"],
    "labels": ["0", "1", "2", "3"],
    "pairs": {"0-1": 0.0, "1-2": 0.0, "2-3": 0.0},
    "one": {label: {} for label in "0123"},
    "seconds": {"one": 3e-8, "two": 7e-8, "readout": 1e-6},
}


def delays(source: str, **options: Any) -> list[tuple[float, str]]:
    """Return how many nanoseconds each delay of the compiled program is, and of which qubit."""
    text = ran(source, **{"device": "", **options})["compiled"]
    return [(float(n), at) for n, at in re.findall(r"delay\[([\d.]+)ns\] (\S+);", text)]


def on_machine(source: str) -> list[tuple[float, str]]:
    return delays(source, device_shape=MACHINE, level="verbatim")


ALIGNED = """
stretch g;
barrier $0, $1, $2;
cz $0, $1;
cz $0, $1;
delay[g] $2;
sx $2;
rz(0.3) $2;
delay[2 * g] $2;
barrier $0, $1, $2;
"""


def test_a_stretch_aligns_a_gate_within_the_time_of_others() -> None:
    """Two gates of 70 ns leave 110 beside one of 30: a third before it, two thirds after."""
    assert on_machine(ALIGNED) == [(36.6667, "$2"), (73.3333, "$2")]


def test_decoupling_fills_a_box_by_stretches_and_times_of_gates() -> None:
    """Four pulses of 30 ns in 280: 160 are shared by three gaps and two halves."""
    source = """
stretch a;
duration first = -0.5 * durationof({x $0;}) + a;
duration middle = -durationof({x $0;}) + 2 * a;
box {
  delay[first] $0; x $0; delay[middle] $0; x $0; delay[middle] $0; x $0; delay[middle] $0; x $0;
  delay[first] $0;
  cz $1, $2; cz $2, $3; cz $1, $2; cz $2, $3;
}
"""
    assert on_machine(source) == [(20, "$0"), *[(40, "$0")] * 3, (20, "$0")]


def test_a_box_is_as_long_as_it_says() -> None:
    source = "box[1us] { x $0; delay[100ns] $0; x $0; x $1; }"
    assert on_machine(source) == [(100, "$0"), (840, "$0"), (970, "$1")]
    with pytest.raises(UnsupportedError, match="do not fit") as refused:
        on_machine(source.replace("1us", "150ns"))
    assert refused.value.line == 3


def test_without_a_machine_gates_take_no_time() -> None:
    assert delays(ALIGNED) == []
    assert delays("qubit q; duration t = 2 * 30ns + 1us / 4; delay[t] q;") == [(310, "q[0]")]


def test_what_has_no_length_is_refused() -> None:
    for source, says in (
        ("qubit q; bit c; stretch s; c = measure q; if (c) { x q; } delay[s] q;", "no length"),
        ("qubit[2] q; delay[durationof({x q[0]; x q[1];})] q;", "follow on each other"),
        ("qubit q; delay[-1ns] q;", "not below 0"),
        ("qubit q; stretch s; delay[s * s] q;", "cannot be computed"),
    ):
        with pytest.raises(UnsupportedError, match=says) as refused:
            ran(source)
        assert refused.value.line == 3
