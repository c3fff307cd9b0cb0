"""Exact results and the noise that programs name: seeds, bounds with their numbers, no files."""

from __future__ import annotations

from typing import Any

import pytest

from skerry.kernel.errors import INVALID, TOO_LARGE, UNSUPPORTED, SkerryError
from skerry.kinds.quantum.contract import JobRequest, JobState, Options, Program
from skerry.kinds.quantum.engine import QuantumEngine
from skerry.kinds.quantum.messages import Named
from skerry.kinds.quantum.reports import JobReport
from skerry.kinds.quantum.tests.conftest import MakeContext
from skerry.kinds.quantum.twins import DENSITY, EXACT, IDEAL

_NOISE = "#pragma braket noise bit_flip(0.25) q[0]\n"


def asked(device: str, body: str, shots: int = 0, qubits: int = 2, **options: Any) -> JobRequest:
    program = Program(f"OPENQASM 3.0;\nqubit[{qubits}] q;\n{body}", dialect="braket")
    options.setdefault("engine", "" if shots else EXACT.get(device, ""))
    return JobRequest(device, (program,), shots, options=Options(**options))


async def test_noise_of_a_program_is_sampled_with_its_seed(engine: QuantumEngine) -> None:
    desk = engine.desk
    request = asked(
        DENSITY,
        f'include "stdgates.inc";\nid q[1];\ncx q[1], q[0];\nx q[0];\n{_NOISE}',
        2000,
        seed=3,
        memory=True,
    )
    jobs = [await desk.submit(request) for _ in range(2)]
    results = []
    for job in jobs:
        assert (await desk.wait(job.id, 50)).state is JobState.COMPLETED
        results.append(await desk.result(job.id))
    first, second = results
    assert first.counts == second.counts
    assert first.memory == second.memory
    assert first.counts["10"] == pytest.approx(1500, abs=150)
    assert set(first.counts) == {"00", "10"}
    assert first.provenance.engine == EXACT[DENSITY]
    assert "the program names" in first.provenance.nature


async def test_inputs_are_bound_and_results_are_exact(engine: QuantumEngine) -> None:
    source = (
        "OPENQASM 3.0;\ninput float turn;\nqubit[1] q;\nrx(turn) q[0];\n"
        "#pragma braket result expectation z(q[0])\n"
    )
    program = Program(source, bindings=({"turn": 0.0}, {"turn": 3.141592653589793}))
    options = Options(engine=EXACT[IDEAL])
    job = await engine.desk.submit(JobRequest(IDEAL, (program,), 0, options=options))
    assert (await engine.desk.wait(job.id, 50)).state is JobState.COMPLETED
    values = [each.extra["values"][0]["value"] for each in await engine.desk.results(job.id)]
    assert values == pytest.approx([1.0, -1.0])
    outcome = await engine.word_show(Named(job.id))
    drawn = JobReport(outcome.job, outcome.results).draw(80)
    assert "expectation ['z'] [0]: 1.0\n" in drawn
    assert "no shots" not in drawn
    unbound = Program(source, bindings=({"turn": 0.0}, {}))
    with pytest.raises(SkerryError, match="turn"):
        await engine.desk.submit(JobRequest(IDEAL, (unbound,), 0, options=options))


async def test_what_cannot_be_is_refused_at_once(make_context: MakeContext) -> None:
    engine = QuantumEngine(make_context(memory_mib=512))
    await engine.start()
    told = "#pragma braket result expectation z(q[0])\n"
    refused = {
        "5 GiB": asked(DENSITY, f"h q;\n{told}", qubits=13),
        "524288 numbers": asked(IDEAL, "h q;\n#pragma braket result state_vector\n", qubits=19),
        "no noise": asked(IDEAL, f"h q;\n{_NOISE}", 10),
        "/etc/passwd": asked(IDEAL, f'include "/etc/passwd";\nh q;\n{told}'),
        "no samples": asked(IDEAL, "h q;\n#pragma braket result sample z(q[0])\n"),
        "cannot be read": asked(IDEAL, f"frobnicate q;\n{told}"),
        "no amplitudes": asked(DENSITY, "h q;\n#pragma braket result state_vector\n"),
    }
    for text, request in refused.items():
        with pytest.raises(SkerryError) as error:
            await engine.desk.submit(request)
        assert error.value.problem is INVALID
        assert text in f"{error.value.what} {error.value.why}"
    others = {
        UNSUPPORTED: asked("iqm-garnet", f"h q;\n{told}", engine=EXACT[IDEAL]),
        INVALID: asked(IDEAL, f"h q;\n{told}", engine="statevector"),
        TOO_LARGE: asked(DENSITY, "h q;\n", 10, qubits=18),
    }
    for problem, request in others.items():
        with pytest.raises(SkerryError) as error:
            await engine.desk.submit(request)
        assert error.value.problem is problem, error.value
    assert await engine.desk.jobs() == []
    await engine.stop()
