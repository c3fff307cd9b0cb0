"""Circuits as JSON: what parsing gives, compiling changes, engines run and dialects write.

    {"qubits": 2, "bits": 2, "registers": [["c", 0, 2]],
     "ops": [["h", [0], []], ["cx", [0, 1], []], ["measure", [0], [0]], ["measure", [1], [1]]]}

An operation is `[name, qubits, parameters]`; angles are radians. The parameter of `measure` is the
bit that it writes. `barrier`, `reset`, `delay` (seconds) and `measure` are no gates. A gate's first
qubit is the most significant bit of a row of its matrix.

`["if", qubits, [condition, operations, operations, line]]` decides while the circuit runs, by bits
that were measured before (see `conditions`): the first operations are done if the condition holds,
the second if not. Its qubits are those that either touches. `["while", qubits, [condition,
operations, [], line]]` does the operations again and again, as long as the condition holds before.
`["set", [], [bit, condition]]` makes a bit what a condition is. A circuit with any of the three is
called dynamic. Bits of `hidden`, a list like `registers`, are computed with and not told.

Conventions of vendors' gates: `gpi`, `gpi2`, `zz` and `ms` take turns (1 is 2 pi), as IonQ writes
them; everything else takes radians.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Matrix = list[list[complex]]
Op = list[Any]
Circuit = dict[str, Any]

BLOCKS = frozenset({"if", "while"})
"""Operations that hold others."""

NOT_GATES = frozenset({"measure", "barrier", "reset", "delay", "set"}) | BLOCKS
"""Operations that have no matrix."""

TURN = 2 * math.pi

LOOP_ROUNDS_MAX = 4096
"""How often a loop that measured bits end may go round in one shot."""

LOOP_ENDLESS = f"A loop did not end within {LOOP_ROUNDS_MAX} rounds."


class UnsupportedError(Exception):
    """A construct that cannot be done here: what, why, and the line it stands on (0: unknown)."""

    def __init__(self, what: str, why: str = "", line: int = 0) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.line = line


def flat(ops: Sequence[Op]) -> Iterator[Op]:
    """Yield operations, and those of both branches of an `if` instead of the `if`.

    A loop's are yielded once.
    """
    for op in ops:
        if op[0] in BLOCKS:
            yield from flat(op[2][1])
            yield from flat(op[2][2])
        else:
            yield op


def mapped(ops: Sequence[Op], change: Callable[[Op], Op]) -> list[Op]:
    """Return operations, each changed, in the branches of an `if` too; the `if` itself is not."""
    return [
        decided(op, mapped(op[2][1], change), mapped(op[2][2], change))
        if op[0] in BLOCKS
        else change(op)
        for op in ops
    ]


def decided(op: Op, then: list[Op], otherwise: list[Op]) -> Op:
    """Return an `if` or a loop with other operations, and the qubits that these touch."""
    condition, _, _, line = op[2]
    touched = {q for each in flat([*then, *otherwise]) if each[0] != "barrier" for q in each[1]}
    return [op[0], sorted(touched), [condition, then, otherwise, line]]


def line_of_choice(circuit: Circuit) -> int | None:
    """Return the line of a circuit's first choice (0: unknown), or None if it is not dynamic."""
    found = (op for op in circuit["ops"] if op[0] in BLOCKS or op[0] == "set")
    return next((op[2][3] if op[0] in BLOCKS else 0 for op in found), None)


def has_loop(ops: Sequence[Op]) -> bool:
    """Tell whether operations are done again as long as measured bits say so."""
    inner = (has_loop([*op[2][1], *op[2][2]]) for op in ops if op[0] in BLOCKS)
    return any(op[0] == "while" for op in ops) or any(inner)


def computes(circuit: Circuit) -> bool:
    """Tell whether a circuit writes bits that it computes, or repeats something."""
    return has_loop(circuit["ops"]) or any(op[0] == "set" for op in flat(circuit["ops"]))


def is_dynamic(circuit: Circuit) -> bool:
    """Tell whether a circuit decides while it runs."""
    return line_of_choice(circuit) is not None


def gates(circuit: Circuit) -> Iterator[Op]:
    """Yield the operations that are gates."""
    return (op for op in flat(circuit["ops"]) if op[0] not in NOT_GATES)


