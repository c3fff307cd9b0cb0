"""Resource estimation reproduces the published table of factoring RSA-2048 to its digits."""

from __future__ import annotations

import pytest

from skerry.kernel.errors import INVALID, SkerryError
from skerry.kinds.quantum import pictures
from skerry.kinds.quantum.engine import QuantumEngine
from skerry.kinds.quantum.messages import Needed
from skerry.kinds.quantum.reports import NeedTable, span
from skerry.kinds.quantum.tests.conftest import ghz

HOUR, YEAR = 3600.0, 31_557_600.0
PUBLISHED = {
    "gate-ns-e3": (37e6, 36.8 * HOUR),
    "gate-ns-e4": (8.7e6, 17.7 * HOUR),
    "gate-us-e3": (37e6, 6.3 * YEAR),
    "gate-us-e4": (8.7e6, 3.03 * YEAR),
    "majorana-ns-e4": (26e6, 15.3 * HOUR),
    "majorana-ns-e6": (6.2e6, 7.2 * HOUR),
}
"""arXiv:2211.07629, factoring: physical qubits to two digits and time to two or three."""


async def test_rsa_2048_is_as_published(engine: QuantumEngine) -> None:
    found = await engine.word_needs(Needed(workload="rsa-2048", error_budget=0.333))
    assert {each.target for each in found} == set(PUBLISHED)
    for each in found:
        qubits, seconds = PUBLISHED[each.target]
        assert each.qubits == pytest.approx(qubits, rel=0.02)
        assert each.seconds == pytest.approx(seconds, rel=0.02)
        assert each.logical_qubits == 25481
        assert each.hypothetical == each.target.startswith("majorana")
    text = NeedTable(tuple(found)).draw(90)
    assert "37 651 098" in text
    assert "disputed" in text
    assert pictures.frontiers(found).startswith("<svg")


async def test_a_program_is_estimated_or_refused_with_its_line(engine: QuantumEngine) -> None:
    found = await engine.word_needs(Needed(source=ghz(3)))
    assert all(each.qubits > 0 and each.frontier for each in found)
    for bad in (
        Needed(source="OPENQASM 3;\nqubit q;\nfoo q;"),
        Needed(source=ghz(3), error_budget=2.0),
        Needed(workload="no-such"),
    ):
        with pytest.raises(SkerryError) as refused:
            await engine.word_needs(bad)
        assert refused.value.problem is INVALID
    with pytest.raises(SkerryError, match="Line 3"):
        await engine.word_needs(Needed(source="OPENQASM 3;\nqubit q;\nfoo q;"))


def test_times_are_written_in_the_unit_that_fits() -> None:
    found = [span(each) for each in (2 * YEAR, 36.8 * HOUR, 5.0, 2e-3, 3e-7)]
    assert found == ["2 y", "1.53 d", "5 s", "2 ms", "300 ns"]
