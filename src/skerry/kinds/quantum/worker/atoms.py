"""Analog programs of neutral atoms (AHS), on Braket's Rydberg simulator, with a machine's limits.

A twin repeats the evolution for a few draws of what varies from shot to shot: sites that stay
empty, the relative error of the Rabi frequency, and a detuning whose spread dephases as the
published T2* does (sigma = sqrt(2) / T2*). Reading errs by the published chances. Outcomes are
texts with one letter a site: `g` ground, `r` Rydberg, `e` empty.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from . import sequences
from .ir import UnsupportedError

ATOMS_MAX = 12
DRAWS_MAX = 12
_STEPS = 100
_SITE_BYTES = 16 << 4
"""What the simulator holds for each basis state: a few operators with complex entries."""


def plan(params: dict[str, Any]) -> dict[str, Any]:
    """Return what a run would be; raise UnsupportedError for what the machine would refuse."""
    program = _program(params)
    limits = params["device"]
    atoms = sum(program["setup"]["ahs_register"]["filling"])
    needed = _SITE_BYTES * atoms << atoms
    if atoms > ATOMS_MAX or needed > int(params["memory_bytes"]):
        raise UnsupportedError(
            f"{atoms} atoms need {needed / 2**30:.3g} GiB and too long; {ATOMS_MAX} are simulated."
        )
    wrong = max(limits["ground_error"], limits["rydberg_error"]) * float(params["pessimism"])
    noisy = params.get("fidelity") != "ideal"
    return {
        "qubits": atoms,
        "bits": len(program["setup"]["ahs_register"]["sites"]),
        "program_qubits": atoms,
        "one_qubit_gates": 0,
        "two_qubit_gates": 0,
        "measurements": atoms,
        "depth": 0,
        "fidelity": (1 - min(wrong, 1.0)) ** atoms if noisy else 1.0,
        "engine": "ahs",
        "reason": f"{atoms} atoms, an analog program: the Schrödinger equation is integrated.",
        "bytes_needed": needed,
        "layout": [],
    }


def _program(params: dict[str, Any]) -> dict[str, Any]:
    """Return the program as plain JSON, checked against Braket's schema and the device's limits."""
    source = params["source"]
    is_pulser = params.get("format") == "pulser"
    if is_pulser:
        source = json.dumps(sequences.read(source, params.get("bindings") or {}))
    from braket.ir.ahs import Program  # noqa: PLC0415 (seconds; only for analog programs)
    from pydantic.v1 import ValidationError  # noqa: PLC0415

    try:
        found: dict[str, Any] = json.loads(Program.parse_raw(source).json())
    except (ValidationError, ValueError) as error:
        raise UnsupportedError("The program is no AHS program.", str(error)[:500]) from error
    register = found["setup"]["ahs_register"]
    sites = [(float(x), float(y)) for x, y in register["sites"]]
    limits = params["device"]
    if not sites or len(register["filling"]) != len(sites):
        raise UnsupportedError("The register fills as many sites as it has, at least one.")
    if len(sites) > limits["sites"]:
        raise UnsupportedError(f"The register has {len(sites)} sites, at most {limits['sites']}.")
    _check_places(sites, limits)
    for field in found["hamiltonian"]["drivingFields"]:
        _check_field(field, limits)
        if limits["rests"] and not is_pulser:
            _check_rest(field)
    if found["hamiltonian"].get("localDetuning"):
        raise UnsupportedError("Local detuning is not part of this twin.")
    return found


def _check_places(sites: list[tuple[float, float]], limits: dict[str, Any]) -> None:
    middle = [sum(site[axis] for site in sites) / len(sites) for axis in (0, 1)]
    far = max(math.dist(site, middle) for site in sites)
    if limits["radius"] and far > limits["radius"] * (1 + 1e-9):
        raise UnsupportedError(
            f"An atom is {far:g} m from the middle, at most {limits['radius']:g} m."
        )
    for axis, name in ((0, "width"), (1, "height")):
        extent = max(site[axis] for site in sites) - min(site[axis] for site in sites)
        if limits[name] and extent > limits[name] * (1 + 1e-9):
            raise UnsupportedError(f"The register is {extent:g} m, at most {limits[name]:g} m.")
    for number, one in enumerate(sites):
        for other in sites[number + 1 :]:
            apart = math.dist(one, other)
            if apart < limits["spacing"] * (1 - 1e-9):
                raise UnsupportedError(
                    f"Two sites are {apart:g} m apart, at least {limits['spacing']:g} m."
                )


def _check_field(field: dict[str, Any], limits: dict[str, Any]) -> None:
    for name, most in (("amplitude", limits["rabi"]), ("detuning", limits["detuning"])):
        series = field[name]["time_series"]
        if field[name]["pattern"] != "uniform":
            raise UnsupportedError(f"The {name} is uniform on this machine.")
        values = [float(each) for each in series["values"]]
        if max(map(abs, values)) > most * (1 + 1e-9):
            raise UnsupportedError(f"The {name} is at most {most:g} rad/s.")
        if float(series["times"][-1]) > limits["duration"] * (1 + 1e-9):
            raise UnsupportedError(f"A program lasts at most {limits['duration']:g} s.")
        if name == "amplitude" and min(values) < 0:
            raise UnsupportedError("The amplitude is never below 0.")


def _check_rest(field: dict[str, Any]) -> None:
    values = field["amplitude"]["time_series"]["values"]
    if float(values[0]) or float(values[-1]):
        raise UnsupportedError("The amplitude begins and ends at 0.")


def run(params: dict[str, Any]) -> dict[str, Any]:
    """Return how often each outcome came, and how."""
    planned, program = plan(params), _program(params)
    shots, seed = int(params["shots"]), int(params["seed"])
    generator = np.random.default_rng(seed)
    pessimism = 0.0 if params.get("fidelity") == "ideal" else float(params["pessimism"])
    limits = params["device"]
    draws = min(DRAWS_MAX, shots) if pessimism else 1
    texts: list[str] = []
    for number in range(draws):
        share = shots // draws + (number < shots % draws)
        drawn = _draw(program, limits, pessimism, generator)
        texts += _evolved(drawn, limits["c6"], share, (seed + number) % (1 << 32))
    read = [_misread(text, limits, pessimism, generator) for text in texts]
    counts: dict[str, int] = {}
    for text in read:
        counts[text] = counts.get(text, 0) + 1
    result = {
        "counts": counts,
        "registers": [["sites", 0, planned["bits"]]],
        "measured": list(range(planned["bits"])),
        "engine": "ahs",
        "reason": planned["reason"],
        "compiled": json.dumps(program),
        "layout": [],
        "fidelity": planned["fidelity"],
        "versions": _versions(params.get("format") == "pulser"),
        "pragmas": [],
        "gates": [0, 0, planned["measurements"]],
    }
    return result | ({"memory": read} if params.get("memory") else {})


def _draw(
    program: dict[str, Any], limits: dict[str, Any], pessimism: float, generator: Any
) -> dict[str, Any]:
    """Return the program as one shot may find it."""
    drawn: dict[str, Any] = json.loads(json.dumps(program))
    if not pessimism:
        return drawn
    register = drawn["setup"]["ahs_register"]
    empty = generator.random(len(register["filling"])) < limits["filling_error"] * pessimism
    register["filling"] = [
        0 if is_empty else filled
        for filled, is_empty in zip(register["filling"], empty, strict=True)
    ]
    factor = 1 + generator.normal(0.0, limits["rabi_error"] * pessimism)
    shift = generator.normal(0.0, math.sqrt(2) / limits["t2"] * pessimism) if limits["t2"] else 0.0
    for field in drawn["hamiltonian"]["drivingFields"]:
        for name, change in (("amplitude", (factor, 0.0)), ("detuning", (1.0, shift))):
            series = field[name]["time_series"]
            series["values"] = [
                str(max(float(v) * change[0], 0.0) if name == "amplitude" else float(v) + change[1])
                for v in series["values"]
            ]
    return drawn


def _evolved(program: dict[str, Any], c6: float, shots: int, seed: int) -> list[str]:
    from braket.analog_hamiltonian_simulator.rydberg.rydberg_simulator import (  # noqa: PLC0415
        RydbergAtomSimulator,
    )
    from braket.ir.ahs import Program  # noqa: PLC0415

    filling = program["setup"]["ahs_register"]["filling"]
    if not any(filling):
        return ["e" * len(filling)] * shots
    np.random.seed(seed)  # the simulator draws from the global generator
    times = program["hamiltonian"]["drivingFields"][0]["amplitude"]["time_series"]["times"]
    found = RydbergAtomSimulator().run(
        Program.parse_obj(program),
        shots=shots,
        steps=max(_STEPS, len(times)),
        rydberg_interaction_coef=c6,
    )
    texts = []
    for each in found.measurements:
        before, after = each.shotResult.preSequence, each.shotResult.postSequence
        letters = ("e" if not b else "g" if a else "r" for b, a in zip(before, after, strict=True))
        texts.append("".join(letters))
    return texts


def _misread(text: str, limits: dict[str, Any], pessimism: float, generator: Any) -> str:
    chances = {"g": limits["ground_error"], "r": limits["rydberg_error"], "e": 0.0}
    other = {"g": "r", "r": "g", "e": "e"}
    draws = generator.random(len(text))
    return "".join(
        other[letter] if draw < chances[letter] * pessimism else letter
        for letter, draw in zip(text, draws, strict=True)
    )


def _versions(is_pulser: bool) -> dict[str, str]:
    from importlib.metadata import version  # noqa: PLC0415

    names = ["amazon-braket-default-simulator", *(["pulser-core"] if is_pulser else [])]
    return {name: version(name) for name in names}