def measured(circuit: Circuit) -> list[int]:
    """Return for every bit the qubit that was last measured into it, or -1."""
    found = [-1] * circuit["bits"]
    for name, qubits, params in flat(circuit["ops"]):
        if name == "measure":
            found[params[0]] = qubits[0]
    return found


def is_terminal(circuit: Circuit) -> bool:
    """Tell whether nothing is done to a qubit after it was measured, and nothing is reset."""
    ended: set[int] = set()
    for name, qubits, _ in circuit["ops"]:
        if name in ("reset", "set") or name in BLOCKS:
            return False
        if name == "measure":
            if qubits[0] in ended:
                return False
            ended.add(qubits[0])
        elif name not in ("barrier", "delay") and any(each in ended for each in qubits):
            return False
    return True


def _u(theta: float, phi: float, lam: float) -> Matrix:
    cosine, sine = math.cos(theta / 2), math.sin(theta / 2)
    return [
        [cosine, -cmath.exp(1j * lam) * sine],
        [cmath.exp(1j * phi) * sine, cmath.exp(1j * (phi + lam)) * cosine],
    ]


def _r(theta: float, phi: float) -> Matrix:
    cosine, sine = math.cos(theta / 2), math.sin(theta / 2)
    return [
        [cosine, -1j * cmath.exp(-1j * phi) * sine],
        [-1j * cmath.exp(1j * phi) * sine, cosine],
    ]


def _rz(theta: float) -> Matrix:
    return [[cmath.exp(-0.5j * theta), 0], [0, cmath.exp(0.5j * theta)]]


def _phased_xz(x: float, z: float, axis: float) -> Matrix:
    """Return Z^z Z^axis X^x Z^-axis, exponents in half turns, as Cirq defines it."""
    half = _r(math.pi * x, math.pi * axis)
    return multiply(_rz(math.pi * z), half)


def _diagonal(*values: complex) -> Matrix:
    size = len(values)
    return [[values[i] if i == j else 0 for j in range(size)] for i in range(size)]


def _xx(theta: float) -> Matrix:
    cosine, sine = math.cos(theta / 2), -1j * math.sin(theta / 2)
    return [[cosine, 0, 0, sine], [0, cosine, sine, 0], [0, sine, cosine, 0], [sine, 0, 0, cosine]]


def _yy(theta: float) -> Matrix:
    cosine, sine = math.cos(theta / 2), 1j * math.sin(theta / 2)
    return [
        [cosine, 0, 0, sine],
        [0, cosine, -sine, 0],
        [0, -sine, cosine, 0],
        [sine, 0, 0, cosine],
    ]


def _zz(theta: float) -> Matrix:
    minus, plus = cmath.exp(-0.5j * theta), cmath.exp(0.5j * theta)
    return _diagonal(minus, plus, plus, minus)


def _ms(phi0: float, phi1: float, theta: float = 0.25) -> Matrix:
    cosine, sine = math.cos(math.pi * theta), math.sin(math.pi * theta)
    plus, minus = TURN * (phi0 + phi1), TURN * (phi0 - phi1)
    return [
        [cosine, 0, 0, -1j * cmath.exp(-1j * plus) * sine],
        [0, cosine, -1j * cmath.exp(-1j * minus) * sine, 0],
        [0, -1j * cmath.exp(1j * minus) * sine, cosine, 0],
        [-1j * cmath.exp(1j * plus) * sine, 0, 0, cosine],
    ]


def _xy(theta: float) -> Matrix:
    cosine, sine = math.cos(theta / 2), 1j * math.sin(theta / 2)
    return [[1, 0, 0, 0], [0, cosine, sine, 0], [0, sine, cosine, 0], [0, 0, 0, 1]]


