"""The twin of a machine of atoms: an ordered phase, its limits, and what its errors do to it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from skerry.kernel.errors import INVALID, UNSUPPORTED, SkerryError
from skerry.kinds.quantum.contract import Fidelity, JobRequest, JobState, Options, Program
from skerry.kinds.quantum.engine import QuantumEngine

DURATION = 4e-6


def series(values: list[float], pattern: str = "uniform") -> dict[str, Any]:
    times = [0.0, 0.15 * DURATION, 0.85 * DURATION, DURATION]
    return {
        "time_series": {"times": list(map(str, times)), "values": list(map(str, values))},
        "pattern": pattern,
    }


def chain(atoms: int, spacing: float = 5.5e-6, rabi: float = 1.57e7) -> str:
    """Return a slow sweep into the phase where every other atom of a chain is excited."""
    return json.dumps(
        {
            "braketSchemaHeader": {"name": "braket.ir.ahs.program", "version": "1"},
            "setup": {
                "ahs_register": {
                    "sites": [[str(number * spacing), "0"] for number in range(atoms)],
                    "filling": [1] * atoms,
                }
            },
            "hamiltonian": {
                "drivingFields": [
                    {
                        "amplitude": series([0, rabi, rabi, 0]),
                        "phase": series([0, 0, 0, 0]),
                        "detuning": series([-3e7, -3e7, 3e7, 3e7]),
                    }
                ],
                "localDetuning": [],
            },
        }
    )


def asked(source: str, **more: Any) -> JobRequest:
    shape: dict[str, Any] = {
        "device": "quera-aquila",
        "programs": (Program(source, format="ahs"),),
        "shots": 200,
        "options": Options(seed=3),
    }
    return JobRequest(**(shape | more))


async def test_a_sweep_ends_in_the_ordered_phase(engine: QuantumEngine) -> None:
    ordered = {}
    modes: tuple[Fidelity, ...] = ("ideal", "twin")
    for fidelity in modes:
        request = asked(chain(5), options=Options(seed=3, fidelity=fidelity))
        job = await engine.desk.wait((await engine.desk.submit(request)).id, 50.0)
        assert job.state is JobState.COMPLETED, job.error
        result = await engine.desk.result(job.id)
        assert sum(result.counts.values()) == 200
        assert all(set(text) <= set("gre") for text in result.counts)
        ordered[fidelity] = result.counts.get("rgrgr", 0) / 200
        assert result.provenance.engine == "ahs"
    assert ordered["ideal"] > 0.97, "0.994 by integrating the equation with ten times the steps"
    assert 0.55 < ordered["twin"] < 0.9, "three excited atoms are read right in 0.9 ** 3 at most"
    assert job.cost is not None
    assert job.cost.hardware == 2_090_910


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        (asked(chain(20)), INVALID),
        (asked(chain(3, spacing=2e-6)), INVALID),
        (asked(chain(3, rabi=3e7)), INVALID),
        (asked(chain(3), shots=1001), INVALID),
        (asked("{}"), INVALID),
        (asked("garbage"), INVALID),
        (asked(chain(3), device="iqm-garnet"), UNSUPPORTED),
        (asked(chain(3), device="pasqal-fresnel"), INVALID),
        (asked(chain(3), device="pasqal-fresnel-can1"), UNSUPPORTED),
    ],
)
async def test_what_the_machine_would_refuse_is_refused(
    engine: QuantumEngine, request_: JobRequest, problem: Any
) -> None:
    with pytest.raises(SkerryError) as refused:
        await engine.desk.submit(request_)
    assert refused.value.problem is problem
    assert await engine.desk.jobs() == []
