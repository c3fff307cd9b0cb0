"""Photons in linear optics: exact chances of all outcomes, for a few photons.

    {"modes": 2, "input": [1, 1], "components": [["bs", [0, 1], [1.5708]], ["ps", [0], [0.3]]],
     "noise": {"indistinguishability": 0.92, "transmittance": 0.5},
     "heralds": {"1": 1}, "postselect": "[0] == 1", "photons_min": 1, "detectors": {"0": [1, 1]}}

`bs` is a beam splitter by an angle (pi/2 sends half of the light each way), and so are `bs_ry` and
`bs_h`, by other conventions; all take four phases more (of inputs, then of outputs). `ps` is a
phase shift, `perm` sends each mode to another, `unitary` is a matrix of [real, imaginary] pairs.
What the figures of `noise` mean says `worker.slos`; what may be left out are `noise`, `heralds`
(photons that a mode must hold at the end; it is then not told), `postselect`, `photons_min` and
`detectors` (wires and the most that is counted, see `worker.selection`).

A program may also be one of Perceval's (see `worker.perceval`). An outcome is the numbers of
photons in the modes: "1,0,2".
"""

from __future__ import annotations

import cmath
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import perceval, slos
from .ir import UnsupportedError
from .selection import Selected, State, condition
from .sizes import MODES_MAX, PHOTONS_MAX

STATES_MAX = 2_100_000
WIRES_MAX = 64
_NOISE = slos.Noise._fields
SAMPLES_MAX = 1_000_000
_STATE_BYTES = 700
"""What is held for one state: its row, what it becomes by a photon in each mode, its chances."""


def plan(params: dict[str, Any]) -> dict[str, Any]:
    """Return what a run would be; raise UnsupportedError for what cannot be run."""
    program = checked(params)
    photons, modes, noise = sum(program["input"]), program["modes"], program["noise"]
    most = photons * (2 if noise.g2 else 1)
    number = slos.count(most, modes)
    needed = number * _STATE_BYTES
    if number > STATES_MAX or needed > int(params.get("memory_bytes", needed)):
        more = f", up to {most} with g2," if most > photons else ""
        raise UnsupportedError(
            f"{photons} photons{more} in {modes} modes have {number} outcomes, at most "
            f"{STATES_MAX} are computed ({needed / 2**30:.3g} GiB)."
        )
    unitary_of(program)
    _fits(program, params.get("device"))
    return {
        "qubits": photons,
        "bits": modes - len(program["heralds"]),
        "program_qubits": photons,
        "one_qubit_gates": 0,
        "two_qubit_gates": 0,
        "measurements": modes,
        "depth": len(program["components"]),
        "fidelity": (noise.transmittance * noise.brightness) ** photons,
        "engine": "slos",
        "reason": f"{photons} photons in {modes} modes: {number} outcomes, exact.",
        "bytes_needed": needed,
        "layout": [],
    }


def checked(params: dict[str, Any]) -> dict[str, Any]:
    """Return a program that came from outside, in the one form that is run."""
    source = params["source"]
    if params.get("format") == "perceval" or perceval.is_perceval(source):
        found = perceval.read(source, params.get("bindings") or {})
    else:
        try:
            found = json.loads(source)
        except (ValueError, RecursionError) as error:
            raise UnsupportedError("The program is no photonic circuit.", str(error)) from error
    try:
        return _whole(found)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UnsupportedError("The program is no photonic circuit.", str(error)) from error


