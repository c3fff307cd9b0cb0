"""Photons in linear optics: exact probabilities from permanents, for a few photons.

    {"modes": 2, "input": [1, 1], "components": [["bs", [0, 1], [1.5708]], ["ps", [0], [0.3]]],
     "noise": {"indistinguishability": 0.92, "transmittance": 0.5}}

`bs` is a beam splitter by an angle (pi/2 sends half of the light each way), `ps` a phase shift,
`unitary` a matrix of [real, imaginary] pairs on some modes. A photon is in the state that all share
with chance sqrt(indistinguishability), else in one of its own, so that the visibility of two
photons is the indistinguishability. Each photon is lost with chance 1 - transmittance. An outcome
is the numbers of photons in the modes: "1,0,2".

Probabilities of shared photons are permanents (arXiv:1011.3245), by Ryser's formula.
"""

from __future__ import annotations

import cmath
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations, combinations_with_replacement
from typing import Any

import numpy as np

from .ir import UnsupportedError

PHOTONS_MAX = 7
MODES_MAX = 24
STATES_MAX = 200_000
State = tuple[int, ...]


def plan(params: dict[str, Any]) -> dict[str, Any]:
    """Return what a run would be; raise UnsupportedError for what cannot be run."""
    program = _program(params["source"])
    photons, modes = sum(program["input"]), program["modes"]
    states = math.comb(modes + photons - 1, photons)
    if states > STATES_MAX:
        raise UnsupportedError(
            f"{photons} photons in {modes} modes have {states} outcomes, at most {STATES_MAX}."
        )
    return {
        "qubits": photons,
        "bits": modes,
        "program_qubits": photons,
        "one_qubit_gates": 0,
        "two_qubit_gates": 0,
        "measurements": modes,
        "depth": len(program["components"]),
        "fidelity": program["noise"]["transmittance"] ** photons,
        "engine": "permanents",
        "reason": f"{photons} photons in {modes} modes: {states} outcomes, exact.",
        "bytes_needed": states * 64,
        "layout": [],
    }


