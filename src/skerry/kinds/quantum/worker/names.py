"""What gates are called in the dialects that come in, and what they are here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from .ir import TURN, Op, UnsupportedError

ALIASES = {
    "CX": "cx",
    "cnot": "cx",
    "U": "u",
    "u3": "u",
    "U3": "u",
    "u1": "p",
    "phase": "p",
    "phaseshift": "p",
    "cphase": "cp",
    "cphaseshift": "cp",
    "cu1": "cp",
    "i": "id",
    "si": "sdg",
    "ti": "tdg",
    "v": "sx",
    "vi": "sxdg",
    "ccnot": "ccx",
    "toffoli": "ccx",
    "fredkin": "cswap",
    "xx": "rxx",
    "yy": "ryy",
    "zz": "rzz",
    "ZZPhase": "zzphase",
    "PhasedX": "phasedx",
}
"""Other names of gates of `ir.ARITY`; angles are radians in all of these."""

FED_REGISTER = "key_"
"""How registers are called, before their number, that are measured for later pulses."""

_IN_TURNS = frozenset({"gpi", "gpi2", "ms"})
"""Gates whose angles are radians in OpenQASM and turns in circuits."""

_Macro = Callable[[Sequence[int], Sequence[float]], list[Op]]
_HALF = math.pi / 2

_MACROS: dict[str, tuple[int, int, _Macro]] = {
    "u0": (1, 1, lambda q, p: []),
    "u2": (1, 2, lambda q, p: [["u", [q[0]], [_HALF, p[0], p[1]]]]),
    "U2": (1, 2, lambda q, p: [["u", [q[0]], [_HALF, p[0], p[1]]]]),
    "cu3": (2, 3, lambda q, p: [["cu", list(q), [*p, 0.0]]]),
    "csx": (2, 0, lambda q, p: _controlled_root(q, _HALF)),
    "cv": (2, 0, lambda q, p: _controlled_root(q, _HALF)),
    "sqrt_iswap": (2, 0, lambda q, p: [["xy", list(q), [_HALF]]]),
    "gphase": (0, 1, lambda q, p: []),
}


def _controlled_root(qubits: Sequence[int], angle: float) -> list[Op]:
    a, b = qubits
    return [["h", [b], []], ["cp", [a, b], [angle]], ["h", [b], []]]


def spelled_out(name: str, qubits: Sequence[int], params: Sequence[float]) -> list[Op] | None:
    """Return the operations that a gate of no program's own means; None if it is not known."""
    if name in _MACROS:
        _check(name, *_MACROS[name][:2], qubits, params)
        return _MACROS[name][2](qubits, params)
    canonical = ALIASES.get(name, name)
    from .ir import ARITY  # noqa: PLC0415 (keeps the table in one place)

    if canonical not in ARITY:
        return None
    wires, angles = ARITY[canonical]
    if canonical == "ms" and len(params) == 2:
        params = [*params, _HALF]
    _check(name, wires, angles, qubits, params)
    values = [each / TURN for each in params] if canonical in _IN_TURNS else list(params)
    return [[canonical, list(qubits), values]]


def _check(
    name: str, wires: int, angles: int, qubits: Sequence[int], params: Sequence[float]
) -> None:
    if len(qubits) != wires:
        raise UnsupportedError(f"{name} takes {wires} qubits, not {len(qubits)}.")
    if len(params) != angles:
        raise UnsupportedError(f"{name} takes {angles} parameters, not {len(params)}.")
    if len(set(qubits)) != len(qubits):
        raise UnsupportedError(f"{name} is given one qubit twice.")


_INVERSE = {"s": "sdg", "sdg": "s", "t": "tdg", "tdg": "t", "sx": "sxdg", "sxdg": "sx"}
_OWN_INVERSE = frozenset(
    {"id", "x", "y", "z", "h", "cx", "cy", "cz", "ch", "swap", "ccx", "ccz", "cswap", "ecr", "gpi"}
)
_NEGATED = frozenset(
    {"p", "rx", "ry", "rz", "cp", "crx", "cry", "crz", "rxx", "ryy", "rzz", "zzphase", "zz", "xy"}
    | {"gphase"}
)


def inverse(op: Op) -> list[Op]:
    """Return the operations that undo a gate."""
    name, qubits, params = op
    if name in _OWN_INVERSE:
        return [op]
    if name in _INVERSE:
        return [[_INVERSE[name], qubits, []]]
    if name in _NEGATED:
        return [[name, qubits, [-params[0]]]]
    if name == "u":
        return [["u", qubits, [-params[0], -params[2], -params[1]]]]
    if name in ("r", "prx", "phasedx"):
        return [[name, qubits, [-params[0], params[1]]]]
    if name == "gpi2":
        return [["gpi2", qubits, [params[0] + 0.5]]]
    if name == "ms":
        return [["ms", qubits, [params[0] + 0.5, *params[1:]]]]
    if name == "cu":
        return [["cu", qubits, [-params[0], -params[2], -params[1], -params[3]]]]
    if name == "iswap":
        return [["xy", qubits, [-math.pi]]]
    raise UnsupportedError(f"The inverse of {name} is not known.")


_CONTROLLED = {
    "x": "cx",
    "y": "cy",
    "z": "cz",
    "h": "ch",
    "p": "cp",
    "rx": "crx",
    "ry": "cry",
    "rz": "crz",
    "swap": "cswap",
    "cx": "ccx",
    "cz": "ccz",
    "id": "id",
}


def under_control(control: int, op: Op) -> list[Op]:
    """Return a gate under the control of another qubit being 1."""
    name, qubits, params = op
    if control in qubits:
        raise UnsupportedError(f"{name} is controlled by its own qubit.")
    if name == "id":
        return [op]
    if name in _CONTROLLED:
        return [[_CONTROLLED[name], [control, *qubits], params]]
    if name in ("s", "sdg", "t", "tdg"):
        angle = {"s": _HALF, "sdg": -_HALF, "t": _HALF / 2, "tdg": -_HALF / 2}[name]
        return [["cp", [control, *qubits], [angle]]]
    if name == "sx":
        return _controlled_root([control, *qubits], _HALF)
    if name == "u":
        return [["cu", [control, *qubits], [*params, 0.0]]]
    raise UnsupportedError(
        f"A controlled {name} is not known.", "Write it out in gates of stdgates.inc."
    )