def _whole(found: Any) -> dict[str, Any]:
    modes, photons = int(found["modes"]), [int(each) for each in found["input"]]
    noise: dict[str, Any] = {
        name: float(value) for name, value in (found.get("noise") or {}).items()
    }
    unknown = sorted(set(noise) - set(_NOISE))
    if unknown:
        raise UnsupportedError(f"The noise {unknown[0][:40]!r} is not known.")
    program = {
        "modes": modes,
        "input": photons,
        "noise": slos.Noise(**noise),
        "components": [
            (str(name), [int(mode) for mode in places], values)
            for name, places, values in found["components"]
        ],
        "heralds": {str(int(mode)): int(n) for mode, n in (found.get("heralds") or {}).items()},
        "detectors": {
            str(int(mode)): [int(wires), int(most)]
            for mode, (wires, most) in (found.get("detectors") or {}).items()
        },
        "postselect": str(found.get("postselect") or ""),
        "photons_min": int(found.get("photons_min") or 0),
        "command": found.get("command", ""),
        "max_samples": found.get("max_samples"),
    }
    _check(program)
    return program


def _check(program: dict[str, Any]) -> None:
    modes, photons, noise = program["modes"], program["input"], program["noise"]
    if not 1 <= modes <= MODES_MAX or len(photons) != modes or min(photons) < 0:
        raise UnsupportedError(
            f"A circuit has 1 to {MODES_MAX} modes, and `input` names the photons of each."
        )
    if not 1 <= sum(photons) <= PHOTONS_MAX:
        raise UnsupportedError(f"1 to {PHOTONS_MAX} photons are simulated, not {sum(photons)}.")
    if not all(0.0 <= each <= 1.0 for each in noise):
        raise UnsupportedError("Every figure of the noise is between 0 and 1.")
    if noise.g2 * noise.brightness > 0.5:
        raise UnsupportedError("No source that emits so brightly has so high a g2.")
    for mode in (*program["heralds"], *program["detectors"]):
        if not 0 <= int(mode) < modes:
            raise UnsupportedError(f"There is no mode {mode}.")
    for wires, most in program["detectors"].values():
        if not (0 <= wires <= WIRES_MAX and most >= 0):
            raise UnsupportedError(f"A detector has up to {WIRES_MAX} wires.")
    if len(program["heralds"]) == modes:
        raise UnsupportedError("Every mode is a herald: nothing is left to be told.")
    condition(program["postselect"], modes)


def _fits(program: dict[str, Any], device: dict[str, Any] | None) -> None:
    """Raise UnsupportedError for a circuit that is larger than a machine."""
    if device is None:
        return
    for what, number in (("modes", program["modes"]), ("photons", sum(program["input"]))):
        if number > device[what]:
            raise UnsupportedError(f"The machine has {device[what]} {what}, not {number}.")


def unitary_of(program: dict[str, Any]) -> Any:
    """Return the matrix of the circuit: column by column, where the light of a mode goes."""
    modes = program["modes"]
    whole = np.eye(modes, dtype=complex)
    for number, (name, places, values) in enumerate(program["components"]):
        if len(set(places)) != len(places) or not all(0 <= m < modes for m in places):
            raise UnsupportedError(f"Component {number} names modes that are not there.")
        whole[places, :] = _matrix(name, places, values, number) @ whole[places, :]
    return whole


def _matrix(name: str, places: Sequence[int], values: Any, number: int) -> Any:
    try:
        if name in _SPLITTERS and len(places) == 2 and len(values) in (1, 5):
            return _splitter(name, *map(float, values))
        if name == "ps" and len(places) == 1:
            return np.array([[cmath.exp(1j * float(values[0]))]])
        if name == "perm" and sorted(values) == list(range(len(places))):
            found = np.zeros((len(places),) * 2, dtype=complex)
            found[list(values), range(len(places))] = 1.0
            return found
        if name == "unitary":
            found = np.array([[complex(*each) for each in row] for row in values])
            if found.shape == (len(places),) * 2 and np.allclose(
                found @ found.conj().T, np.eye(len(places)), atol=1e-6
            ):
                return found
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise UnsupportedError(f"Component {number} is malformed.", str(error)) from error
    known = ", ".join((*_SPLITTERS, "ps", "perm", "unitary"))
    raise UnsupportedError(f"Component {number}, {name[:20]!r}, is none of {known}.")