def _program(source: str) -> dict[str, Any]:
    """Return a program that came from outside, checked."""
    try:
        found = json.loads(source)
        modes, photons = int(found["modes"]), [int(each) for each in found["input"]]
        noise = {
            name: float(found.get("noise", {}).get(name, 1.0))
            for name in ("indistinguishability", "transmittance")
        }
        components = [
            (str(name), [int(mode) for mode in places], values)
            for name, places, values in found["components"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UnsupportedError("The program is no photonic circuit.", str(error)) from error
    if not 1 <= modes <= MODES_MAX or len(photons) != modes or min(photons) < 0:
        raise UnsupportedError(f"A circuit has 1 to {MODES_MAX} modes, and `input` names each.")
    if not 1 <= sum(photons) <= PHOTONS_MAX:
        raise UnsupportedError(f"1 to {PHOTONS_MAX} photons are simulated, not {sum(photons)}.")
    if not all(0.0 <= each <= 1.0 for each in noise.values()):
        raise UnsupportedError("Every figure of the noise is between 0 and 1.")
    return {"modes": modes, "input": photons, "noise": noise, "components": components}


def _unitary(program: dict[str, Any]) -> Any:
    """Return the matrix of the circuit: column by column, where the light of a mode goes."""
    whole = np.eye(program["modes"], dtype=complex)
    for number, (name, places, values) in enumerate(program["components"]):
        if len(set(places)) != len(places) or not all(0 <= m < program["modes"] for m in places):
            raise UnsupportedError(f"Component {number} names modes that are not there.")
        part = np.eye(program["modes"], dtype=complex)
        part[np.ix_(places, places)] = _matrix(name, places, values, number)
        whole = part @ whole
    return whole


def _matrix(name: str, places: Sequence[int], values: Any, number: int) -> Any:
    try:
        if name == "bs" and len(places) == 2:
            cosine, sine = math.cos(float(values[0]) / 2), math.sin(float(values[0]) / 2)
            return np.array([[cosine, 1j * sine], [1j * sine, cosine]])
        if name == "ps" and len(places) == 1:
            return np.array([[cmath.exp(1j * float(values[0]))]])
        if name == "unitary":
            found = np.array([[complex(*each) for each in row] for row in values])
            if found.shape == (len(places),) * 2 and np.allclose(
                found @ found.conj().T, np.eye(len(places)), atol=1e-8
            ):
                return found
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise UnsupportedError(f"Component {number} is malformed.", str(error)) from error
    raise UnsupportedError(f"Component {number}, {name[:20]!r}, is none of bs, ps, unitary.")


def run(params: dict[str, Any]) -> dict[str, Any]:
    """Return how often each outcome came, and how."""
    planned, program = plan(params), _program(params["source"])
    found = distribution(program)
    states = sorted(found)
    chances = np.array([found[state] for state in states])
    generator = np.random.default_rng(int(params["seed"]))
    drawn = generator.multinomial(int(params["shots"]), chances / chances.sum())
    counts = {
        ",".join(map(str, state)): int(number)
        for state, number in zip(states, drawn, strict=True)
        if number
    }
    result = {
        "counts": counts,
        "registers": [["modes", 0, program["modes"]]],
        "measured": list(range(program["modes"])),
        "engine": planned["engine"],
        "reason": planned["reason"],
        "compiled": params["source"],
        "layout": [],
        "fidelity": planned["fidelity"],
        "versions": {"numpy": np.__version__},
        "pragmas": [],
        "gates": [0, 0, program["modes"]],
    }
    if params.get("memory"):
        texts = [text for text, number in counts.items() for _ in range(number)]
        result["memory"] = [texts[place] for place in generator.permutation(len(texts))]
    return result


def distribution(program: dict[str, Any]) -> dict[State, float]:
    """Return the chance of every outcome of a checked program."""
    unitary = _unitary(program)
    sources = [mode for mode, count in enumerate(program["input"]) for _ in range(count)]
    kept = program["noise"]["transmittance"]
    shared = math.sqrt(program["noise"]["indistinguishability"])
    total: dict[State, float] = defaultdict(float)
    interfering: dict[tuple[int, ...], dict[State, float]] = {}
    for alive, chance in _subsets(sources, kept):
        for together, odds in _subsets(alive, shared):
            weight = chance * odds
            if weight < 1e-15:
                continue
            if together not in interfering:
                interfering[together] = _shared(unitary, together)
            spread = interfering[together]
            for mode in _without(alive, together):
                spread = _added(spread, np.abs(unitary[:, mode]) ** 2)
            for state, each in spread.items():
                total[state] += weight * each
    return dict(total)


def _subsets(photons: Sequence[int], chance: float) -> Iterator[tuple[tuple[int, ...], float]]:
    """Yield which of some photons pass a test that each passes by a chance, and how likely."""
    count = len(photons)
    for size in range(count + 1):
        odds = chance**size * (1 - chance) ** (count - size)
        if odds > 0.0:
            for chosen in combinations(range(count), size):
                yield tuple(photons[each] for each in chosen), odds


def _without(photons: Sequence[int], some: Sequence[int]) -> list[int]:
    rest = list(photons)
    for each in some:
        rest.remove(each)
    return rest


def _shared(unitary: Any, sources: Sequence[int]) -> dict[State, float]:
    """Return the outcomes of photons that cannot be told apart."""
    modes = len(unitary)
    bunched = math.prod(math.factorial(sources.count(each)) for each in set(sources))
    found: dict[State, float] = {}
    for targets in combinations_with_replacement(range(modes), len(sources)):
        state = tuple(targets.count(mode) for mode in range(modes))
        norm = bunched * math.prod(math.factorial(each) for each in state)
        amplitude = permanent(unitary[np.ix_(targets, sources)])
        found[state] = abs(amplitude) ** 2 / norm
    return found


def _added(spread: dict[State, float], chances: Any) -> dict[State, float]:
    """Return outcomes with one more photon, which interferes with no other."""
    found: dict[State, float] = defaultdict(float)
    for state, each in spread.items():
        for mode, chance in enumerate(chances):
            if chance:
                more = (*state[:mode], state[mode] + 1, *state[mode + 1 :])
                found[more] += each * float(chance)
    return found


def permanent(matrix: Any) -> complex:
    """Return the permanent of a square matrix by Ryser's formula."""
    count = len(matrix)
    if count == 0:
        return 1.0 + 0j
    total = 0j
    for chosen in range(1, 1 << count):
        columns = [each for each in range(count) if chosen >> each & 1]
        sign = -1 if (count - len(columns)) % 2 else 1
        total += sign * complex(np.prod(matrix[:, columns].sum(axis=1)))
    return total
