"""Values of OpenQASM expressions: numbers that are known, or that are made of measured bits."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, Protocol

from openqasm3 import ast

from . import selecting, words
from .conditions import Condition, negated
from .ir import UnsupportedError
from .variables import coerced, type_of
from .words import Number, Sum, Word

Value = Any
"""A number that is known, a `Word` or a `Sum`, or a list of values."""


class Names(Protocol):
    """What names in an expression mean, and what computing it needs."""

    def value(self, name: str) -> Value | None:
        """Return the value of a name, None if it has none."""

    def keep(self, condition: Condition) -> Condition:
        """Put a large condition into a bit of its own."""

    def width(self, node: Any) -> int:
        """Return how many bits a variable or a cast has, 0 if that is not known."""

    def call(self, node: Any) -> Value | None:
        """Return the result of a subroutine of the program, None if it has none of that name."""

    def duration_of(self, node: Any) -> Value:
        """Return how long some statements take."""


CONSTANTS: dict[str, int | float] = {
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
    "popcount": lambda value: int(value).bit_count(),
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
_SHIFT_MAX = 4096
_BITS_MAX = 4096
_SHIFT_BITS_MAX = 12


def line(node: Any) -> int:
    """Return the line on which a construct stands, from 1; 0 if that is not known."""
    span = getattr(node, "span", None)
    return int(span.start_line) if span is not None else 0


def refuse(node: Any, what: str, why: str = "") -> UnsupportedError:
    """Make the error about a construct, with its line."""
    return UnsupportedError(what, why, line(node))


def evaluate(node: Any, names: Names) -> Value:
    """Return the value of an expression; raise UnsupportedError, with a line, if it has none."""
    try:
        return _evaluate(node, names)
    except (ArithmeticError, ValueError, TypeError) as error:
        raise refuse(node, f"The expression has no value: {error}.") from error
    except UnsupportedError as error:
        raise UnsupportedError(error.what, error.why, error.line or line(node)) from error


def _evaluate(node: Any, names: Names) -> Value:
    for kinds, compute in _RULES:
        if isinstance(node, kinds):
            found = compute(node, names)
            value = words.known(found) if isinstance(found, Word) and not found.turns else None
            return found if value is None else value
    raise refuse(node, f"{type(node).__name__} cannot be computed.")


def _named(node: Any, names: Names) -> Value:
    found = names.value(node.name)
    if found is not None:
        return found
    if node.name in CONSTANTS:
        return CONSTANTS[node.name]
    raise refuse(node, f"{node.name} has no value here.", "Is it an input that was not bound?")


def _unary(node: Any, names: Names) -> Value:
    value, sign = _evaluate(node.expression, names), node.op.name
    if sign == "!":
        return words.flag(negated(words.truth(value)))
    if isinstance(value, Sum):
        return words.scaled(value, -1.0)
    if isinstance(value, Word):
        return words.inverted(value) if sign == "~" else words.negative(value, names.keep)
    if sign == "~" and isinstance(value, bool):
        return not value
    return operator.invert(value) if sign == "~" else operator.neg(value)


def _call(node: Any, names: Names) -> Value:
    own = names.call(node)
    if own is not None:
        return own
    name = node.name.name
    given = [_evaluate(each, names) for each in node.arguments]
    if name == "popcount" and isinstance(given[0], Word):
        return _popcount(given[0], names)
    if name in ("rotl", "rotr"):
        return _rotated(node, given, -1 if name == "rotl" else 1, names)
    function = _FUNCTIONS.get(name)
    if function is None:
        raise refuse(node, f"The function {name} is not known.")
    if any(isinstance(each, Word | Sum) for each in given):
        raise refuse(node, f"{name} cannot be computed of measured bits.")
    return function(*given)


def _rotated(node: Any, given: list[Value], side: int, names: Names) -> Value:
    """Return a number whose bits go round by so many places, as wide as its variable is."""
    width = names.width(node.arguments[0]) if len(given) == 2 else 0
    if not width or not isinstance(given[0], int | Word) or not isinstance(given[1], int):
        raise refuse(node, f"{node.name.name} takes bits of a known width, and a whole number.")
    word = words.whole(given[0])
    return word._replace(
        bits=tuple(word.bit((at + side * given[1]) % width) for at in range(width))
    )


def _popcount(number: Word, names: Names) -> Value:
    total: Number = 0
    for bit in number.bits:
        total = words.binary("+", total, words.flag(bit), names.keep)
    return total


def _cast(node: Any, names: Names) -> Value:
    value = _evaluate(node.argument, names)
    wanted = type_of(node.type, lambda each: _known(each, names))
    if isinstance(value, Word) and wanted.name in ("int", "uint", "bit"):
        # Bits that are cast are a number without a sign, as the specification's own examples do it.
        return value if wanted.width >= len(value.bits) else value.cut(wanted.width)
    if wanted.name in ("int", "uint") and not isinstance(value, Word | Sum):
        return int(value)
    return coerced(value, wanted)


def _known(node: Any, names: Names) -> Value:
    value = _evaluate(node, names)
    if isinstance(value, Word | Sum):
        raise refuse(node, "A size is known before the program runs.")
    return value


def _item(node: Any, names: Names) -> Value:
    """Return an element of an array, or bits of a number, the lowest first."""
    value = _evaluate(node.collection, names)
    indices = node.index.values if isinstance(node.index, ast.DiscreteSet) else node.index
    if isinstance(node.index, ast.DiscreteSet):
        return _gathered(node, value, [_known_place(each, names) for each in indices])
    for index in indices:
        if isinstance(index, ast.RangeDefinition):
            value = _sliced(node, value, index, names)
        elif isinstance(at := _place(index, names), Word):
            value = selecting.chosen(_elements(node, value, at), at, names.keep)
        elif isinstance(value, list):
            if not -len(value) <= at < len(value):
                raise refuse(node, f"Index {at} is outside of an array of {len(value)}.")
            value = value[at]
        else:
            value = _bit(node, value, at)
    return value


def _elements(node: Any, value: Value, index: Word) -> list[Value]:
    """Return what a measured index chooses from: an array's elements, or a number's bits."""
    if isinstance(value, Word):
        return [words.flag(each) for each in value.bits]
    if isinstance(value, int):
        return [value >> at & 1 for at in range(1 << min(len(index.bits), _SHIFT_BITS_MAX))]
    if not isinstance(value, list):
        raise refuse(node, "Only a whole number has bits, and an array elements.")
    return value


def _place(node: Any, names: Names) -> Any:
    """Return an index: a whole number, or a measured one."""
    at = _evaluate(node, names)
    if not isinstance(at, int | Word):
        raise refuse(node, "An index is a whole number.")
    return at


def _known_place(node: Any, names: Names) -> int:
    at = _place(node, names)
    if isinstance(at, Word):
        raise refuse(node, "A measured index chooses one element, and no range or set.")
    return int(at)


def _bit(node: Any, value: Value, at: int) -> Value:
    if isinstance(value, Word):
        return _gathered(node, value, [at])
    if isinstance(value, float) or not isinstance(value, int) or not 0 <= at < _BITS_MAX:
        raise refuse(node, "Only one bit of a whole number can be taken, by its place.")
    return (int(value) >> at) & 1


def _gathered(node: Any, value: Value, places: list[int]) -> Value:
    if not isinstance(value, Word):
        raise refuse(node, "Only bits of a register can be taken by several places.")
    size = len(value.bits)
    for at in places:
        if not -size <= at < size:
            raise refuse(node, f"Index {at} is outside of a register of {size}.")
    return Word(tuple(value.bits[at] for at in places))


def _sliced(node: Any, value: Value, index: Any, names: Names) -> Value:
    if not isinstance(value, list | Word):
        raise refuse(node, "Only one bit of a whole number can be taken, by its place.")
    size = len(value.bits) if isinstance(value, Word) else len(value)
    places = list(whole_range(index, size, lambda each: _evaluate(each, names)))
    if isinstance(value, Word):
        return _gathered(node, value, places)
    if any(not -size <= at < size for at in places):
        raise refuse(node, f"The range is outside of an array of {size}.")
    return [value[at] for at in places]


def whole_range(node: Any, size: int | None, value_of: Callable[[Any], Value]) -> range:
    """Return the numbers of a range, whose end belongs to it; those below 0 count from `size`."""

    def number(part: Any, default: int | None) -> int:
        value = default if part is None else value_of(part)
        if isinstance(value, bool) or not isinstance(value, int):
            raise refuse(node, "A range has whole numbers at both ends.")
        return value + size if value < 0 and size is not None else value

    step = 1 if node.step is None else value_of(node.step)
    if not isinstance(step, int) or step == 0:
        raise refuse(node, "The step of a range is a whole number, not 0.")
    last = None if size is None else size - 1
    first, end = (0, last) if step > 0 else (last, 0)
    return range(number(node.start, first), number(node.end, end) + (1 if step > 0 else -1), step)


def _sizeof(node: Any, names: Names) -> Value:
    value = _evaluate(node.target, names)
    at = 0 if node.index is None else _known_place(node.index, names)
    for _ in range(at):
        value = value[0] if isinstance(value, list) and value else None
    if not isinstance(value, list):
        raise refuse(node, f"The array has no dimension {at}.")
    return len(value)


def _duration(node: Any, names: Names) -> Value:
    unit = node.unit.name
    if unit not in _SECONDS:
        raise refuse(node, f"Durations in {unit} are not known.", "Write ns, us, ms or s.")
    return float(node.value) * _SECONDS[unit]


def _binary(node: Any, names: Names) -> Value:
    left, right = _evaluate(node.lhs, names), _evaluate(node.rhs, names)
    sign = node.op.name
    if hasattr(left, "combined") or hasattr(right, "combined"):
        side, other = (left, right) if hasattr(left, "combined") else (right, left)
        return side.combined(sign, other, swapped=side is right and side is not left)
    if isinstance(left, Word | Sum) or isinstance(right, Word | Sum):
        return words.binary(sign, left, right, names.keep)
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
    if sign == "<<" and right > _SHIFT_MAX:
        raise refuse(node, "The shift is too large.")
    return function(left, right)


_RULES: tuple[tuple[tuple[type, ...], Callable[[Any, Names], Value]], ...] = (
    (
        (ast.IntegerLiteral, ast.FloatLiteral, ast.BooleanLiteral),
        lambda node, names: node.value,
    ),
    ((ast.BitstringLiteral,), lambda node, names: node.value),
    ((ast.Identifier,), _named),
    ((ast.UnaryExpression,), _unary),
    ((ast.BinaryExpression,), _binary),
    ((ast.FunctionCall,), _call),
    ((ast.Cast,), _cast),
    ((ast.DurationLiteral,), _duration),
    ((ast.DurationOf,), lambda node, names: names.duration_of(node)),
    ((ast.SizeOf,), _sizeof),
    ((ast.IndexExpression,), _item),
    ((ast.ArrayLiteral,), lambda node, names: [_evaluate(each, names) for each in node.values]),
)
