"""Variables of OpenQASM programs: their types, where names are known, and what bits hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from openqasm3 import ast

from . import words
from .conditions import ALWAYS, NEVER, Condition
from .ir import TURN, Op, UnsupportedError, flat
from .words import Sum, Word

WIDTH = 32
"""How many bits an `int`, `uint` or `angle` without a size has."""

_NAMES: tuple[tuple[type, str], ...] = (
    (ast.IntType, "int"),
    (ast.UintType, "uint"),
    (ast.BoolType, "bool"),
    (ast.FloatType, "float"),
    (ast.AngleType, "angle"),
    (ast.BitType, "bit"),
    (ast.DurationType, "duration"),
    (ast.StretchType, "stretch"),
)
ANY = 0
"""The size of an array that a subroutine takes whatever its size is."""

IN_BITS = frozenset({"int", "uint", "bool", "angle", "bit"})
"""Types whose values can be made of bits while a program runs."""


@dataclass(frozen=True)
class Type:
    """A type's name, how many bits it has, and the sizes of an array of it."""

    name: str
    width: int = 0
    sizes: tuple[int, ...] = ()

    def element(self) -> Type:
        """Return the type of an array's elements."""
        return Type(self.name, self.width)


def type_of(node: Any, known: Callable[[Any], Any]) -> Type:
    """Return what a type in a program is; `known` computes sizes. Raises UnsupportedError."""
    if isinstance(node, ast.ArrayType):
        inner = type_of(node.base_type, known)
        sizes = tuple(_size(known(each)) for each in node.dimensions)
        if math.prod(sizes) > 1 << 20:
            raise UnsupportedError("An array has at most 1048576 elements.")
        return Type(inner.name, inner.width, sizes)
    if isinstance(node, ast.ArrayReferenceType):
        inner, sizes = type_of(node.base_type, known), node.dimensions
        count = len(sizes) if isinstance(sizes, list) else _size(known(sizes))
        return Type(inner.name, inner.width, (ANY,) * count)
    name = next((name for kind, name in _NAMES if isinstance(node, kind)), None)
    if name is None:
        raise UnsupportedError(f"Variables of {type(node).__name__} are not known here.")
    if name in ("bool", "bit") and getattr(node, "size", None) is None:
        return Type(name, 1)
    size = getattr(node, "size", None)
    if name in ("float", "duration", "stretch"):
        return Type(name)
    return Type(name, WIDTH if size is None else _size(known(size)))


