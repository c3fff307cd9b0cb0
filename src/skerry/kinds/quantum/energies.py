"""What a molecule's energy is measured by on a twin, and how far each step is from the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from skerry.kernel.errors import BUSY, ENGINE_FAILED
from skerry.kinds.quantum.contract import JobRequest, JobState, Options, Program, Result
from skerry.kinds.quantum.messages import Energy, Measurement, OnTwin, Outcome

NO_DEVICE = "none"
ASKED = (
    "molecule",
    "basis",
    "electrons",
    "orbitals",
    "active",
    "freeze",
    "repeats",
    "lengths",
)
"""What the command and the word call by the same names."""


class Part(msgspec.Struct, frozen=True):
    """One part of an error budget; None where it is not known, `spread` for what has no sign."""

    part: str
    hartree: float | None
    how: str
    spread: bool = False


def request(energy: Energy, molecule: str, device: str, shots: int, options: Options) -> JobRequest:
    """Return the job that measures an energy: one program for each group of terms."""
    return JobRequest(
        device=device,
        programs=tuple(Program(each.source) for each in energy.measurements),
        shots=shots,
        options=options,
        name=f"energy of {molecule}"[:200],
    )


def measured(energy: Energy, outcome: Outcome) -> Energy:
    """Return an energy with what its job measured; raise BUSY or ENGINE_FAILED if it has not."""
    job = outcome.job
    require(outcome)
    pairs = list(zip(energy.measurements, outcome.results, strict=True))
    found = [mean_of(measurement, result) for measurement, result in pairs]
    twin = OnTwin(
        device=job.request.device,
        job=job.id,
        circuits=len(pairs),
        shots=sum(each.shots for each in outcome.results),
        energy=energy.offset + sum(mean for mean, _ in found),
        deviation=math.sqrt(sum(square for _, square in found)),
    )
    return msgspec.structs.replace(energy, twin=twin, measurements=())


def require(outcome: Outcome) -> None:
    """Raise BUSY or ENGINE_FAILED for a job that has not measured what it was to."""
    job = outcome.job
    if job.state is not JobState.COMPLETED:
        problem = ENGINE_FAILED if job.over else BUSY
        raise problem(
            f"Job {job.id} measured no energy: it is {job.state}.",
            hint=f"skerry quantum job {job.id}",
        )


def mean_of(measurement: Measurement, result: Result) -> tuple[float, float]:
    """Return the mean of a circuit's terms over its shots, and the square of its error."""
    shots, total, squares = 0, 0.0, 0.0
    for text, count in result.counts.items():
        value = sum(
            weight * (-1) ** sum(text[bit] == "1" for bit in bits)
            for weight, bits in measurement.terms
        )
        shots += count
        total += count * value
        squares += count * value * value
    mean = total / shots
    return mean, max(0.0, squares / shots - mean * mean) / max(1, shots - 1)


def budget(energy: Energy) -> tuple[Part, ...]:
    """Return the parts of an energy's error, from the model of the molecule to the machine's."""
    full, twin = energy.full, energy.twin
    slope = f"circuit minus qubits; steepest slope left {energy.slope:.0e}"
    parts = [
        Part(
            "basis",
            None if energy.larger_basis is None else -energy.larger_basis,
            "estimate: CCSD in this basis minus CCSD in cc-pvtz",
        ),
        Part(
            "active space",
            None if full is None else energy.exact - full,
            "exact in the active space minus exact in all orbitals",
        ),
        Part("mapping", energy.mapped - energy.exact, "lowest in qubits minus lowest in electrons"),
        Part("circuit, optimiser", energy.variational - energy.mapped, slope),
    ]
    if twin is not None:
        noise = twin.energy - energy.variational
        shots = f"standard error of {twin.shots} shots of {twin.circuits} circuits"
        parts += [
            Part("noise", noise, f"twin of {twin.device} minus circuit, within the shots' error"),
            Part("shots", twin.deviation, shots, spread=True),
        ]
    return tuple(parts + (_of_search(energy) if energy.searched else []))


def _of_search(energy: Energy) -> list[Part]:
    """Return the parts of the error of a search on the twin."""
    found = energy.searched
    assert found is not None
    end = "settled" if found.settled else "at the end of its shots"
    taken = f"{found.sweeps} sweeps, {found.jobs} jobs, {found.shots} shots, {end}"
    return [
        Part(
            "search",
            found.noiseless - energy.variational,
            f"circuit at the search's parameters minus at the best, without noise; {taken}",
        ),
        Part(
            "noise there",
            found.energy - found.noiseless,
            f"twin of {found.device} minus circuit, at the search's parameters",
        ),
        Part("shots there", found.deviation, "standard error of that measurement", spread=True),
    ]


def milli(part: Part) -> str:
    """Return a part in thousandths of a hartree."""
    if part.hartree is None:
        return "not known"
    value = round(part.hartree * 1000, 3) + 0.0
    return f"±{value:.3f}" if part.spread else f"{value:+.3f}"


def searched_text(energy: Energy) -> str:
    """Return the energy that a search on the twin found, beside the exact one."""
    found = energy.searched
    if found is None:
        return ""
    return (
        f"search on the twin of {found.device}: {found.energy:.4f}±{found.deviation:.4f} hartree, "
        f"without noise there {found.noiseless:.6f}, without noise at best "
        f"{energy.variational:.6f}, exact {energy.exact:.6f}"
    )


def remarks(energies: Sequence[Energy]) -> list[str]:
    """Return where the twin's energies come from, or why there are none."""
    jobs = [each.twin.job for each in energies if each.twin is not None]
    if not jobs:
        return ["Nothing was measured on a twin: none was asked for, or it takes over 40 circuits."]
    return [f"The twin's outcomes and where they come from: skerry quantum job {jobs[0]}"]