_SPLITTERS = {
    "bs": ((1, 1j), (1j, 1)),
    "bs_ry": ((1, -1), (1, 1)),
    "bs_h": ((1, 1), (1, -1)),
}
"""Factors of cosines (on the diagonal) and sines, by convention."""


def _splitter(
    name: str,
    theta: float,
    top_in: float = 0.0,
    bottom_in: float = 0.0,
    top_out: float = 0.0,
    bottom_out: float = 0.0,
) -> Any:
    cosine, sine = math.cos(theta / 2), math.sin(theta / 2)
    before = np.diag([cmath.exp(1j * top_in), cmath.exp(1j * bottom_in)])
    behind = np.diag([cmath.exp(1j * top_out), cmath.exp(1j * bottom_out)])
    inner = np.array(_SPLITTERS[name], dtype=complex) * np.array([[cosine, sine], [sine, cosine]])
    return behind @ inner @ before


def run(params: dict[str, Any]) -> dict[str, Any]:
    """Return how often each outcome came, and how."""
    planned, program = plan(params), checked(params)
    selected = distribution(program)
    counts, used = _drawn(program, selected, int(params["shots"]), int(params["seed"]))
    told = planned["bits"]
    values: dict[str, Any] = dict(selected.performance)
    if program["command"] == "probs":
        whole = values["global_perf"]
        values["probs"] = {_text(state): p / whole for state, p in selected.found.items()}
    result = {
        "counts": counts,
        "shots": used,
        "registers": [["modes", 0, told]],
        "measured": [m for m in range(program["modes"]) if str(m) not in program["heralds"]],
        "engine": planned["engine"],
        "reason": planned["reason"],
        "compiled": params["source"],
        "layout": [],
        "fidelity": planned["fidelity"],
        "versions": {"numpy": np.__version__},
        "pragmas": [],
        "photons": values,
        "gates": [0, 0, program["modes"]],
    }
    if params.get("memory") or program["command"] == "samples":
        generator = np.random.default_rng([int(params["seed"]), 1])
        texts = [text for text, number in counts.items() for _ in range(number)]
        result["memory"] = [texts[place] for place in generator.permutation(len(texts))]
    return result


def _drawn(
    program: dict[str, Any], selected: Selected, shots: int, seed: int
) -> tuple[dict[str, int], int]:
    """Return how often each outcome came, and how many shots that took.

    In Perceval's words a shot is one in which anything was found at all, and drawing ends when
    there are `max_samples` outcomes that count.
    """
    if program["command"] == "probs":
        return {}, 0
    most = program["max_samples"]
    if program["command"] == "samples":
        most = SAMPLES_MAX if most is None else min(most, SAMPLES_MAX)
    generator = np.random.default_rng(seed)
    whole = selected.performance["global_perf"]
    chance = min(1.0, whole / (selected.any if program["command"] else 1.0)) if whole else 0.0
    number = int(generator.binomial(shots, chance))
    if most is not None and number > most:
        number = most
        shots = min(shots, math.ceil(number / chance))
    if not number:
        return {}, shots
    outcomes = sorted(selected.found)
    chances = np.array([selected.found[state] for state in outcomes])
    drawn = generator.multinomial(number, chances / chances.sum())
    pairs = zip(outcomes, drawn, strict=True)
    return {_text(state): int(times) for state, times in pairs if times}, shots


def _text(state: State) -> str:
    return ",".join(map(str, state))


def distribution(program: dict[str, Any]) -> Selected:
    """Return the outcomes of a checked program that count, with their chances."""
    selected = Selected(program)
    spread = slos.distribution(unitary_of(program), program["input"], program["noise"])
    for photons, chances in enumerate(spread):
        rows = slos.states(photons, program["modes"])
        for place in np.flatnonzero(chances > 0.0):
            selected.add(tuple(map(int, rows[place])), float(chances[place]))
    return selected