def _size(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UnsupportedError("A register's size is a whole number above 0.")
    return value


def coerced(value: Any, wanted: Type) -> Any:
    """Return a value as a variable of a type holds it; raise UnsupportedError if it cannot."""
    if wanted.sizes:
        return _array(value, wanted)
    if hasattr(value, "combined") or wanted.name in ("duration", "stretch"):
        return value
    if isinstance(value, list):
        raise UnsupportedError("An array is given where one value is wanted.")
    if isinstance(value, Word | Sum):
        return _measured(value, wanted)
    if wanted.name == "bool":
        return bool(value)
    if wanted.name == "float":
        return float(value)
    if wanted.name == "angle":
        return math.fmod(float(value), TURN)
    if not isinstance(value, bool | int) and value != int(value):
        value = math.trunc(value)
    return _wrapped(int(value), wanted)


def _wrapped(value: int, wanted: Type) -> int:
    rest = value & ((1 << wanted.width) - 1)
    if wanted.name == "int" and rest >> (wanted.width - 1):
        return rest - (1 << wanted.width)
    return rest


def _measured(value: Word | Sum, wanted: Type) -> Word | Sum:
    if wanted.name == "float":
        return words.real(value)
    if isinstance(value, Sum):
        raise UnsupportedError(f"A real number that is measured is no {wanted.name}.")
    if wanted.name == "bool":
        return words.flag(words.truth(value))
    turns = wanted.name == "angle"
    if turns and value.turns and len(value.bits) > wanted.width:
        value = value._replace(bits=value.bits[len(value.bits) - wanted.width :])
    elif turns and value.turns:
        value = value._replace(bits=(*[NEVER] * (wanted.width - len(value.bits)), *value.bits))
    return value.cut(wanted.width)._replace(signed=wanted.name == "int", turns=turns)


def _array(value: Any, wanted: Type) -> Any:
    if not isinstance(value, list) or wanted.sizes[0] not in (ANY, len(value)):
        raise UnsupportedError(f"An array of {wanted.sizes[0] or 'some'} elements is wanted.")
    inner = Type(wanted.name, wanted.width, wanted.sizes[1:])
    return [coerced(each, inner) for each in value]


def first_value(wanted: Type) -> Any:
    """Return what a variable holds that was given no value: 0."""
    if wanted.sizes:
        inner = Type(wanted.name, wanted.width, wanted.sizes[1:])
        return [first_value(inner) for _ in range(wanted.sizes[0])]
    return coerced(0, wanted)


def to_bits(value: Any, wanted: Type) -> list[Condition]:
    """Return the bits, the lowest first, in which a variable holds a value."""
    if wanted.name == "angle" and not isinstance(value, Word | Sum):
        return list(words.constant(words.in_turns(float(value), wanted.width), wanted.width).bits)
    found = coerced(value, wanted)
    if isinstance(found, Word):
        return [found.bit(at) for at in range(wanted.width)]
    return list(words.constant(int(found), wanted.width).bits)


@dataclass
class Variable:
    """What a name means: a value that is known, or bits.

    `level` is how deep in choices it was declared; `shown` variables are told once they are bits.
    """

    type: Type
    value: Any = None
    places: list[int] | None = None
    fixed: bool = False
    level: int = 0
    name: str = ""
    shown: bool = False


@dataclass
class Qubits:
    """A register of qubits, or an alias of some."""

    places: list[int]
    level: int = 0


@dataclass
class Scope:
    """What names mean in a block, and around it."""

    parent: Scope | None = None
    names: dict[str, Variable | Qubits] = field(default_factory=dict)
    depth: int = 0
    sealed: bool = False
    """Whether qubits outside are out of reach, as in the definition of a gate."""

    def find(self, name: str) -> Variable | Qubits | None:
        """Return what a name means, None if it means nothing."""
        sealed = False
        for scope in self.outwards():
            found = scope.names.get(name)
            if found is not None and not (sealed and isinstance(found, Qubits)):
                return found
            sealed = sealed or scope.sealed
        return None

    def variable(self, name: str) -> Variable | None:
        """Return the variable of a name, None if there is none."""
        found = self.find(name)
        return found if isinstance(found, Variable) else None

    def outwards(self) -> Iterator[Scope]:
        """Yield this block and those around it."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent

    def block(self) -> Scope:
        """Return a block in this one."""
        return Scope(self, depth=self.depth)


class Memory:
    """What the bits of a circuit hold at the point up to which a program was read.

    A bit whose value is known is written only where it has to be: before a choice, and at the end.
    """

    def __init__(self) -> None:
        self._known: dict[int, bool] = {}
        self._stored: dict[int, bool] = {}

    def new(self, places: Iterable[int], *, again: bool) -> None:
        """Note bits that begin as 0; `again`: in a loop, where they may hold what they held."""
        if not again:
            self._stored |= dict.fromkeys(places, False)

    def read(self, place: int) -> Condition:
        """Return the condition that a bit is 1."""
        if place in self._known:
            return ALWAYS if self._known[place] else NEVER
        return ["bit", place]

    def write(self, place: int, condition: Condition) -> list[Op]:
        """Make a bit what a condition is; return what has to be done for that."""
        if condition in (ALWAYS, NEVER):
            self._known[place] = condition == ALWAYS
            return []
        self.forget([place])
        return [] if condition == ["bit", place] else [["set", [], [place, condition]]]

    def forget(self, places: Iterable[int]) -> None:
        """Note that bits are written while the program runs."""
        for place in places:
            self._known.pop(place, None)
            self._stored.pop(place, None)

    def drop(self, places: Iterable[int]) -> None:
        """Note that nobody reads bits any more."""
        for place in places:
            self._known.pop(place, None)

    def flush(self) -> list[Op]:
        """Return what writes all bits whose value is known and not written yet."""
        found: list[Op] = []
        for place, value in sorted(self._known.items()):
            if self._stored.get(place) is not value:
                found.append(["set", [], [place, ALWAYS if value else NEVER]])
                self._stored[place] = value
        return found

    def copy(self) -> Memory:
        """Return the same, to go on in one branch."""
        other = Memory()
        other._known, other._stored = dict(self._known), dict(self._stored)
        return other

    def after(self, ops: list[Op]) -> None:
        """Forget what operations write that may have been done or not."""
        self.forget(params[0] for name, _, params in flat(ops) if name in ("measure", "set"))


def assigned(nodes: Any) -> Iterator[str]:
    """Yield the names that statements assign to."""
    if isinstance(nodes, list | tuple):
        for each in nodes:
            yield from assigned(each)
    elif isinstance(nodes, ast.QASMNode):
        target = nodes.lvalue if isinstance(nodes, ast.ClassicalAssignment) else None
        if isinstance(nodes, ast.QuantumMeasurementStatement):
            target = nodes.target
        while target is not None and not isinstance(target, ast.Identifier):
            target = getattr(target, "name", None) or getattr(target, "collection", None)
        if target is not None:
            yield target.name
        for key, each in vars(nodes).items():
            if key not in ("span", "annotations") and isinstance(each, list | tuple | ast.QASMNode):
                yield from assigned(each)
