"""Pulser's sequences on the twin of a machine of atoms, against two levels that are integrated."""

from __future__ import annotations

import cmath
import gzip
import json
import math
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from scipy.linalg import expm

from skerry.kernel.errors import INVALID, SkerryError
from skerry.kinds.quantum.contract import JobRequest, JobState, Options, Program
from skerry.kinds.quantum.engine import QuantumEngine
from skerry.kinds.quantum.tests.wires.calling import Caller

pytest.importorskip("pulser")
CHANNEL: dict[str, Any] = {
    "id": "rydberg_global",
    "basis": "ground-rydberg",
    "addressing": "Global",
    "max_abs_detuning": None,
    "max_amp": None,
    "min_retarget_interval": None,
    "fixed_retarget_t": None,
    "max_targets": None,
    "clock_period": 1,
    "min_duration": 1,
    "max_duration": None,
    "mod_bandwidth": None,
    "eom_config": None,
}
DEVICE = {
    "version": "1",
    "pulser_version": "1.9.1",
    "name": "Any",
    "dimensions": 2,
    "rydberg_level": 60,
    "min_atom_distance": 0,
    "max_atom_num": None,
    "max_radial_distance": None,
    "interaction_coeff_xy": None,
    "supports_slm_mask": True,
    "max_layout_filling": 0.5,
    "reusable_channels": True,
    "channels": [CHANNEL],
    "is_virtual": True,
}
PULSES = ((400, 3.0, -2.0, 0.0), (300, 5.0, 4.0, 1.1), (200, 2.5, 1.0, 4.0))
"""Duration (ns), Rabi frequency and detuning (rad/us), phase."""


def pulse(duration: Any, amplitude: float, detuning: float, phase: float) -> dict[str, Any]:
    def constant(value: float) -> dict[str, Any]:
        return {"kind": "constant", "duration": duration, "value": value}

    return {
        "op": "pulse",
        "channel": "ch",
        "protocol": "no-delay",
        "amplitude": constant(amplitude),
        "detuning": constant(detuning),
        "phase": phase,
        "post_phase_shift": 0.0,
    }


def sequence(pulses: Any = PULSES, places: Any = ((0.0, 0.0),), **more: Any) -> str:
    shape = {
        "version": "1",
        "name": "test",
        "pulser_version": "1.9.1",
        "register": [{"name": f"q{n}", "x": x, "y": y} for n, (x, y) in enumerate(places)],
        "channels": {"ch": "rydberg_global"},
        "variables": {},
        "operations": [pulse(*each) for each in pulses],
        "measurement": "ground-rydberg",
        "device": DEVICE,
    }
    return json.dumps(shape | more)


def excited() -> float:
    """Return the chance that one atom is excited at the end."""
    state = np.array([0, 1], dtype=complex)
    for duration, rabi, detuning, phase in PULSES:
        turn = rabi / 2 * cmath.exp(1j * phase)
        drive = np.array([[-detuning, turn], [turn.conjugate(), 0]])
        state = expm(-1j * drive * duration * 1e-3) @ state
    return float(abs(state[0]) ** 2)


async def run(engine: QuantumEngine, source: str, shots: int = 5000) -> dict[str, int]:
    request = JobRequest(
        "pasqal-fresnel",
        (Program(source, "pulser"),),
        shots=shots,
        options=Options(seed=2, fidelity="ideal"),
    )
    job = await engine.desk.wait((await engine.desk.submit(request)).id, 50.0)
    assert job.state is JobState.COMPLETED, job.error
    result = await engine.desk.result(job.id)
    assert "pulser-core" in result.provenance.versions
    return result.counts


REFUSED = (
    ("{}", "no sequence"),
    ("[1]", "no sequence"),
    (sequence([(100_000_000, 1.0, 0.0, 0.0)]), "at most 100000 ns"),
    (sequence([("long", 1.0, 0.0, 0.0)]), "whole nanoseconds"),
    (sequence([(7000, 1.0, 0.0, 0.0)]), "lasts at most 6e-06 s"),
    (sequence([(100, 50.0, 0.0, 0.0)]), "amplitude is at most"),
    (sequence(places=((0.0, 0.0), (3.0, 0.0))), "apart"),
    (sequence(places=((0.0, 0.0), (90.0, 0.0))), "from the middle"),
    (sequence(channels={"ch": "other"}), "Pulser refuses"),
    (sequence(()), "drives nothing"),
)
"""Sequences that the machine would refuse, and what the refusal says."""


async def test_sequences_do_what_the_equations_say(engine: QuantumEngine) -> None:
    """One test, because each engine's processes import Pulser anew.

    One atom turns as two levels do that are integrated here. Two that are close are hardly ever
    both excited; together they turn the square root of two faster.
    """
    for source, says in REFUSED:
        with pytest.raises(SkerryError) as refused:
            await engine.desk.submit(
                JobRequest("pasqal-fresnel", (Program(source, "pulser"),), shots=1)
            )
        assert refused.value.problem is INVALID
        assert says in f"{refused.value.what} {refused.value.why}"
    assert await engine.desk.jobs() == []
    chance, counts = excited(), await run(engine, sequence())
    assert 0.2 < chance < 0.8
    assert abs(counts["r"] - 5000 * chance) < 5 * math.sqrt(5000 * chance * (1 - chance))
    duration = round(1000 * math.pi / (2.0 * math.sqrt(2)))
    pair = sequence([(duration, 2.0, 0.0, 0.0)], ((0.0, 0.0), (5.0, 0.0)))
    counter = await by_pasqals_wire(engine, pair, 500)
    assert counter.get("11", 0) <= 5, "a third of a run is expected, by perturbation theory"
    assert counter["10"] + counter["01"] > 490


async def by_pasqals_wire(engine: QuantumEngine, source: str, runs: int) -> dict[str, int]:
    """Run a sequence as a batch of two jobs; return what the first one's link leads to."""
    caller = Caller(engine)
    asked = {
        "project_id": "lab",
        "sequence_builder": source,
        "jobs": [{"runs": runs}, {"runs": 1, "sequence": source}],
        "device_type": "EMU_FREE",
        "open": False,
    }
    zipped = {
        "Authorization": f"Bearer {caller.token}",
        "Content-Encoding": "gzip",
    }
    body = gzip.compress(json.dumps(asked).encode())
    sent = await caller("POST", "/pasqal/api/v1/batches", body, zipped)
    batch = sent.json["data"]
    assert batch["status"] in ("PENDING", "RUNNING")
    assert (batch["open"], batch["jobs_count"]) == (False, 2)
    for each in batch["jobs"]:
        await engine.desk.wait(each["id"], 50.0)
    told = (await caller.bearer("GET", f"/pasqal/api/v1/batches/{batch['id']}/status")).json
    assert told["data"]["jobs_count_per_status"] == {"DONE": 2}
    first = batch["jobs"][0]["id"]
    answer = await caller.bearer("GET", f"/pasqal/api/v1/jobs/{first}/results_link")
    link = urlsplit(answer.json["data"]["results_link"])
    path = link.path.removeprefix("/@app/main/@qpu")
    stolen = await caller("GET", f"{path}?signature=none")
    assert stolen.status == 401
    found = (await caller("GET", f"{path}?{link.query}")).json
    assert len(found["raw"]) == sum(found["counter"].values()) == runs
    counter: dict[str, int] = found["counter"]
    return counter
