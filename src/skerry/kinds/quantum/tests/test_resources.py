"""Resource estimation reproduces the published table of factoring RSA-2048 to its digits."""

from __future__ import annotations

import pytest

from skerry.kernel.errors import INVALID, SkerryError
from skerry.kinds.quantum import pictures
from skerry.kinds.quantum.contract import JobRequest, Program
from skerry.kinds.quantum.drawing import count, span
from skerry.kinds.quantum.engine import QuantumEngine
from skerry.kinds.quantum.messages import Needed
from skerry.kinds.quantum.published import FIGURES
from skerry.kinds.quantum.reports import NeedTable
from skerry.kinds.quantum.tests.conftest import ghz
from skerry.kinds.quantum.worker.ir import UnsupportedError
from skerry.kinds.quantum.worker.qir import compiled, read

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

ROWS = {
    "gate-ns-e3": ("3.77e+07", "36.8"),
    "gate-ns-e4": ("8.72e+06", "17.7"),
    "gate-us-e3": ("3.74e+07", "5.52e+04"),
    "gate-us-e4": ("8.68e+06", "2.66e+04"),
    "majorana-ns-e4": ("2.61e+07", "15.3"),
    "majorana-ns-e6": ("6.25e+06", "7.16"),
    "neutral-atom": ("3.71e+07", "2.11e+05"),
}
"""Physical qubits and hours to three digits, by Microsoft's estimator for the published counts."""


async def test_rsa_2048_is_as_published(engine: QuantumEngine) -> None:
    found = await engine.word_needs(Needed(workload="rsa-2048"))
    assert {each.target for each in found} == {*PUBLISHED, "neutral-atom"}
    for each in found:
        assert (f"{each.qubits:.3g}", f"{each.seconds / HOUR:.3g}") == ROWS[each.target]
        if each.target == "neutral-atom":
            assert each.qubits == pytest.approx(37.1e6, rel=0.02)
            assert each.seconds > 10 * YEAR
            continue
        qubits, seconds = PUBLISHED[each.target]
        assert each.qubits == pytest.approx(qubits, rel=0.02)
        assert each.seconds == pytest.approx(seconds, rel=0.02)
        assert each.logical_qubits == 25481
        assert each.logical_depth == pytest.approx(1.23e10, rel=0.005)
        assert each.t_states == pytest.approx(1.49e10, rel=0.005)
        assert each.hypothetical == each.target.startswith("majorana")
        told = FIGURES["rsa-2048"][each.target].split(", ")
        assert float(told[0].removesuffix(" M")) * 1e6 == pytest.approx(each.qubits, rel=0.02)
        rounded = float(told[1].split()[0])
        assert float(span(each.seconds).split()[0]) == pytest.approx(rounded, rel=0.06)
        assert span(each.seconds).split()[1] == told[1].split()[1]
    text = NeedTable(tuple(found), published=FIGURES["rsa-2048"]).draw(90)
    assert "37 651 098" in text
    assert "8.7 M, 18 h" in text
    assert "disputed" in text
    svg = pictures.frontiers(found)
    assert svg.startswith("<svg")
    assert all(f">{each.target}" in svg for each in found), "every target is in the key"
    assert svg.count("<title>") == 1 + sum(len(each.frontier) for each in found)


async def test_the_logical_qubits_of_chemistry_are_as_published(engine: QuantumEngine) -> None:
    found = await engine.word_needs(Needed(workload="chemistry"))
    assert {each.logical_qubits for each in found if each.target != "neutral-atom"} == {2740}


QSHARP = """
operation Main() : Result[] {
    use q = Qubit[2];
    X(q[0]);
    CNOT(q[0], q[1]);
    Rz(0.25, q[1]);
    Adjoint T(q[0]);
    return [MResetZ(q[0]), MResetZ(q[1])];
}
"""


async def test_q_sharp_and_qir_are_estimated_and_run(engine: QuantumEngine) -> None:
    text = compiled(QSHARP)
    by_source = await engine.word_needs(Needed(source=QSHARP, format="qsharp"))
    by_qir = await engine.word_needs(Needed(source=text, format="qir"))
    assert [each.target for each in by_source] == [each.target for each in by_qir]
    for format_, source in (("qsharp", QSHARP), ("qir", text)):
        program = Program(source, format=format_)  # type: ignore[arg-type]
        job = await engine.desk.submit(JobRequest("sim-ideal", (program,), 20))
        await engine.desk.wait(job.id, 30.0)
        assert (await engine.desk.result(job.id)).counts == {"11": 20}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not QIR"),
        ("define void @a() {\n call void @__quantum__qis__warp__body(ptr null)", "warp"),
        ("define void @a() {\n br i1 %0, label %x, label %y ; @__quantum__qis__", "nowhere"),
        (
            "define void @a() {\n call void @__quantum__qis__cx__body(ptr null, ptr null)",
            "one qubit twice",
        ),
    ],
)
def test_qir_that_cannot_run_is_refused(text: str, says: str) -> None:
    with pytest.raises(UnsupportedError, match=says):
        read(text)


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
    assert [count(each) for each in (48, 1176, 3.7e7)] == ["48", "1.18 k", "37 M"]
    assert found == ["2 y", "1.53 d", "5 s", "2 ms", "300 ns"]
