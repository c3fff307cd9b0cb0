"""What a program in OpenQASM declares: qubits, bits, variables; how they are named and assigned.

A variable whose value is known is a number here and nothing in the circuit. Where a measured bit
decides what it is, it becomes bits of the circuit, and computing with it becomes `set` operations.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from openqasm3 import ast

from .conditions import Condition, bits_of, size
from .expressions import Value, evaluate, line, refuse, whole_range
from .ir import Op, UnsupportedError
from .stretching import Span
from .variables import (
    IN_BITS,
    Memory,
    Qubits,
    Scope,
    Type,
    Variable,
    coerced,
    first_value,
    to_bits,
    type_of,
)
from .words import Sum, Word

OPS_MAX = 500_000
QUBITS_MAX = 4096
BITS_MAX = 65_536
SMALL = 10
"""Of how many parts a condition may be made before it is put into a bit of its own."""


_OF_BITS = frozenset({"<<", ">>", "&", "|", "^"})


class MeasuredError(UnsupportedError):
    """A value has to be known before the program runs, and is measured."""


class MeasuredIndexError(MeasuredError):
    """An index is measured: the places that it chooses from, and the index itself."""

    def __init__(self, why: MeasuredError, places: list[int], index: Any) -> None:
        super().__init__(why.what, why.why, why.line)
        self.places = places
        self.index = index


class Names:
    """The names of one block, as expressions ask for them."""

    def __init__(self, reader: Naming, scope: Scope) -> None:
        self._reader = reader
        self._scope = scope

    def value(self, name: str) -> Value | None:
        """Return the value of a variable."""
        found = self._scope.variable(name)
        return None if found is None else self._reader.value_of(found)

    def keep(self, condition: Condition) -> Condition:
        """Put a large condition into a bit of its own."""
        return self._reader.keep(condition)

    def width(self, node: Any) -> int:
        """Return how many bits a variable or a cast has, 0 if that is not known."""
        return self._reader.width_of(node, self._scope)

    def call(self, node: Any) -> Value | None:
        """Return the result of one of the program's subroutines."""
        return self._reader.result_of(node, self._scope)

    def duration_of(self, node: Any) -> Value:
        """Return how long some statements take."""
        return self._reader.duration_of(node, self._scope)


