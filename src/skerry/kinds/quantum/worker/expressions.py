"""Values of OpenQASM expressions, as far as they are known when a program is unrolled."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from openqasm3 import ast

from .ir import UnsupportedError

Value = int | float | bool

CONSTANTS: dict[str, Value] = {
    "pi": math.pi,
    "π": math.pi,
    "tau": math.tau,
    "τ": math.tau,
    "euler": math.e,
    "ℇ": math.e,
}

_FUNCTIONS: dict[str, Callable[..., Value]] = {
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "arcsin": math.asin,
    "arccos": math.acos,
    "arctan": math.atan,
    "exp": math.exp,
    "log": math.log,
    "ln": math.log,
    "sqrt": math.sqrt,
    "ceiling": math.ceil,
    "floor": math.floor,
    "mod": math.fmod,
    "pow": math.pow,
}

_BINARY: dict[str, Callable[[Any, Any], Value]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "%": operator.mod,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "&&": lambda a, b: bool(a and b),
    "||": lambda a, b: bool(a or b),
    "<<": operator.lshift,
    ">>": operator.rshift,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
}

_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
_EXPONENT_MAX = 4096
_BITS_MAX = 4096


def line(node: Any) -> int:
    """Return the line on which a construct stands, from 1; 0 if that is not known."""
    span = getattr(node, "span", None)
    return int(span.start_line) if span is not None else 0


def refuse(node: Any, what: str, why: str = "") -> UnsupportedError:
    """Make the error about a construct, with its line."""
    return UnsupportedError(what, why, line(node))


def evaluate(node: Any, names: Mapping[str, Value]) -> Value:
    """Return the value of an expression; raise UnsupportedError if it has none yet."""
    try:
        return _evaluate(node, names)
    except (ArithmeticError, ValueError, TypeError) as error:
        raise refuse(node, f"The expression has no value: {error}.") from error


def _evaluate(node: Any, names: Mapping[str, Value]) -> Value:
    for kinds, compute in _RULES:
        if isinstance(node, kinds):
            return compute(node, names)
    raise refuse(node, f"{type(node).__name__} cannot be computed before the program runs.")


def _named(node: Any, names: Mapping[str, Value]) -> Value:
    if node.name in names:
        return names[node.name]
    if node.name in CONSTANTS:
        return CONSTANTS[node.name]
    raise refuse(node, f"{node.name} has no value here.", "Is it an input that was not bound?")


def _unary(node: Any, names: Mapping[str, Value]) -> Value:
    value = _evaluate(node.expression, names)
    signs: dict[str, Callable[[Any], Value]] = {
        "-": operator.neg,
        "!": operator.not_,
        "~": operator.invert,
    }
    return signs[node.op.name](value)


def _call(node: Any, names: Mapping[str, Value]) -> Value:
    function = _FUNCTIONS.get(node.name.name)
    if function is None:
        raise refuse(node, f"The function {node.name.name} is not known.")
    return function(*(_evaluate(each, names) for each in node.arguments))


def _cast(node: Any, names: Mapping[str, Value]) -> Value:
    value = _evaluate(node.argument, names)
    return float(value) if isinstance(node.type, ast.FloatType | ast.AngleType) else int(value)


def _bit(node: Any, names: Mapping[str, Value]) -> Value:
    """Return a bit of a whole number, the lowest first."""
    value = _evaluate(node.collection, names)
    index = node.index[0] if isinstance(node.index, list) and len(node.index) == 1 else None
    place = None if index is None else _evaluate(index, names)
    if isinstance(value, float) or not isinstance(place, int) or not 0 <= place < _BITS_MAX:
        raise refuse(node, "Only one bit of a whole number can be taken, by its place.")
    return (int(value) >> place) & 1


def _duration(node: Any, names: Mapping[str, Value]) -> Value:
    unit = node.unit.name
    if unit not in _SECONDS:
        raise refuse(node, f"Durations in {unit} are not known.", "Write ns, us, ms or s.")
    return float(node.value) * _SECONDS[unit]


def _binary(node: Any, names: Mapping[str, Value]) -> Value:
    left, right = _evaluate(node.lhs, names), _evaluate(node.rhs, names)
    sign = node.op.name
    if sign == "/":
        whole = isinstance(left, int) and isinstance(right, int)
        return left // right if whole and left % right == 0 else left / right
    if sign == "**":
        if abs(right) > _EXPONENT_MAX:
            raise refuse(node, "The exponent is too large.")
        return float(left) ** right if isinstance(left, float) or right < 0 else left**right
    function = _BINARY.get(sign)
    if function is None:
        raise refuse(node, f"The operator {sign} is not known.")
    return function(left, right)


_RULES: tuple[tuple[tuple[type, ...], Callable[[Any, Mapping[str, Value]], Value]], ...] = (
    (
        (ast.IntegerLiteral, ast.FloatLiteral, ast.BooleanLiteral),
        lambda node, names: node.value,
    ),
    ((ast.Identifier,), _named),
    ((ast.UnaryExpression,), _unary),
    ((ast.BinaryExpression,), _binary),
    ((ast.FunctionCall,), _call),
    ((ast.Cast,), _cast),
    ((ast.DurationLiteral,), _duration),
    ((ast.IndexExpression,), _bit),
)
