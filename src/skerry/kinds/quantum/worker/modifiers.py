"""Modifiers of gates in OpenQASM: `ctrl`, `negctrl`, `inv` and `pow`, and phases of all qubits.

A phase of all qubits changes no outcome, but under a control it is a gate of the control. While
modifiers are done it is therefore an operation `["gphase", [], [angle]]`, as OpenQASM calls it.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence

from . import words
from .ir import ARITY, Matrix, Op, UnsupportedError, matrix, multiply
from .names import inverse, under_control
from .words import Sum

POWER_MAX = 1000
ADDITIVE = frozenset(
    {"p", "rx", "ry", "rz", "cp", "crx", "cry", "crz", "rxx", "ryy", "rzz", "zzphase", "gphase"}
)
"""Gates of one angle that, done twice, are done with the sum of the angles."""

_NO_GATES = frozenset({"if", "while", "set", "measure", "reset"})
_TINY = 1e-12
_CONTROLLED = {"cx": "x", "cy": "y", "cz": "z", "ch": "h", "cp": "p", "crx": "rx", "cry": "ry"}
_CONTROLLED |= {"crz": "rz", "ccx": "cx", "ccz": "cz"}
"""Gates that are others under a control."""


def phase(angle: float | Sum) -> Op:
    """Return a phase of all qubits."""
    return ["gphase", [], [angle]]


def without_phases(ops: Sequence[Op]) -> list[Op]:
    """Return operations without the phases of all qubits, which change no outcome."""
    return [op for op in ops if op[0] != "gphase"]


def modified(kind: str, count: float, ops: list[Op], held: list[int]) -> list[Op]:
    """Return operations under one modifier; it takes its controls from the end of `held`.

    Raises UnsupportedError for what has no such modifier.
    """
    if any(op[0] in _NO_GATES for op in ops):
        raise UnsupportedError("Modifiers are for gates.")
    if kind == "inv":
        return [undone for op in reversed(ops) for undone in inverse(op)]
    if kind == "pow":
        return _power(count, ops)
    for _ in range(int(count)):
        control = held.pop()
        ops = [each for op in ops for each in controlled(control, op)]
        if kind == "negctrl":
            flip: Op = ["x", [control], []]
            ops = [flip, *ops, flip]
    return ops


def controlled(control: int, op: Op) -> list[Op]:
    """Return a gate under the control of another qubit being 1."""
    name, qubits, params = op
    if name == "gphase":
        return [["p", [control], params]]
    if control in qubits or name not in ARITY:
        return under_control(control, op)
    try:
        return under_control(control, op)
    except UnsupportedError:
        if name in ("rxx", "ryy", "rzz", "zzphase"):
            return _controlled_pair(control, op)
        if name in _CONTROLLED or name == "cu":
            return _twice_controlled(control, op)
        if name == "cswap":
            first, one, other = qubits
            ends: Op = ["cx", [other, one], []]
            return [ends, *controlled(control, ["ccx", [first, one, other], []]), ends]
        if len(qubits) != 1:
            raise
        *angles, turned = rotation_of(matrix(name, params))
        return [["cu", [control, *qubits], [*angles, turned]]]


def _controlled_pair(control: int, op: Op) -> list[Op]:
    """Return a rotation of two qubits about their common axis under a control."""
    name, (one, other), (angle,) = op
    edges: dict[str, list[Op]] = {"rxx": [["h", [one], []], ["h", [other], []]]}
    edges["ryy"] = [["sx", [one], []], ["sx", [other], []]]
    before = edges.get(name, [])
    after = [undone for each in before for undone in inverse(each)]
    middle: Op = ["cx", [one, other], []]
    return [*before, middle, ["crz", [control, other], [angle]], middle, *after]


def _twice_controlled(control: int, op: Op) -> list[Op]:
    """Return a gate that has a control under a second one, by roots of it.

    After Barenco et al., Physical Review A 52, 3457 (1995), lemma 7.5.
    """
    name, qubits, params = op
    first, rest = qubits[0], qubits[1:]
    inner: list[Op]
    if name == "cu":
        inner = [["u", rest, list(params[:3])], phase(params[3])]
    else:
        inner = [[_CONTROLLED[name], rest, list(params)]]
    root = _power(0.5, inner)
    back = modified("inv", 1, root, [])
    flip: Op = ["cx", [control, first], []]

    def under(place: int, ops: Sequence[Op]) -> list[Op]:
        return [each for op in ops for each in controlled(place, op)]

    return [*under(first, root), flip, *under(first, back), flip, *under(control, root)]


def _power(count: float, ops: list[Op]) -> list[Op]:
    if isinstance(count, float) and count.is_integer():
        count = int(count)
    if len(ops) == 1 and ops[0][0] in ADDITIVE and (isinstance(count, int) or _is_small(ops[0])):
        name, qubits, (angle,) = ops[0]
        return [[name, qubits, [times(angle, float(count))]]]
    if isinstance(count, int) and abs(count) <= POWER_MAX:
        once = ops if count >= 0 else modified("inv", 1, ops, [])
        return once * abs(count)
    if isinstance(count, int):
        raise UnsupportedError(f"A gate's power is a whole number up to {POWER_MAX}.")
    return _root(count, ops)


def _is_small(op: Op) -> bool:
    """Tell whether a rotation is by less than half a turn, so that its parts are not ambiguous."""
    return not isinstance(op[2][0], Sum) and abs(op[2][0]) < math.pi


def _root(exponent: float, ops: Sequence[Op]) -> list[Op]:
    """Return a power of gates of one qubit, or of one gate and its controls, that is no whole one.

    It is the principal one: of every eigenvalue, whose angle is above -pi and at most pi.
    """
    gates = without_phases(ops)
    if len(gates) == 1 and gates[0][0] in _CONTROLLED and len(gates) == len(ops):
        name, (control, *rest), params = gates[0]
        inner = _power(exponent, [[_CONTROLLED[name], rest, params]])
        return [each for op in inner for each in controlled(control, op)]
    places = {place for op in gates for place in op[1]}
    if len(places) != 1:
        raise UnsupportedError(
            "Powers that are no whole numbers are of one gate on one qubit, and its controls."
        )
    total: Matrix = [[1, 0], [0, 1]]
    for name, _, params in ops:
        inner_matrix = _scalar(params[0]) if name == "gphase" else matrix(name, params)
        total = multiply(inner_matrix, total)
    *angles, turned = rotation_of(powered(total, exponent))
    return [["u", list(places), angles], phase(turned)]


def _scalar(angle: float) -> Matrix:
    turned = cmath.exp(1j * angle)
    return [[turned, 0], [0, turned]]


def powered(unitary: Matrix, exponent: float) -> Matrix:
    """Return the principal power of a unitary of one qubit, by its eigenvalues."""
    (a, b), (c, d) = unitary
    middle = (a + d) / 2
    spread = cmath.sqrt(middle * middle - (a * d - b * c))
    first, second = middle + spread, middle - spread
    one, other = (_raised(each, exponent) for each in (first, second))
    if abs(first - second) < _TINY:
        return [[one, 0], [0, one]]
    slope = (one - other) / (first - second)
    shift = one - slope * first
    return [[slope * a + shift, slope * b], [slope * c, slope * d + shift]]


def _raised(eigenvalue: complex, exponent: float) -> complex:
    angle = cmath.phase(eigenvalue)
    if angle < -math.pi + _TINY:
        angle = math.pi
    return cmath.exp(1j * exponent * angle)


def rotation_of(unitary: Matrix) -> tuple[float, float, float, float]:
    """Return the angles of the gate `u` that a unitary of one qubit is, and its phase beside."""
    (a, b), (c, d) = unitary
    theta = 2 * math.atan2(abs(c), abs(a))
    if abs(c) < _TINY:
        start = cmath.phase(a)
        return 0.0, 0.0, cmath.phase(d) - start, start
    if abs(a) < _TINY:
        start = cmath.phase(c)
        return math.pi, 0.0, cmath.phase(-b) - start, start
    start = cmath.phase(a)
    return theta, cmath.phase(c) - start, cmath.phase(-b) - start, start


def times(angle: float | Sum, factor: float) -> float | Sum:
    """Return a multiple of an angle."""
    return words.scaled(angle, factor) if isinstance(angle, Sum) else angle * factor
