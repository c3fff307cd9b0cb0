"""Finds a variational circuit's parameters by measuring energies on a twin.

One parameter after the other is set to where the energy is lowest. The energy is a constant and two
frequencies in each parameter, because excitations have the eigenvalues -1, 0 and 1, so that five
measured points tell where that is, without a gradient or a step (K. Nakanishi, K. Fujii and
S. Todo, arXiv:1903.12166; for excitations J. Jaeger et al., arXiv:2409.05939).
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from skerry.kernel.errors import INVALID
from skerry.kinds.quantum.contract import JobRequest, Options, Program, Result
from skerry.kinds.quantum.energies import mean_of
from skerry.kinds.quantum.messages import Energy, OnTwin, Outcome, Searched

POINTS = 5
SHOTS_EACH = 500
"""Shots of every circuit while it is searched."""

SWEEPS_MAX = 20
SETTLED = 0.02
"""The search ends where no parameter moves by as many radians in a sweep."""

_GRID = 720
_TURN = 2 * math.pi

Ask = Callable[[JobRequest], Awaitable[Outcome]]
"""Runs a job to its end."""

Tell = Callable[[int, float], None]
"""Is told how many shots were taken, and the energy that is expected."""


class Found(msgspec.Struct, frozen=True):
    """Where a search ended, and what it took."""

    parameters: tuple[float, ...]
    sweeps: int
    jobs: int
    shots: int
    settled: bool


def cost(energy: Energy) -> int:
    """Return how many shots it takes to set one parameter."""
    return POINTS * SHOTS_EACH * len(energy.searched_by)


async def search(
    energy: Energy, device: str, budget: int, options: Options, ask: Ask, tell: Tell
) -> Found:
    """Return parameters whose energy is low on a twin, from those of the mean field on.

    Raises INVALID if the budget of shots does not pay for setting every parameter once.
    """
    count, each = energy.parameters, cost(energy)
    if not each or budget < each * count:
        raise INVALID(
            f"A search over {count} parameters takes at least {each * count} shots.",
            hint=f"--search {each * count}",
        )
    angles, shots, jobs = [0.0] * count, 0, 0
    for sweep in range(SWEEPS_MAX):
        moved = 0.0
        for number in range(count):
            if shots + each > budget:
                return Found(tuple(angles), sweep, jobs, shots, settled=False)
            seed = None if options.seed is None else options.seed + 1 + jobs
            asked = _request(energy, device, angles, number, _with_seed(options, seed))
            points = measured(energy, (await ask(asked)).results)
            shift, expected = lowest(points)
            angles[number] = math.remainder(angles[number] + shift, _TURN)
            moved, shots, jobs = max(moved, abs(shift)), shots + each, jobs + 1
            tell(shots, expected)
        if moved < SETTLED:
            return Found(tuple(angles), sweep + 1, jobs, shots, settled=True)
    return Found(tuple(angles), SWEEPS_MAX, jobs, shots, settled=False)


def _with_seed(options: Options, seed: int | None) -> Options:
    return msgspec.structs.replace(options, seed=seed)


def _request(
    energy: Energy, device: str, angles: Sequence[float], number: int, options: Options
) -> JobRequest:
    """Return the job that measures the points of one parameter: every circuit at each of them."""
    bindings = []
    for point in range(POINTS):
        moved = list(angles)
        moved[number] += point * _TURN / POINTS
        bindings.append({f"a{at}": value for at, value in enumerate(moved)})
    programs = tuple(
        Program(each.source, bindings=_used(each.source, bindings)) for each in energy.searched_by
    )
    name = f"search for an energy, parameter {number + 1}"
    return JobRequest(device, programs, SHOTS_EACH, options=options, name=name)


def _used(source: str, bindings: Sequence[dict[str, float]]) -> tuple[dict[str, float], ...]:
    """Return values for the inputs that a program has."""
    return tuple(
        {name: value for name, value in each.items() if f"input float[64] {name};" in source}
        for each in bindings
    )


def measured(energy: Energy, results: Sequence[Result]) -> list[float]:
    """Return the energy at each point, whose results are those of every circuit, one by one."""
    points = [energy.offset] * POINTS
    for number, measurement in enumerate(energy.searched_by):
        for point in range(POINTS):
            points[point] += mean_of(measurement, results[number * POINTS + point])[0]
    return points


def lowest(points: Sequence[float]) -> tuple[float, float]:
    """Return how far from the first of equally spaced points the lowest energy is, and which."""
    constant = sum(points) / POINTS
    waves = []
    for times in (1, 2):
        turns = [times * _TURN * at / POINTS for at in range(POINTS)]
        across = sum(e * math.cos(t) for e, t in zip(points, turns, strict=True)) * 2 / POINTS
        along = sum(e * math.sin(t) for e, t in zip(points, turns, strict=True)) * 2 / POINTS
        waves.append((times, across, along))

    def energy(angle: float) -> float:
        return constant + sum(
            a * math.cos(n * angle) + b * math.sin(n * angle) for n, a, b in waves
        )

    step = _TURN / _GRID
    best = min((at * step for at in range(-_GRID // 2, _GRID // 2)), key=energy)
    while step > 1e-7:
        step /= 2
        best = min((best - step, best, best + step), key=energy)
    return best, energy(best)


def told(found: Found, end: OnTwin, noiseless: float) -> Searched:
    """Return what a search came to, whose last parameters a job measured anew."""
    return Searched(
        device=end.device,
        job=end.job,
        sweeps=found.sweeps,
        jobs=found.jobs,
        shots=found.shots,
        settled=found.settled,
        parameters=found.parameters,
        energy=end.energy,
        deviation=end.deviation,
        noiseless=noiseless,
    )
