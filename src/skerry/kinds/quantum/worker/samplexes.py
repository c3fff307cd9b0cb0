"""Draws from a samplex of samplomatic's: random values for a circuit's parameters, and flips.

A samplex comes as JSON. The expressions of its parameters lie inside as QPY, which is checked by
the rules of `qpy` before the library sees it; nothing else of it is code.
"""

from __future__ import annotations

import base64
import json
import math
from typing import Any, NamedTuple

from .ir import UnsupportedError
from .qpy import readable
from .tensors import read

JSON_BYTES_MAX = 16 << 20
DRAWN_MAX = 32 << 20
"""How many numbers are drawn at most."""


class Drawn(NamedTuple):
    """What was drawn, by name; every array begins with the axes of `shape`."""

    shape: tuple[int, ...]
    tensors: dict[str, Any]


def drawn(
    model: dict[str, Any], arguments: dict[str, Any], shape: tuple[int, ...], seed: tuple[int, ...]
) -> Drawn:
    """Return what a samplex in JSON draws for every place of a shape; raise UnsupportedError.

    Axes along which an argument varies are swept; along all others the draws are independent.
    """
    samplex = _loaded(str(model["samplex_json"]))
    inputs = samplex.inputs().make_broadcastable()
    inputs.bind(**{name: _argument(value) for name, value in arguments.items()})
    return sampled(samplex, inputs, shape, seed)


def sampled(samplex: Any, inputs: Any, shape: tuple[int, ...], seed: tuple[int, ...]) -> Drawn:
    """Return what a samplex draws, given its inputs, which may vary along axes of the shape."""
    import numpy as np  # noqa: PLC0415

    if not inputs.fully_bound:
        raise UnsupportedError("The samplex lacks arguments.", inputs.describe()[:300])
    given = inputs.shape
    shape = tuple(int(each) for each in np.broadcast_shapes(shape, given))
    padded = (1,) * (len(shape) - len(given)) + given
    swept = [axis for axis, size in enumerate(padded) if size > 1]
    free = [axis for axis, size in enumerate(padded) if size <= 1]
    each_shape = tuple(shape[axis] for axis in free)
    count = math.prod(each_shape)
    _bounded(samplex, math.prod(shape))
    generator = np.random.default_rng(list(seed))
    tensors: dict[str, Any] = {}
    for place in np.ndindex(*(shape[axis] for axis in swept)):
        at = dict(zip(swept, place, strict=True))
        skipped = len(shape) - len(given)
        chosen = inputs[tuple(at.get(axis + skipped, 0) for axis in range(len(given)))]
        found = samplex.sample(chosen, num_randomizations=count, rng=generator, max_workers=1)
        rows = tuple(at.get(axis, slice(None)) for axis in range(len(shape)))
        for name, values in dict(found).items():
            if name not in tensors:
                tensors[name] = np.empty((*shape, *values.shape[1:]), dtype=values.dtype)
            tensors[name][rows] = values.reshape(*each_shape, *values.shape[1:])
    return Drawn(shape, tensors)


def _loaded(text: str) -> Any:
    """Return a samplex that is ready to draw."""
    if len(text) > JSON_BYTES_MAX:
        raise UnsupportedError(f"A samplex has at most {JSON_BYTES_MAX >> 20} MiB.")
    table = json.loads(json.loads(text)["attrs"]["param_table"])
    readable(base64.b64decode(table["circuit_base64"], validate=True), 1)
    try:
        from samplomatic.serialization import samplex_from_json  # noqa: PLC0415 (a second)
    except ImportError as error:
        raise UnsupportedError(
            "Items with a samplex need the package samplomatic.",
            "Install it with the stack: `skerry quantum install gates`.",
        ) from error
    try:
        return samplex_from_json(text).finalize()
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a panic of the reader is no Exception
        what = f"{type(error).__name__}: {error}"[:300]
        raise UnsupportedError("The samplex cannot be read.", what) from error


def _argument(value: Any) -> Any:
    """Return one argument: a number, an array, or a map of noise."""
    if not isinstance(value, dict):
        return value
    if "sparse_terms" not in value:
        return read(value)
    from qiskit.quantum_info import PauliLindbladMap  # noqa: PLC0415

    terms = [
        (str(text), list(map(int, at)), float(rate)) for text, at, rate in value["sparse_terms"]
    ]
    return PauliLindbladMap.from_sparse_list(terms, int(value["num_qubits"]))


def _bounded(samplex: Any, count: int) -> None:
    """Raise UnsupportedError for more numbers than may be drawn."""
    for each in samplex.outputs().specs:
        size = math.prod(dim for dim in each.shape if isinstance(dim, int))
        if size * count > DRAWN_MAX:
            raise UnsupportedError(f"A samplex draws at most {DRAWN_MAX} numbers here.")