class Naming(ABC):
    """Reads declarations and assignments."""

    def __init__(self, bindings: Mapping[str, float]) -> None:
        self._bindings = dict(bindings)
        self._ops: list[Op] = []
        self._total = 0
        self._labels: list[str] = []
        self._count = 0
        self._bits = 0
        self._registers: list[list[Any]] = []
        self._hidden: list[list[Any]] = []
        self._taken: set[str] = set()
        self._inputs: list[str] = []
        self._outputs: list[str] = []
        self._memory = Memory()
        self._level = 0
        self._loops = 0
        self._calls = 0
        self._stretches = 0
        self._scope = Scope()

    @abstractmethod
    def result_of(self, node: Any, scope: Scope) -> Value | None:
        """Return the result of a subroutine, None if the program has none of that name."""

    @abstractmethod
    def duration_of(self, node: Any, scope: Scope) -> Value:
        """Return how long statements take."""

    def width_of(self, node: Any, scope: Scope) -> int:
        """Return how many bits a variable or a cast has, 0 if that is not known."""
        if isinstance(node, ast.Cast):
            return self._type(node.type, scope).width
        found = scope.variable(node.name) if isinstance(node, ast.Identifier) else None
        return 0 if found is None or found.type.sizes else found.type.width

    def value_of(self, found: Variable) -> Value:
        """Return what a variable holds at this point of the program."""
        if found.places is None:
            return found.value
        bits = tuple(map(self._memory.read, found.places))
        return Word(bits, found.type.name == "int", found.type.name == "angle")

    def keep(self, condition: Condition) -> Condition:
        """Return the condition, or if it is large the bit that it is put into."""
        if size(condition) <= SMALL:
            return condition
        place = self._new_hidden(1)[0]
        self._extend(self._memory.write(place, condition))
        return ["bit", place]

    def _add(self, op: Op, node: Any) -> None:
        self._total += 1
        if self._total > OPS_MAX:
            raise refuse(node, f"The program has more than {OPS_MAX} operations.")
        self._ops.append(op)

    def _extend(self, ops: Iterable[Op]) -> None:
        for each in ops:
            self._add(each, None)

    def _value(self, node: Any, scope: Scope) -> Value:
        return evaluate(node, Names(self, scope))

    def _known(self, node: Any, scope: Scope) -> Value:
        """Return a value that no measured bit decides; raise UnsupportedError for others."""
        value = self._value(node, scope)
        if isinstance(value, Word | Sum):
            raise MeasuredError("This has to be known before the program runs.", "", line(node))
        return value

    def _type(self, node: Any, scope: Scope) -> Type:
        try:
            return type_of(node, lambda each: self._known(each, scope))
        except UnsupportedError as error:
            raise UnsupportedError(error.what, error.why, error.line or line(node)) from error

    def _size(self, node: Any, scope: Scope) -> int:
        size = 1 if node is None else self._known(node, scope)
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise refuse(node, "A register's size is a whole number above 0.")
        return size

    def _free_name(self, node: Any, name: str, scope: Scope) -> None:
        if name in scope.names:
            raise refuse(node, f"{name} is declared twice.")

    def _io(self, node: Any, scope: Scope) -> None:
        name = node.identifier.name
        if node.io_identifier is ast.IOKeyword.output:
            self._outputs.append(name)
            self._classical(node, scope)
            return
        self._inputs.append(name)
        if name not in self._bindings:
            raise refuse(node, f"The input {name} was given no value.", "Bind it.")
        self._free_name(node, name, scope)
        self._declare(node, name, self._type(node.type, scope), self._bindings[name], scope)

    def _qubits(self, node: Any, scope: Scope) -> None:
        size = self._size(node.size, scope)
        if self._count + size > QUBITS_MAX:
            raise refuse(node, f"The program has more than {QUBITS_MAX} qubits.")
        self._free_name(node, node.qubit.name, scope)
        places = list(range(self._count, self._count + size))
        scope.names[node.qubit.name] = Qubits(places, self._level)
        self._count += size

    def _classical(self, node: Any, scope: Scope) -> None:
        name, initial = node.identifier.name, getattr(node, "init_expression", None)
        wanted = self._type(node.type, scope)
        self._free_name(node, name, scope)
        if wanted.name == "bit" and not wanted.sizes:
            scope.names[name] = made = self._new_variable(node, name, wanted)
            assert made.places is not None
            if isinstance(initial, ast.QuantumMeasurement):
                self._read_out(node, self._places(initial.qubit, scope), made.places)
            elif initial is not None and not self._called_into(initial, scope, made.places):
                self._set(node, made.places, wanted, self._value(initial, scope))
            return
        value = first_value(wanted)
        if wanted.name == "stretch":
            value = Span(0.0, ((1.0, f"{name} {self._count_stretches()}"),))
        if isinstance(initial, ast.QuantumMeasurement):
            value = self._measured_value(node, initial, scope)
        elif initial is not None:
            value = self._value(initial, scope)
        self._declare(node, name, wanted, value, scope)

    def _declare(self, node: Any, name: str, wanted: Type, value: Value, scope: Scope) -> Variable:
        """Declare a variable with a value."""
        measured = isinstance(value, Word) or wanted.name == "bit"
        if measured and wanted.name in IN_BITS and not wanted.sizes:
            scope.names[name] = made = self._new_variable(node, name, wanted, scope)
            self._set(node, made.places or [], wanted, value)
            return made
        scope.names[name] = made = Variable(
            wanted, self._coerced(node, value, wanted), level=self._level
        )
        made.shown = scope is self._scope
        made.name = name
        return made

    def _coerced(self, node: Any, value: Value, wanted: Type) -> Value:
        try:
            return coerced(value, wanted)
        except UnsupportedError as error:
            raise UnsupportedError(error.what, error.why, error.line or line(node)) from error
        except (ValueError, TypeError, ArithmeticError) as error:
            raise refuse(node, f"The value does not fit: {error}.") from error

    def _constant(self, node: Any, scope: Scope) -> None:
        name, wanted = node.identifier.name, self._type(node.type, scope)
        self._free_name(node, name, scope)
        value = self._coerced(node, self._known(node.init_expression, scope), wanted)
        scope.names[name] = Variable(wanted, value, fixed=True)

    def _new_variable(
        self, node: Any, name: str, wanted: Type, scope: Scope | None = None
    ) -> Variable:
        """Return a variable in bits of its own; those of subroutines are not told."""
        if self._bits + wanted.width > BITS_MAX:
            raise refuse(node, f"The program has more than {BITS_MAX} bits.")
        if wanted.name == "bit" and self._count_shown() + wanted.width > QUBITS_MAX:
            raise refuse(node, f"The program has more than {QUBITS_MAX} bits.")
        shown = not self._calls and (wanted.name == "bit" or scope is self._scope)
        places = self._new_bits(name, wanted.width, shown=shown)
        return Variable(wanted, places=places, level=self._level)

    def _count_stretches(self) -> int:
        self._stretches += 1
        return self._stretches

    def _count_shown(self) -> int:
        return sum(size for _, _, size in self._registers)

    def _new_hidden(self, count: int) -> list[int]:
        if self._bits + count > BITS_MAX:
            raise UnsupportedError(f"The program computes with more than {BITS_MAX} bits.")
        return self._new_bits("computed", count, shown=False)

    def _new_bits(self, name: str, count: int, *, shown: bool = True) -> list[int]:
        """Return bits of a register of their own, with a number after its name if that is taken."""
        own, number = name, 1
        if own in self._taken and not shown:
            own = f"{name}_{self._bits}"
        while own in self._taken:
            own, number = f"{name}_{number}", number + 1
        self._taken.add(own)
        (self._registers if shown else self._hidden).append([own, self._bits, count])
        places = list(range(self._bits, self._bits + count))
        self._bits += count
        self._memory.new(places, again=bool(self._loops))
        return places

    def _assign(self, node: Any, scope: Scope) -> None:
        name, indices = split(node.lvalue)
        found = scope.variable(name)
        if found is None or found.fixed:
            raise refuse(node, f"{name} is not a variable.")
        sign = node.op.name
        if found.type.name == "angle" and sign[:-1] in _OF_BITS:
            self._promote(node, name, scope)
        if sign == "=" and found.type.name == "bit" and not found.type.sizes:
            targets = self._bit_targets(node.lvalue, scope)
            if self._called_into(node.rvalue, scope, targets):
                return
        value = self._value(node.rvalue, scope)
        if sign != "=":
            operator = ast.BinaryOperator[sign[:-1]]
            value = self._combined(node, operator, node.lvalue, value, scope)
        if found.type.sizes:
            self._set_element(node, found, indices, value, scope)
        elif indices or found.places is not None or isinstance(value, Word):
            self._promote(node, name, scope)
            targets = self._bit_targets(node.lvalue, scope)
            wanted = Type("bit", len(targets)) if indices else found.type
            self._set(node, targets, wanted, value)
        else:
            self._may_change(node, name, found)
            found.value = self._coerced(node, value, found.type)

    def _combined(self, node: Any, operator: Any, lvalue: Any, value: Value, scope: Scope) -> Value:
        """Return what `a += b` makes of two values."""
        inner = scope.block()
        inner.names["right-hand side"] = Variable(Type("float"), value)
        left: Any = lvalue
        if isinstance(lvalue, ast.IndexedIdentifier):
            left = lvalue.name
            for each in lvalue.indices:
                left = ast.IndexExpression(left, each)
        made = ast.BinaryExpression(operator, left, ast.Identifier("right-hand side"))
        made.span = left.span = node.span
        return self._value(made, inner)

    def _may_change(self, node: Any, name: str, found: Variable | Qubits) -> None:
        if found.level < self._level:
            raise refuse(
                node, f"{name} cannot change here.", "A measured bit decides whether it does."
            )

    def _set_element(
        self, node: Any, found: Variable, indices: Sequence[Any], value: Value, scope: Scope
    ) -> None:
        self._may_change(node, "The array", found)
        if isinstance(value, Word | Sum):
            raise refuse(node, "Arrays hold what is known before the program runs.")
        if not indices:
            found.value = self._coerced(node, value, found.type)
            return
        target, wanted = found.value, found.type
        for number, index in enumerate(indices):
            wanted = Type(wanted.name, wanted.width, wanted.sizes[1:])
            last = number == len(indices) - 1
            if not isinstance(target, list):
                raise refuse(node, "The array has fewer dimensions.")
            if isinstance(index, ast.RangeDefinition):
                self._set_slice(node, target, index, value, last=last, scope=scope)
                return
            at = self._known(index, scope)
            if not isinstance(at, int) or not -len(target) <= at < len(target):
                raise refuse(node, f"Index {at} is outside of an array of {len(target)}.")
            if last:
                target[at] = self._coerced(node, value, wanted)
            target = target[at]

    def _set_slice(
        self, node: Any, target: list[Any], index: Any, value: Value, *, last: bool, scope: Scope
    ) -> None:
        places = list(self._range(index, scope, len(target)))
        fits = isinstance(value, list) and len(value) == len(places)
        if not last or not fits or any(not 0 <= at < len(target) for at in places):
            raise refuse(node, "A part of an array is given one of the same shape.")
        for at, each in zip(places, list(value), strict=True):
            target[at] = each

    def _promote(self, node: Any, name: str, scope: Scope) -> None:
        """Make bits of a variable, because something measured decides what it is."""
        found = scope.variable(name)
        if found is None or found.places is not None or found.fixed:
            return
        if found.type.name not in IN_BITS or found.type.sizes:
            raise refuse(
                node,
                f"{name} cannot depend on what is measured.",
                f"A {found.type.name} is no bits; int, uint, bool, bit and angle are.",
            )
        bits = to_bits(found.value, found.type)
        found.places = self._new_bits(
            found.name or name, found.type.width, shown=found.shown and not self._outputs
        )
        for place, bit in zip(found.places, bits, strict=True):
            self._extend(self._memory.write(place, bit))

    def _set(self, node: Any, targets: list[int], wanted: Type, value: Value) -> None:
        """Make bits what a value is, each from what all were before."""
        plain = wanted.name == "bit" and not isinstance(value, Word | Sum | list)
        if plain and (isinstance(value, float) or not -1 <= value < 1 << wanted.width):
            raise refuse(node, f"{value} is not {wanted.width} bits.")
        try:
            bits = to_bits(value, wanted)
        except UnsupportedError as error:
            raise UnsupportedError(error.what, error.why, error.line or line(node)) from error
        pairs = list(zip(targets, bits, strict=True))
        if _overwrites(pairs) and not _overwrites(pairs[::-1]):
            pairs.reverse()
        elif _overwrites(pairs):
            held = self._new_hidden(len(pairs))
            for place, (_, bit) in zip(held, pairs, strict=True):
                self._extend(self._memory.write(place, bit))
            pairs = [(p, self._memory.read(h)) for (p, _), h in zip(pairs, held, strict=True)]
        for place, bit in pairs:
            self._extend(self._memory.write(place, bit))

    def _bit_targets(self, node: Any, scope: Scope) -> list[int]:
        name, indices = split(node)
        found = scope.variable(name)
        if found is None or found.type.name not in IN_BITS or found.type.sizes or found.fixed:
            raise refuse(node, f"{name} is not a register of bits.")
        self._promote(node, name, scope)
        return self._pick(node, found.places or [], indices, scope)

    def _read_out(self, node: Any, qubits: Sequence[int], bits: Sequence[int]) -> None:
        if len(qubits) != len(bits):
            raise refuse(node, f"{len(qubits)} qubits are measured into {len(bits)} bits.")
        for qubit, bit in zip(qubits, bits, strict=True):
            self._add(["measure", [qubit], [bit]], node)
        self._memory.forget(bits)

    def _measured_value(self, node: Any, measurement: Any, scope: Scope) -> Word:
        qubits = self._places(measurement.qubit, scope)
        bits = self._new_hidden(len(qubits))
        self._read_out(node, qubits, bits)
        return Word(tuple(["bit", each] for each in bits))

    @abstractmethod
    def _called_into(self, node: Any, scope: Scope, targets: list[int]) -> bool:
        """Do a subroutine whose result goes straight into bits; tell whether it is one."""

    def _places(self, node: Any, scope: Scope) -> list[int]:
        """Return the qubits that an operand names."""
        if isinstance(node, ast.Concatenation):
            return [*self._places(node.lhs, scope), *self._places(node.rhs, scope)]
        name, indices = split(node)
        if name.startswith("$"):
            return [self._physical(name[1:])]
        found = scope.find(name)
        if not isinstance(found, Qubits):
            raise refuse(node, f"{name} is not a register of qubits.")
        return self._pick(node, found.places, indices, scope)

    def _physical(self, label: str) -> int:
        if label not in self._labels:
            self._labels.append(label)
            self._count += 1
        return self._labels.index(label)

    def _pick(
        self, node: Any, places: list[int], indices: Sequence[Any], scope: Scope
    ) -> list[int]:
        for index in indices:
            try:
                chosen = self._chosen(index, scope, len(places))
            except MeasuredError as error:
                raise MeasuredIndexError(error, places, index) from error
            found = []
            for value in chosen:
                if not isinstance(value, int) or not -len(places) <= value < len(places):
                    raise refuse(node, f"Index {value} is outside of a register of {len(places)}.")
                found.append(places[value])
            places = found
        return places

    def _chosen(self, index: Any, scope: Scope, size: int) -> Sequence[Value]:
        """Return the places that an index names in a register of a size."""
        if isinstance(index, ast.RangeDefinition):
            return self._range(index, scope, size)
        several = index.values if isinstance(index, ast.DiscreteSet) else [index]
        return [self._known(each, scope) for each in several]

    def _range(self, node: Any, scope: Scope, size: int | None = None) -> range:
        """Return the numbers of a range, whose end belongs to it."""
        found = whole_range(node, size, lambda each: self._known(each, scope))
        if len(found) > OPS_MAX:
            raise refuse(node, f"The range has more than {OPS_MAX} numbers.")
        return found


def _overwrites(pairs: Sequence[tuple[int, Condition]]) -> bool:
    """Tell whether a bit is asked for after it was written, in a row of writings."""
    written: set[int] = set()
    for place, bit in pairs:
        if written & bits_of(bit):
            return True
        written.add(place)
    return False


def split(node: Any) -> tuple[str, list[Any]]:
    """Return the name of an operand and its indices."""
    if isinstance(node, ast.Identifier):
        return node.name, []
    if isinstance(node, ast.IndexedIdentifier):
        found: list[Any] = []
        for each in node.indices:
            found += [each] if isinstance(each, ast.DiscreteSet) else each
        return node.name.name, found
    if isinstance(node, ast.IndexExpression):
        name, before = split(node.collection)
        index = node.index
        return name, [*before, *([index] if isinstance(index, ast.DiscreteSet) else index)]
    raise refuse(node, f"{type(node).__name__} names no qubits or bits.")
