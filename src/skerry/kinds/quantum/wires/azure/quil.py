"""Reads Quil, which Rigetti's targets take: gates, declarations and measurements in one line each.

Programs are compiled for the twin, as quilc does there; qubits need not be those of the machine.
Source: the specification of Quil (arXiv:1608.03355).
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from skerry.kernel.errors import INVALID, UNSUPPORTED
from skerry.kinds.quantum.checks import EXECUTIONS_MAX
from skerry.kinds.quantum.worker.ir import Circuit, Op

LINES_MAX = 200_000
BITS_MAX = 4096
QUBIT_MAX = 100_000
_EXPRESSION_MAX = 200
_DECLARE = re.compile(r"DECLARE (\w{1,60}) (BIT|REAL)(?:\[(\d{1,6})\])?")
_MEASURE = re.compile(r"MEASURE (\d{1,6}) (\w{1,60})(?:\[(\d{1,6})\])?")
_GATE = re.compile(r"([A-Z]\w{0,59})(?:\((.*)\))?((?: \d{1,6})+)")
_IGNORED = ("PRAGMA ", "FENCE", "HALT")
_GATES = {
    "I": ("id", 1, 0),
    "X": ("x", 1, 0),
    "Y": ("y", 1, 0),
    "Z": ("z", 1, 0),
    "H": ("h", 1, 0),
    "S": ("s", 1, 0),
    "T": ("t", 1, 0),
    "RX": ("rx", 1, 1),
    "RY": ("ry", 1, 1),
    "RZ": ("rz", 1, 1),
    "PHASE": ("p", 1, 1),
    "CNOT": ("cx", 2, 0),
    "CZ": ("cz", 2, 0),
    "CPHASE": ("cp", 2, 1),
    "SWAP": ("swap", 2, 0),
    "ISWAP": ("iswap", 2, 0),
    "XY": ("xy", 2, 1),
    "CCNOT": ("ccx", 3, 0),
    "CSWAP": ("cswap", 3, 0),
}
"""Gates of Quil: what they are here, on how many qubits, with how many angles."""

_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
Values = Mapping[str, list[float]]


def circuits(text: str, substitutions: Any) -> tuple[Circuit, ...]:
    """Return a program's circuits, one for each set of values; raise INVALID or UNSUPPORTED."""
    return tuple(_circuit(text, values) for values in _sets(substitutions))


def _sets(found: Any) -> list[Values]:
    if not isinstance(found, dict):
        raise INVALID("Substitutions are an object: a list of values for every memory.")
    sizes = {len(each) if isinstance(each, list) else 0 for each in found.values()}
    if not found:
        return [{}]
    if len(sizes) != 1 or not 0 < (size := sizes.pop()) <= EXECUTIONS_MAX:
        raise INVALID(f"Every memory has equally many sets of values, 1 to {EXECUTIONS_MAX}.")
    try:
        return [
            {str(name): [float(v) for v in each[number]] for name, each in found.items()}
            for number in range(size)
        ]
    except (TypeError, ValueError) as error:
        raise INVALID("A set of values is a list of numbers.", why=str(error)) from error


def _circuit(text: str, values: Values) -> Circuit:
    bits: dict[str, tuple[int, int]] = {}
    numbers: dict[str, int] = {}
    steps: list[tuple[str, list[int], list[Any]]] = []
    lines = text.splitlines()
    if len(lines) > LINES_MAX:
        raise INVALID(f"A program has at most {LINES_MAX} lines.")
    for number, raw in enumerate(lines, 1):
        line = " ".join(raw.partition("#")[0].split())
        if not line or line.startswith(_IGNORED):
            continue
        if declared := _DECLARE.fullmatch(line):
            _declare(declared, number, bits, numbers, values)
        elif measured := _MEASURE.fullmatch(line):
            steps.append(("measure", [int(measured[1])], [_bit(measured, number, bits)]))
        else:
            steps.append(_gate(line, number, numbers, values))
    places = {qubit: place for place, qubit in enumerate(sorted({q for s in steps for q in s[1]}))}
    ops: list[Op] = [[name, [places[q] for q in qubits], args] for name, qubits, args in steps]
    return {
        "qubits": len(places),
        "bits": sum(size for _, size in bits.values()),
        "registers": [[name, start, size] for name, (start, size) in bits.items()],
        "ops": ops,
    }


def _declare(
    found: re.Match[str],
    number: int,
    bits: dict[str, tuple[int, int]],
    numbers: dict[str, int],
    values: Values,
) -> None:
    name, sort, size = found[1], found[2], int(found[3] or 1)
    if name in bits or name in numbers:
        raise INVALID(f"Line {number}: {name} is declared twice.")
    if sort == "REAL":
        numbers[name] = size
        if len(values.get(name, [])) != size:
            raise INVALID(f"Line {number}: {name} needs {size} values among the substitutions.")
        return
    start = sum(each for _, each in bits.values())
    if start + size > BITS_MAX:
        raise INVALID(f"A program has at most {BITS_MAX} bits.")
    bits[name] = (start, size)


def _bit(found: re.Match[str], number: int, bits: dict[str, tuple[int, int]]) -> int:
    start, size = bits.get(found[2], (0, 0))
    place = int(found[3] or 0)
    if place >= size:
        raise INVALID(f"Line {number}: there is no bit {found[2]}[{place}].")
    return start + place


def _gate(
    line: str, number: int, numbers: Mapping[str, int], values: Values
) -> tuple[str, list[int], list[Any]]:
    found = _GATE.fullmatch(line)
    known = _GATES.get(found[1]) if found is not None else None
    if found is None or known is None:
        raise UNSUPPORTED(f"Line {number}: {line[:60]!r} is not done here.")
    name, wires, angles = known
    qubits = [int(each) for each in found[3].split()]
    texts = found[2].split(",") if found[2] else []
    if len(qubits) != wires or len(set(qubits)) != wires or len(texts) != angles:
        raise INVALID(f"Line {number}: {found[1]} takes {wires} qubits and {angles} angles.")
    return name, qubits, [_angle(each, number, numbers, values) for each in texts]


def _angle(text: str, number: int, numbers: Mapping[str, int], values: Values) -> float:
    if len(text) > _EXPRESSION_MAX:
        raise INVALID(f"Line {number}: an angle has at most {_EXPRESSION_MAX} characters.")
    try:
        found = _value(ast.parse(text.strip(), mode="eval").body, numbers, values)
    except (SyntaxError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
        raise INVALID(f"Line {number}: {text[:40]!r} is no angle.", why=str(error)) from error
    if not math.isfinite(found):
        raise INVALID(f"Line {number}: {text[:40]!r} is no angle.")
    return found


def _value(node: ast.expr, numbers: Mapping[str, int], values: Values) -> float:
    """Return the value of an expression; raise ValueError for what is none."""
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return float(value)
        case ast.Name(id="pi"):
            return math.pi
        case ast.Name(id=name) if name in numbers:
            return values[name][0]
        case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=int() as place)):
            return values[name][place]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, numbers, values)
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _BINARY:
            both = (_value(left, numbers, values), _value(right, numbers, values))
            return _BINARY[type(sign)](*both)
    raise ValueError("It is not made of numbers, pi, memory, + - * and /.")
