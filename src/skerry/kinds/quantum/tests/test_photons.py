"""Photons: two of them on a beam splitter, against what is known, and what is refused."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from skerry.kernel.errors import INVALID, SkerryError
from skerry.kinds.quantum.contract import JobRequest, JobState, Options, Program
from skerry.kinds.quantum.engine import QuantumEngine
from skerry.kinds.quantum.worker.ir import UnsupportedError
from skerry.kinds.quantum.worker.photons import checked, distribution, plan

HALF = math.pi / 2


def circuit(photons: list[int], components: list[Any], **noise: float) -> str:
    return json.dumps(
        {"modes": len(photons), "input": photons, "components": components, "noise": noise}
    )


def exact(source: str) -> dict[tuple[int, ...], float]:
    return distribution(checked({"source": source})).found


@pytest.mark.parametrize("indistinguishability", [1.0, 0.95, 0.9, 0.86, 0.5, 0.0])
def test_hong_ou_mandel_visibility_is_the_indistinguishability(indistinguishability: float) -> None:
    source = circuit([1, 1], [["bs", [0, 1], [HALF]]], indistinguishability=indistinguishability)
    found = exact(source)
    visibility = 1 - found[1, 1] / 0.5
    assert visibility == pytest.approx(indistinguishability, abs=1e-9)
    assert sum(found.values()) == pytest.approx(1.0)
    assert found[2, 0] == pytest.approx(found[0, 2])


def test_losses_are_independent() -> None:
    found = exact(circuit([1, 1], [["bs", [0, 1], [HALF]]], transmittance=0.6))
    assert found[0, 0] == pytest.approx(0.16)
    assert found[2, 0] + found[0, 2] == pytest.approx(0.36)
    assert found[1, 0] + found[0, 1] == pytest.approx(0.48)


def test_light_of_one_photon_goes_where_the_matrix_says() -> None:
    generator = np.random.default_rng(5)
    raw = generator.normal(size=(4, 4)) + 1j * generator.normal(size=(4, 4))
    unitary, _ = np.linalg.qr(raw)
    rows = [[[each.real, each.imag] for each in row] for row in unitary]
    found = exact(circuit([0, 0, 1, 0], [["unitary", [0, 1, 2, 3], rows]]))
    for mode in range(4):
        state = tuple(int(each == mode) for each in range(4))
        assert found[state] == pytest.approx(abs(unitary[mode, 2]) ** 2)
    many = exact(circuit([1, 2, 0, 1], [["unitary", [0, 1, 2, 3], rows]], indistinguishability=0.7))
    assert sum(many.values()) == pytest.approx(1.0)


async def test_a_job_on_the_photonic_simulator(engine: QuantumEngine) -> None:
    source = circuit([1, 1], [["bs", [0, 1], [HALF]]], indistinguishability=0.9)
    request = JobRequest(
        device="sim-photonic",
        programs=(Program(source, format="photonic"),),
        shots=10_000,
        options=Options(seed=1),
    )
    job = await engine.desk.wait((await engine.desk.submit(request)).id, 50.0)
    assert job.state is JobState.COMPLETED, job.error
    assert "noise that the program names" in job.nature
    result = await engine.desk.result(job.id)
    assert set(result.counts) == {"1,1", "2,0", "0,2"}
    assert abs(result.counts["1,1"] - 500) < 5 * math.sqrt(10_000 * 0.05 * 0.95)
    with pytest.raises(SkerryError) as refused:
        broken = Program("{}", format="photonic")
        await engine.desk.submit(JobRequest(device="sim-photonic", programs=(broken,)))
    assert refused.value.problem is INVALID


@pytest.mark.parametrize(
    "source",
    [
        "",
        "[]",
        circuit([11, 0], []),
        circuit([0, 0], []),
        circuit([1] * 30, []),
        circuit([1, 1], [], indistinguishability=2.0),
        json.dumps({"modes": 2, "input": [1], "components": []}),
        json.dumps({"modes": -1, "input": [], "components": []}),
    ],
)
def test_what_cannot_be_run_is_refused(source: str) -> None:
    with pytest.raises(UnsupportedError):
        plan({"source": source})


@pytest.mark.parametrize(
    "component",
    [["bs", [0, 0], [1]], ["bs", [0, 7], [1]], ["bs", [0], [1]], ["magic", [0], []],
     ["ps", [0], ["x"]], ["unitary", [0, 1], [[[1, 0], [1, 0]], [[0, 0], [1, 0]]]]],
)  # fmt: skip
def test_components_are_checked(component: list[Any]) -> None:
    with pytest.raises(UnsupportedError):
        exact(circuit([1, 1], [component]))
