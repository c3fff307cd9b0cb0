"""A sampler's PUB with its gates and readings twirled: random Paulis that change nothing.

Noise becomes stochastic, and readings err alike for 0 and 1. Which readings were flipped is undone
when the results are written (`flips`: bits of every execution, in the order of `programs`).
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

from . import pubs
from .ir import UnsupportedError
from .programs import Programs, shots_of
from .qpy import registers_of
from .randomised import add, split


def twirled(pub: Any, params: dict[str, Any], made: Programs) -> dict[str, Any]:
    """Return the places of a PUB's results, and the flips of its readings."""
    import numpy as np  # noqa: PLC0415
    from samplomatic import build  # noqa: PLC0415 (a second; only where something is twirled)
    from samplomatic.transpiler import generate_boxing_pass_manager  # noqa: PLC0415

    parts = pub if isinstance(pub, list) else [pub]
    found = pubs.circuit(parts[0])
    values, shape = pubs.bindings(parts[1] if len(parts) > 1 else None, found)
    shots = shots_of(parts[2] if len(parts) > 2 and parts[2] is not None else params["shots"])
    registers = registers_of(found)
    if not registers:
        raise UnsupportedError("The circuit has no classical register.")
    noise = params["noise"]
    boxes = generate_boxing_pass_manager(
        enable_gates=noise["gates"],
        enable_measures=noise["measure"],
        twirling_strategy=noise["strategy"].replace("-", "_"),
    )
    circuit, samplex = build(boxes.run(found))
    given = samplex.inputs().make_broadcastable()
    if found.parameters:
        given.bind(parameter_values=np.array(values).reshape(*shape, len(found.parameters)))
    count, each = split(shots, noise)
    item = SimpleNamespace(
        circuit=circuit, samplex=samplex, samplex_arguments=given, shape=(count, *shape)
    )
    drawn, numbers = add(item, made, params, len(made.made))
    size = math.prod(shape)
    order = [number * size + place for place in range(size) for number in range(count)]
    return {
        "shape": shape,
        "shots": each,
        "total": count * each,
        "registers": registers,
        "programs": [numbers[place] for place in order],
        "flips": {
            name.removeprefix("measurement_flips."): [_text(flips, place) for place in order]
            for name, flips in drawn.tensors.items()
            if name.startswith("measurement_flips.")
        },
    }


def _text(flips: Any, place: int) -> str:
    """Return which bits of a register were flipped in one execution, bit 0 first."""
    rows = flips.reshape(-1, flips.shape[-1])
    return "".join("1" if each else "0" for each in rows[place])
