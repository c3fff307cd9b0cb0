"""Conditions of Qiskit's circuits, and ours as Qiskit's."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .conditions import Condition, equals, negated, tabled
from .ir import UnsupportedError

_JOINED = {"LOGIC_AND": "and", "LOGIC_OR": "or"}
_COMPUTED: dict[str, Callable[[int, int], int]] = {
    "BIT_AND": operator.and_,
    "BIT_OR": operator.or_,
    "BIT_XOR": operator.xor,
    "LOGIC_AND": lambda a, b: bool(a and b),
    "LOGIC_OR": lambda a, b: bool(a or b),
    "EQUAL": operator.eq,
    "NOT_EQUAL": operator.ne,
    "LESS": operator.lt,
    "LESS_EQUAL": operator.le,
    "GREATER": operator.gt,
    "GREATER_EQUAL": operator.ge,
}

PlaceOf = Callable[[Any], int]
"""Tells where a classical bit of Qiskit's stands in our circuit."""


def read(found: Any, place_of: PlaceOf) -> Condition:
    """Return a condition of Qiskit's: a bit or register and its value, or an expression.

    Raises UnsupportedError for one that asks for more than measured bits.
    """
    if isinstance(found, tuple):
        target, value = found
        return equals(_places(target, place_of), int(value))
    return _expression(found, place_of)


def stored(found: Any, place_of: PlaceOf) -> list[Any]:
    """Return which bit a `store` of Qiskit's writes, and the condition that it becomes.

    Raises UnsupportedError for one that writes more than a bit.
    """
    from qiskit.circuit import Clbit  # noqa: PLC0415

    target = getattr(found.lvalue, "var", None)
    if not isinstance(target, Clbit):
        raise UnsupportedError("Only single bits are stored into here.")
    return [place_of(target), _expression(found.rvalue, place_of)]


def is_value(target: Any, value: int, place_of: PlaceOf) -> Condition:
    """Return the condition that a bit, a register or an expression is a number."""
    if not hasattr(target, "type"):
        return equals(_places(target, place_of), value)
    from qiskit.circuit.classical import expr  # noqa: PLC0415

    if isinstance(target, expr.Var):
        return equals(_places(target.var, place_of), value)
    places = _asked(target, place_of)
    return tabled(places, lambda bits: _value(target, place_of, bits) == value)


def _places(target: Any, place_of: PlaceOf) -> list[int]:
    from qiskit.circuit import ClassicalRegister, Clbit  # noqa: PLC0415 (only where there is one)

    if isinstance(target, Clbit):
        return [place_of(target)]
    if isinstance(target, ClassicalRegister):
        return [place_of(bit) for bit in target]
    raise UnsupportedError(
        "A condition asks for a variable.", "Only bits that were measured decide here."
    )


def _expression(found: Any, place_of: PlaceOf) -> Condition:
    from qiskit.circuit.classical import expr, types  # noqa: PLC0415

    name = getattr(getattr(found, "op", None), "name", "")
    if isinstance(found, expr.Unary) and name == "LOGIC_NOT":
        return negated(_expression(found.operand, place_of))
    if isinstance(found, expr.Binary) and name in _JOINED:
        return [_JOINED[name], *(_expression(e, place_of) for e in (found.left, found.right))]
    if isinstance(found, expr.Value) and isinstance(found.type, types.Bool):
        return ["and"] if found.value else ["or"]
    if isinstance(found, expr.Binary) and name == "BIT_XOR" and _is_bool(found):
        return ["xor", *(_expression(e, place_of) for e in (found.left, found.right))]
    if isinstance(found, expr.Var) and isinstance(found.type, types.Bool):
        return equals(_places(found.var, place_of), 1)
    if isinstance(found, expr.Binary) and name in ("EQUAL", "NOT_EQUAL"):
        sides = found.left, found.right
        fixed = next((each for each in sides if isinstance(each, expr.Value)), None)
        asked = next((each for each in sides if isinstance(each, expr.Var)), None)
        if fixed is not None and asked is not None:
            same = equals(_places(asked.var, place_of), int(fixed.value))
            return same if name == "EQUAL" else negated(same)
    return tabled(_asked(found, place_of), lambda bits: bool(_value(found, place_of, bits)))


def _is_bool(found: Any) -> bool:
    from qiskit.circuit.classical import types  # noqa: PLC0415

    return all(isinstance(each.type, types.Bool) for each in (found.left, found.right))


def _asked(found: Any, place_of: PlaceOf) -> list[int]:
    """Return the bits that an expression asks for."""
    from qiskit.circuit.classical import expr  # noqa: PLC0415

    return sorted({bit for each in expr.iter_vars(found) for bit in _places(each.var, place_of)})


def _value(found: Any, place_of: PlaceOf, bits: Mapping[int, bool]) -> int:
    from qiskit.circuit.classical import expr, types  # noqa: PLC0415

    if not isinstance(found.type, types.Bool | types.Uint):
        raise UnsupportedError(f"A condition computes with {found.type.kind.__name__} numbers.")
    if isinstance(found, expr.Value):
        return int(found.value)
    if isinstance(found, expr.Var):
        return sum(bits[p] << at for at, p in enumerate(_places(found.var, place_of)))
    if isinstance(found, expr.Cast):
        value = _value(found.operand, place_of, bits)
        return (
            int(bool(value)) if isinstance(found.type, types.Bool) else value % (1 << _width(found))
        )
    if isinstance(found, expr.Index):
        whole, at = (_value(each, place_of, bits) for each in (found.target, found.index))
        return whole >> at & 1
    name = getattr(getattr(found, "op", None), "name", type(found).__name__)
    if isinstance(found, expr.Unary) and name == "LOGIC_NOT":
        return int(not _value(found.operand, place_of, bits))
    if isinstance(found, expr.Unary) and name == "BIT_NOT":
        return ~_value(found.operand, place_of, bits) % (1 << _width(found))
    if isinstance(found, expr.Binary) and name in _COMPUTED:
        left, right = (_value(each, place_of, bits) for each in (found.left, found.right))
        return int(_COMPUTED[name](left, right))
    raise UnsupportedError(f"{name} in a condition cannot be computed here.")


def _width(found: Any) -> int:
    return int(getattr(found.type, "width", 1))


def written(condition: Condition, bits: Sequence[Any]) -> Any:
    """Return a condition of ours as Qiskit's, over the bits of a circuit."""
    from qiskit.circuit.classical import expr, types  # noqa: PLC0415

    name, *parts = condition
    if name == "bit":
        return expr.lift(bits[parts[0]])
    if name == "not":
        return expr.logic_not(written(parts[0], bits))
    if not parts:
        return expr.Value(name == "and", types.Bool())
    join = {"and": expr.logic_and, "or": expr.logic_or, "xor": expr.bit_xor}[name]
    return _balanced([written(each, bits) for each in parts], join)


def _balanced(parts: list[Any], join: Callable[[Any, Any], Any]) -> Any:
    """Join expressions in pairs, so that many of them are not nested deeply."""
    while len(parts) > 1:
        pairs = zip(parts[::2], parts[1::2], strict=False)
        rest = parts[len(parts) // 2 * 2 :]
        parts = [*(join(a, b) for a, b in pairs), *rest]
    return parts[0]
