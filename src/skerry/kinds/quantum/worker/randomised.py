"""Circuits with samplexes, drawn and kept as executions: what twirling and mitigation come to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .decoupling import decoupled
from .ir import UnsupportedError
from .programs import PROGRAMS_MAX, Programs, too_many
from .samplexes import Drawn, sampled


def split(shots: int, noise: dict[str, Any]) -> tuple[int, int]:
    """Return how many randomisations are drawn, and the shots of each.

    What is left open follows the documentation of IBM's `TwirlingOptions`: 32 randomisations, but
    at least 64 shots in each.
    """
    count, each = noise["num_randomizations"], noise["shots_per_randomization"]
    if count == "auto" and each == "auto":
        each = max(64, math.ceil(shots / 32))
    if each == "auto":
        return int(count), math.ceil(shots / int(count))
    if count == "auto":
        return math.ceil(shots / int(each)), int(each)
    return int(count), int(each)


def boxing(noise: dict[str, Any]) -> dict[str, Any]:
    """Return how samplomatic puts a circuit's gates and readings into boxes."""
    return {
        "enable_gates": noise["gates"],
        "enable_measures": True,
        "twirling_strategy": noise["strategy"].replace("-", "_"),
        "measure_annotations": "all" if noise["measure"] else "change_basis",
    }


def add(
    item: Any, made: Programs, params: dict[str, Any], number: int, places: Sequence[int] = ()
) -> tuple[Drawn, list[int]]:
    """Draw for an item of samplomatic's (circuit, samplex, arguments, shape) and keep it."""
    if math.prod(item.shape) > PROGRAMS_MAX:
        raise too_many()
    found = sampled(item.samplex, item.samplex_arguments, item.shape, (params["seed"], number))
    circuit = decoupled(item.circuit, params)
    values = found.tensors.pop("parameter_values", None)
    rows: list[list[float]] = [[]] * math.prod(found.shape)
    if values is not None:
        rows = values.reshape(math.prod(found.shape), -1).astype(float).tolist()
    if len(rows[0]) != len(circuit.parameters):
        raise UnsupportedError("The randomised circuit has other parameters than are drawn.")
    return found, made.sweep(circuit, rows, places)
