"""Circuits of MQT Bench as jobs over HTTP on every twin that fits, compared with the ideal."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.catalogue.model import Paradigm
from skerry.kinds.quantum.engine import QuantumEngine
from skerry.kinds.quantum.tests.wires.calling import Caller

FOLDER = Path(__file__).parent / "mqt"
SHOTS = 500
TWINS = [
    each.id
    for each in load.devices().values()
    if each.twin and each.paradigm is Paradigm.GATE and each.qubits >= 5
]
IDEAL = {
    "ghz_5": {"00000": 0.5, "11111": 0.5},
    "wstate_5": {"".join("1" if n == one else "0" for n in range(5)): 0.2 for one in range(5)},
}


async def run(call: Caller, family: str, device: str) -> tuple[dict[str, int], float]:
    """Return the counts of a family on a device, and the fidelity that was expected."""
    program = {"source": (FOLDER / f"{family}.qasm").read_text(encoding="utf-8")}
    job = {"device": device, "programs": [program], "shots": SHOTS, "options": {"seed": 1}}
    made = await call.bearer("POST", "/quantum/v1/jobs", job)
    assert made.status == 201, made.body
    path = f"/quantum/v1/jobs/{made.json['id']}"
    over = await call.bearer("GET", f"{path}?wait=60")
    assert over.json["state"] == "COMPLETED", over.body
    result = await call.bearer("GET", f"{path}/results/0")
    return result.json["counts"], over.json["expected_fidelity"]


def hellinger(counts: dict[str, int], exact: dict[str, float]) -> float:
    """Return the Hellinger fidelity of counts and probabilities."""
    return (
        sum(math.sqrt(counts.get(bits, 0) / SHOTS * chance) for bits, chance in exact.items()) ** 2
    )


@pytest.mark.timeout(120)
async def test_every_twin_is_as_good_as_its_errors_let_it_be(engine: QuantumEngine) -> None:
    """Where no error happens the outcome is ideal, so that the fidelity is at least that chance.

    Five standard deviations below it: one false alarm in a million jobs.
    """
    call = Caller(engine)
    assert len(TWINS) > 20
    answer, _ = await run(call, "dj_5", "sim-ideal")
    ideal = {**IDEAL, "dj_5": {bits: n / SHOTS for bits, n in answer.items()}}
    assert len(ideal["dj_5"]) <= 2
    for device in TWINS:
        for family, exact in ideal.items():
            counts, expected = await run(call, family, device)
            least = expected - 5 * math.sqrt(expected * (1 - expected) / SHOTS) - 0.02
            assert hellinger(counts, exact) >= least, (device, family)