_S2 = math.sqrt(0.5)
_X: Matrix = [[0, 1], [1, 0]]
_SWAP: Matrix = [[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]


def controlled(inner: Matrix, controls: int = 1) -> Matrix:
    """Return a gate with control qubits before its own."""
    size = len(inner) * 2**controls
    found: Matrix = [[1 if i == j else 0 for j in range(size)] for i in range(size)]
    start = size - len(inner)
    for i, row in enumerate(inner):
        for j, value in enumerate(row):
            found[start + i][start + j] = value
    return found


def multiply(left: Matrix, right: Matrix) -> Matrix:
    """Return the product of two square matrices."""
    return [
        [
            sum(a * b for a, b in zip(row, column, strict=True))
            for column in zip(*right, strict=True)
        ]
        for row in left
    ]


_FIXED: dict[str, Matrix] = {
    "id": [[1, 0], [0, 1]],
    "x": _X,
    "y": [[0, -1j], [1j, 0]],
    "z": [[1, 0], [0, -1]],
    "h": [[_S2, _S2], [_S2, -_S2]],
    "s": _diagonal(1, 1j),
    "sdg": _diagonal(1, -1j),
    "t": _diagonal(1, cmath.exp(0.25j * math.pi)),
    "tdg": _diagonal(1, cmath.exp(-0.25j * math.pi)),
    "sx": [[0.5 + 0.5j, 0.5 - 0.5j], [0.5 - 0.5j, 0.5 + 0.5j]],
    "sxdg": [[0.5 - 0.5j, 0.5 + 0.5j], [0.5 + 0.5j, 0.5 - 0.5j]],
    "cx": controlled(_X),
    "cy": controlled([[0, -1j], [1j, 0]]),
    "cz": _diagonal(1, 1, 1, -1),
    "ch": controlled([[_S2, _S2], [_S2, -_S2]]),
    "swap": _SWAP,
    "iswap": [[1, 0, 0, 0], [0, 0, 1j, 0], [0, 1j, 0, 0], [0, 0, 0, 1]],
    "ecr": [
        [0, 0, _S2, 1j * _S2],
        [0, 0, 1j * _S2, _S2],
        [_S2, -1j * _S2, 0, 0],
        [-1j * _S2, _S2, 0, 0],
    ],
    "ccx": controlled(_X, 2),
    "ccz": controlled([[1, 0], [0, -1]], 2),
    "cswap": controlled(_SWAP),
}

_MADE: dict[str, tuple[int, int, Callable[..., Matrix]]] = {
    "p": (1, 1, lambda a: _diagonal(1, cmath.exp(1j * a))),
    "rx": (1, 1, lambda a: _r(a, 0.0)),
    "ry": (1, 1, lambda a: _r(a, math.pi / 2)),
    "rz": (1, 1, _rz),
    "u": (1, 3, _u),
    "r": (1, 2, _r),
    "prx": (1, 2, _r),
    "phasedx": (1, 2, _r),
    "phased_xz": (1, 3, _phased_xz),
    "gpi": (1, 1, lambda t: [[0, cmath.exp(-1j * TURN * t)], [cmath.exp(1j * TURN * t), 0]]),
    "gpi2": (1, 1, lambda t: _r(math.pi / 2, TURN * t)),
    "cp": (2, 1, lambda a: _diagonal(1, 1, 1, cmath.exp(1j * a))),
    "crx": (2, 1, lambda a: controlled(_r(a, 0.0))),
    "cry": (2, 1, lambda a: controlled(_r(a, math.pi / 2))),
    "crz": (2, 1, lambda a: controlled(_rz(a))),
    "cu": (2, 4, lambda a, b, c, d: controlled(_phased(_u(a, b, c), d))),
    "rxx": (2, 1, _xx),
    "ryy": (2, 1, _yy),
    "rzz": (2, 1, _zz),
    "zzphase": (2, 1, _zz),
    "zz": (2, 1, lambda t: _zz(TURN * t)),
    "ms": (2, 3, _ms),
    "xy": (2, 1, _xy),
}


def _phased(inner: Matrix, phase: float) -> Matrix:
    return [[cmath.exp(1j * phase) * value for value in row] for row in inner]


ARITY: dict[str, tuple[int, int]] = {
    **{name: (len(matrix).bit_length() - 1, 0) for name, matrix in _FIXED.items()},
    **{name: (qubits, params) for name, (qubits, params, _) in _MADE.items()},
}
"""Every gate that is known: how many qubits and parameters it takes."""


def matrix(name: str, params: Sequence[float]) -> Matrix:
    """Return the unitary of a gate; raise UnsupportedError for an unknown one."""
    if name in _FIXED:
        return _FIXED[name]
    if name not in _MADE:
        raise UnsupportedError(f"The gate {name} is not known.")
    return _MADE[name][2](*params)
