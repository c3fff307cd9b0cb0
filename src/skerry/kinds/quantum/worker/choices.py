"""Conditions of OpenQASM programs on bits that are measured while they run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from openqasm3 import ast

from .conditions import Condition, equals, negated, tabled
from .expressions import Value, evaluate, refuse
from .ir import UnsupportedError

Bits = Mapping[str, list[int]]


def condition(node: Any, values: Mapping[str, Value], bits: Bits) -> Condition:
    """Return what an expression asks of measured bits; raise UnsupportedError with its line.

    `values` are the names that are known before anything runs, `bits` the registers of bits.
    """
    if not any(name in bits for name in _names(node)):
        return ["and"] if evaluate(node, values) else ["or"]
    if isinstance(node, ast.UnaryExpression) and node.op.name in ("!", "~"):
        if node.op.name == "!" or len(_register(node.expression, values, bits) or ()) == 1:
            return negated(condition(node.expression, values, bits))
        raise refuse(node, "`~` in a condition is of one measured bit.", "Write `!` or compare.")
    if isinstance(node, ast.BinaryExpression):
        sign = node.op.name
        if sign in ("&&", "||"):
            sides = (condition(each, values, bits) for each in (node.lhs, node.rhs))
            return ["and" if sign == "&&" else "or", *sides]
        if sign in ("==", "!="):
            same = _compared(node, values, bits)
            if same is not None:
                return same if sign == "==" else negated(same)
    places = _register(node, values, bits)
    if places is not None:
        return negated(equals(places, 0))
    return _tried(node, values, bits)


def _compared(node: Any, values: Mapping[str, Value], bits: Bits) -> Condition | None:
    """Return the condition of a register that is compared with a number; None if it is not that."""
    for one, other in ((node.lhs, node.rhs), (node.rhs, node.lhs)):
        places = _register(one, values, bits)
        if places is not None and not any(name in bits for name in _names(other)):
            value = evaluate(other, values)
            is_whole = math.isfinite(value) and value == int(value)
            return equals(places, int(value)) if is_whole else ["or"]
    return None


def _register(node: Any, values: Mapping[str, Value], bits: Bits) -> list[int] | None:
    """Return the bits, the lowest first, that an operand is as a number without a sign."""
    if isinstance(node, ast.Cast) and isinstance(node.type, ast.IntType | ast.UintType):
        return _register(node.argument, values, bits)
    if isinstance(node, ast.Identifier):
        return bits.get(node.name)
    if isinstance(node, ast.IndexExpression) and isinstance(node.collection, ast.Identifier):
        register = bits.get(node.collection.name)
        index = node.index[0] if isinstance(node.index, list) and len(node.index) == 1 else None
        if register is None or index is None or isinstance(index, ast.RangeDefinition):
            return None
        at = evaluate(index, values)
        if not isinstance(at, int) or not -len(register) <= at < len(register):
            raise refuse(node, f"Index {at} is outside of a register of {len(register)}.")
        return [register[at]]
    return None


def _tried(node: Any, values: Mapping[str, Value], bits: Bits) -> Condition:
    """Return the condition of an expression that is computed for every value of its registers."""
    if any(isinstance(each, ast.UnaryExpression) and each.op.name == "~" for each in _parts(node)):
        raise refuse(node, "`~` cannot be computed with measured bits.", "Write `!` or compare.")
    names = sorted({name for name in _names(node) if name in bits})
    places = sorted({place for name in names for place in bits[name]})

    def told(found: Mapping[int, bool]) -> bool:
        numbers = {
            name: sum(found[place] << at for at, place in enumerate(bits[name])) for name in names
        }
        return bool(evaluate(node, {**values, **numbers}))

    try:
        return tabled(places, told)
    except UnsupportedError as error:
        raise refuse(node, error.what, error.why) from error


def _names(node: Any) -> Iterator[str]:
    """Yield the names in an expression."""
    return (each.name for each in _parts(node) if isinstance(each, ast.Identifier))


def _parts(node: Any) -> Iterator[Any]:
    """Yield an expression and all that it is made of."""
    if isinstance(node, list):
        for each in node:
            yield from _parts(each)
    elif isinstance(node, ast.QASMNode):
        yield node
        for key, each in vars(node).items():
            if key not in ("span", "annotations"):
                yield from _parts(each)
