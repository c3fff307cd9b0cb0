"""Turns a call of IBM's executor into circuits that are sampled.

Every item of its program is a circuit with the values of its parameters, or a circuit with a
samplex, which draws them at random: twirled gates, twirled readings, injected noise. What else a
samplex draws (which readings were flipped, the signs of quasi-probabilities) goes back as it is;
the client undoes it.
"""

from __future__ import annotations

import math
from typing import Any

from .ir import UnsupportedError
from .programs import PROGRAMS_MAX, Programs, shots_of, too_many
from .qpy import load_all, registers_of, unpacked
from .samplexes import drawn
from .tensors import packed, read

SCHEMA = "v2.0"
_SILENT = ("scheduler_timing", "stretch_values")
"""Options that ask for more in the answer than there is here."""


def executed(asked: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    """Return the programs of a call of the executor, and the places of their results."""
    if asked.get("schema_version") != SCHEMA:
        raise UnsupportedError(f"The executor's schema is {SCHEMA} here.")
    made = Programs(params.get("labels"))
    try:
        _refuse_options(asked.get("options") or {})
        program = asked["quantum_program"]
        if program.get("meas_level", "classified") != "classified":
            raise UnsupportedError("Twins have no raw signals; measure at the level `classified`.")
        packed_circuits = program["circuits"].get("b64_data")
        if packed_circuits is None:
            raise UnsupportedError("The circuits of an executor's program come in QPY.")
        circuits = load_all(unpacked(packed_circuits), PROGRAMS_MAX)
        pairs = list(zip(program["items"], circuits, strict=True))
        shots, seed = shots_of(program["shots"]), int(params["seed"])
        found = [
            {"shots": shots, **_item(item, circuit, made, (seed, number))}
            for number, (item, circuit) in enumerate(pairs)
        ]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        what = "The executor's program is malformed."
        raise UnsupportedError(what, f"{type(error).__name__}: {error}"[:300]) from error
    return {
        "programs": made.made,
        "pubs": found,
        "role": program.get("semantic_role"),
        "passthrough": program.get("passthrough_data"),
    }


def _refuse_options(options: dict[str, Any]) -> None:
    """Raise UnsupportedError for what would change the outcome or the answer, and is not done."""
    for name in _SILENT:
        if options.get(name):
            raise UnsupportedError(f"`{name}` is not told here.", "Twins have no pulse schedule.")
    if options.get("init_qubits", True) is not True:
        raise UnsupportedError("Every shot begins with qubits in 0: `init_qubits` stays true.")


def _item(
    item: dict[str, Any], circuit: Any, made: Programs, seed: tuple[int, int]
) -> dict[str, Any]:
    sorts = {"circuit": _arguments, "samplex": _randomised}
    if item["item_type"] not in sorts:
        raise UnsupportedError(f"Items of the sort {item['item_type']!s:.20} are not known.")
    shape, values, drawn_besides = sorts[item["item_type"]](item, circuit, seed)
    numbers = made.sweep(circuit, values.tolist())
    return {
        "shape": shape,
        "registers": registers_of(circuit),
        "programs": numbers,
        "tensors": {name: packed(each) for name, each in drawn_besides.items()},
    }


def _arguments(
    item: dict[str, Any], circuit: Any, _: tuple[int, int]
) -> tuple[list[int], Any, dict[str, Any]]:
    """Return the values of an item's parameters, one row for each place of its shape."""
    import numpy as np  # noqa: PLC0415

    values = read(item["circuit_arguments"])
    wanted = len(circuit.parameters)
    if values.ndim == 0 or values.shape[-1] != wanted:
        raise UnsupportedError(f"The circuit has {wanted} parameters, not {values.shape[-1:]}.")
    shape = np.broadcast_shapes(_shape(item["shape"]), values.shape[:-1])
    _bounded(shape)
    rows = np.broadcast_to(values, (*shape, wanted)).reshape(math.prod(shape), wanted)
    return list(shape), rows, {}


def _randomised(
    item: dict[str, Any], circuit: Any, seed: tuple[int, int]
) -> tuple[list[int], Any, dict[str, Any]]:
    """Return the values that an item's samplex draws, and what it draws besides."""
    shape = _shape(item["shape"])
    _bounded(shape)
    found = drawn(item["samplex"], item["samplex_arguments"], shape, seed)
    wanted = len(circuit.parameters)
    values = found.tensors.pop("parameter_values", None)
    if values is None or values.shape[-1] != wanted:
        raise UnsupportedError("The samplex draws no values for the parameters of its circuit.")
    _bounded(found.shape)
    rows = values.reshape(math.prod(found.shape), wanted).astype(float)
    return list(found.shape), rows, found.tensors


def _shape(found: Any) -> tuple[int, ...]:
    shape = tuple(int(each) for each in found)
    if min(shape, default=1) < 1:
        raise UnsupportedError("A shape is of numbers above 0.")
    return shape


def _bounded(shape: tuple[int, ...]) -> None:
    if math.prod(shape) > PROGRAMS_MAX:
        raise too_many()
