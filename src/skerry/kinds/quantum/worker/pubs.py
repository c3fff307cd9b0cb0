"""Reads the parts of PUBs: circuits, values of parameters, observables."""

from __future__ import annotations

import math
from io import BytesIO
from typing import Any

from .ir import UnsupportedError
from .programs import PROGRAMS_MAX, too_many
from .qpy import load, unpacked

ARRAY_BYTES_MAX = 16 << 20
PAULIS = frozenset("IXYZ")
PROJECTORS = frozenset("01+-rl")


def circuit(found: Any) -> Any:
    """Return the circuit that a PUB begins with, as Qiskit's; raise UnsupportedError."""
    if isinstance(found, str):
        return _written(found)
    if not isinstance(found, dict) or found.get("__type__") != "QuantumCircuit":
        raise UnsupportedError("A PUB begins with a circuit, in QPY or OpenQASM 3.")
    return load(unpacked(found["__value__"]))


def _written(text: str) -> Any:
    """Return a circuit that is written in OpenQASM 3; the parser of ours bounds its size."""
    from qiskit import qasm3  # noqa: PLC0415 (seconds; only where a circuit comes as text)

    from .running import parsed  # noqa: PLC0415

    parsed({"source": text, "format": "openqasm3", "bindings": {}})
    try:
        return qasm3.loads(text)
    except qasm3.QASM3ImporterError as error:
        raise UnsupportedError("The circuit cannot be read.", str(error)[:300]) from error


def bindings(found: Any, of: Any) -> tuple[list[list[float]], list[int]]:
    """Return the values of every binding, and the shape that they are laid out in."""
    wanted = len(of.parameters)
    if found is None or (isinstance(found, list) and not found):
        if wanted:
            raise UnsupportedError(f"The circuit has {wanted} parameters without values.")
        return [[]], []
    array = _array(found)
    if wanted == 0 and array.size == 0:
        shape = list(array.shape[:-1])
        count = math.prod(shape)
        if count > PROGRAMS_MAX:
            raise too_many()
        return [[] for _ in range(count)], shape
    if array.ndim == 0 or array.shape[-1] != wanted:
        raise UnsupportedError(f"The circuit has {wanted} parameters, not {array.shape[-1:]}.")
    return array.reshape(-1, wanted).tolist(), list(array.shape[:-1])


def _array(found: Any) -> Any:
    """Return numbers as an array; pickled ones are refused."""
    import numpy as np  # noqa: PLC0415

    if isinstance(found, dict) and found.get("__type__") == "ndarray":
        found = found["__value__"]
    if isinstance(found, str):
        data = unpacked(found, ARRAY_BYTES_MAX)
        array = np.load(BytesIO(data), allow_pickle=False)
    else:
        array = np.asarray(found)
    if array.dtype.kind not in "fiu":
        raise UnsupportedError("Values of parameters are real numbers.")
    if not np.all(np.isfinite(array)):
        raise UnsupportedError("A parameter's value is no number.")
    return array.astype(float)


def observables(found: Any, qubits: int) -> tuple[list[list[tuple[str, float]]], list[int]]:
    """Return observables as lists of terms, and the shape of their array."""
    if isinstance(found, dict) and found.get("__type__") == "ndarray":
        found = found["__value__"]
    shape: list[int] = []
    flat = [found]
    while isinstance(flat[0], list):
        sizes = {len(each) for each in flat}
        if len(sizes) != 1 or 0 in sizes:
            raise UnsupportedError("The observables are no full array.")
        shape.append(len(flat[0]))
        flat = [inner for each in flat for inner in each]
    return [_terms(each, qubits) for each in flat], shape


def _terms(found: Any, qubits: int) -> list[tuple[str, float]]:
    terms = {found: 1.0} if isinstance(found, str) else found
    if not isinstance(terms, dict):
        raise UnsupportedError("An observable is a sum of Pauli strings.")
    known = PAULIS | PROJECTORS
    for text in terms:
        if len(text) != qubits or not set(text) <= known:
            raise UnsupportedError(
                f"{text[:40]!r} is no observable of {qubits} qubits.",
                f"It has one of {''.join(sorted(known))} for each.",
            )
    return [(text, float(value)) for text, value in terms.items()]


def precision(found: Any, otherwise: float) -> float:
    """Return the precision of an estimator's PUB; raise UnsupportedError if it is none."""
    value = otherwise if found is None else found
    if not isinstance(value, int | float) or not 0 < value < 1e6:
        raise UnsupportedError("A precision is a number above 0.")
    return float(value)
