"""Reads OpenQASM 2 and 3 by the official parser and unrolls it into a circuit.

Loops, constants, inputs, subroutines, gate definitions and modifiers are resolved. An `if` on
measured bits is kept as such; whatever else depends on a measurement or on the machine is refused
with its line and the reason. A subroutine's bits are those that its result is assigned to.
Braket's pragmas and physical qubits (`$3`) are understood, and its names of gates beside those of
`stdgates.inc` and `qelib1.inc`, whether a program includes these or not.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from openqasm3 import ast
from openqasm3 import parse as parse_text
from openqasm3.parser import QASM3ParsingError

from .choices import condition
from .expressions import Value, evaluate, line, refuse
from .ir import Circuit, Op, UnsupportedError, decided, flat
from .names import inverse, spelled_out, under_control

OPS_MAX = 500_000
QUBITS_MAX = 4096
DEPTH_MAX = 60
_INCLUDES = frozenset({"stdgates.inc", "qelib1.inc"})
_SYNTAX = re.compile(r"line (\d+):\d+ (.+)")


@dataclass
class _Gate:
    """A gate that the program defines."""

    params: list[str]
    qubits: list[str]
    body: list[Any]


@dataclass
class _Scope:
    """What names mean: values, and lists of qubits."""

    values: dict[str, Value] = field(default_factory=dict)
    qubits: dict[str, list[int]] = field(default_factory=dict)
    bits: dict[str, list[int]] = field(default_factory=dict)
    depth: int = 0
    held: frozenset[str] = frozenset()
    """Names that may not change, because it is decided while the program runs whether they do."""

    result: list[int] | None = None
    """The bits that a subroutine's result is assigned to."""

    def inner(self) -> _Scope:
        return _Scope(dict(self.values), dict(self.qubits), {}, self.depth + 1)

    @contextlib.contextmanager
    def block(self) -> Iterator[None]:
        """Forget the names that a block declares when it ends."""
        tables: tuple[dict[str, Any], ...] = (self.values, self.qubits, self.bits)
        before = [set(each) for each in tables]
        yield
        for table, known in zip(tables, before, strict=True):
            for name in set(table) - known:
                del table[name]


def read(source: str, bindings: Mapping[str, float]) -> Circuit:
    """Return the circuit of a program; raise UnsupportedError with a line if there is none."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            tree = parse_text(source)
    except (QASM3ParsingError, RecursionError) as error:
        raise UnsupportedError("The program is not OpenQASM.", *_reason(error, said)) from error
    except Exception as error:  # the parser's own failures on odd input have no common class
        what = f"The parser fails on the program: {type(error).__name__}."
        raise UnsupportedError(what, str(error)) from error
    try:
        return _Reader(bindings).read(tree)
    except RecursionError as error:
        raise UnsupportedError("The program is nested too deeply.") from error


def _reason(error: Exception, said: io.StringIO) -> tuple[str, int]:
    """Return why the parser gave up, and on which line."""
    found = _SYNTAX.search(said.getvalue())
    if found:
        return found[2], int(found[1])
    cause = getattr(error.__cause__, "args", ())
    token = getattr(cause[0], "offendingToken", None) if cause else None
    if token is not None:
        return f"It ends or goes on unexpectedly at {token.text!r}.", int(token.line)
    return str(error) or type(error).__name__, 0


class _Reader:
    def __init__(self, bindings: Mapping[str, float]) -> None:
        self._bindings = dict(bindings)
        self._ops: list[Op] = []
        self._labels: list[str] = []
        self._count = 0
        self._bits = 0
        self._registers: list[list[Any]] = []
        self._gates: dict[str, _Gate] = {}
        self._subroutines: dict[str, Any] = {}
        self._constants: dict[str, Value] = {}
        self._inputs: list[str] = []
        self._pragmas: list[str] = []
        self._verbatim = False
        self._boxes = 0
        self._scope = _Scope()
        self._do: dict[type, Callable[[Any, _Scope], None]] = {
            ast.Include: self._include,
            ast.IODeclaration: self._io,
            ast.QubitDeclaration: self._qubits,
            ast.ClassicalDeclaration: self._classical,
            ast.ConstantDeclaration: self._constant,
            ast.QuantumGateDefinition: self._definition,
            ast.QuantumGate: self._gate,
            ast.QuantumPhase: self._ignored,
            ast.QuantumMeasurementStatement: self._measure,
            ast.QuantumReset: self._reset,
            ast.QuantumBarrier: self._barrier,
            ast.DelayInstruction: self._delay,
            ast.ForInLoop: self._loop,
            ast.AliasStatement: self._alias,
            ast.Pragma: self._pragma,
            ast.Box: self._box,
            ast.ClassicalAssignment: self._assign,
            ast.BranchingStatement: self._branch,
            ast.SubroutineDefinition: self._subroutine,
            ast.ExpressionStatement: self._called,
        }

    def read(self, tree: Any) -> Circuit:
        for statement in tree.statements:
            self._statement(statement, self._scope)
        unknown = sorted(set(self._bindings) - set(self._inputs))
        if unknown:
            raise UnsupportedError(f"The program has no input {unknown[0]}.")
        if self._labels and self._count > len(self._labels):
            raise UnsupportedError("Physical and declared qubits cannot be mixed.")
        circuit: Circuit = {
            "qubits": self._count,
            "bits": self._bits,
            "registers": self._registers,
            "ops": self._ops,
        }
        if self._labels:
            circuit["labels"] = self._labels
        if self._boxes:
            circuit["verbatim"] = True
        if self._pragmas:
            circuit["pragmas"] = self._pragmas
        return circuit

    def _statement(self, node: Any, scope: _Scope) -> None:
        do = self._do.get(type(node))
        if do is None:
            raise refuse(
                node,
                f"{type(node).__name__} cannot be run here.",
                "Circuits are unrolled before they run; of what decides while it runs, `if` is.",
            )
        if self._verbatim and not isinstance(node, ast.Box):
            raise refuse(node, "A box must follow `#pragma braket verbatim`.")
        do(node, scope)

    def _add(self, op: Op, node: Any) -> None:
        if len(self._ops) >= OPS_MAX:
            raise refuse(node, f"The program has more than {OPS_MAX} operations.")
        self._ops.append(op)

    def _ignored(self, node: Any, scope: _Scope) -> None:
        """A global phase changes no outcome."""

    def _include(self, node: Any, scope: _Scope) -> None:
        if node.filename not in _INCLUDES:
            raise refuse(
                node, f"{node.filename} cannot be included.", f"Known: {', '.join(_INCLUDES)}."
            )

    def _io(self, node: Any, scope: _Scope) -> None:
        name = node.identifier.name
        if node.io_identifier is ast.IOKeyword.output:
            self._classical(node, scope)
            return
        self._inputs.append(name)
        if name not in self._bindings:
            raise refuse(node, f"The input {name} was given no value.", "Bind it.")
        scope.values[name] = self._bindings[name]

    def _size(self, node: Any, scope: _Scope) -> int:
        size = 1 if node is None else evaluate(node, scope.values)
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise refuse(node, "A register's size is a whole number above 0.")
        return size

    def _qubits(self, node: Any, scope: _Scope) -> None:
        size = self._size(node.size, scope)
        if self._count + size > QUBITS_MAX:
            raise refuse(node, f"The program has more than {QUBITS_MAX} qubits.")
        self._new_name(node, node.qubit.name, scope)
        scope.qubits[node.qubit.name] = list(range(self._count, self._count + size))
        self._count += size

    def _new_name(self, node: Any, name: str, scope: _Scope) -> None:
        if name in scope.qubits or name in scope.bits:
            raise refuse(node, f"{name} is declared twice.")

    def _classical(self, node: Any, scope: _Scope) -> None:
        name = node.identifier.name
        initial = getattr(node, "init_expression", None)
        if not isinstance(node.type, ast.BitType):
            if initial is None:
                raise refuse(node, f"{name} is a variable without a known value.")
            scope.values[name] = evaluate(initial, scope.values)
            return
        self._new_name(node, name, scope)
        size = self._size(node.type.size, scope)
        if self._bits + size > QUBITS_MAX:
            raise refuse(node, f"The program has more than {QUBITS_MAX} bits.")
        scope.bits[name] = self._new_bits(name, size)
        if isinstance(initial, ast.QuantumMeasurement):
            self._write(node, self._places(initial.qubit, scope), scope.bits[name])
        elif self._is_call(initial):
            self._call(initial, scope, scope.bits[name])
        elif initial is not None and evaluate(initial, scope.values) != 0:
            raise refuse(node, "Bits start at 0; other values cannot be set.")

    def _new_bits(self, name: str, size: int) -> list[int]:
        """Return bits of a register of their own, with a number after its name if that is taken."""
        taken = {each for each, _, _ in self._registers}
        own, number = name, 1
        while own in taken:
            own, number = f"{name}_{number}", number + 1
        self._registers.append([own, self._bits, size])
        self._bits += size
        return list(range(self._bits - size, self._bits))

    def _constant(self, node: Any, scope: _Scope) -> None:
        value = evaluate(node.init_expression, scope.values)
        scope.values[node.identifier.name] = value
        if scope is self._scope:
            self._constants[node.identifier.name] = value

    def _assign(self, node: Any, scope: _Scope) -> None:
        name = getattr(node.lvalue, "name", None)
        if node.op.name == "=" and self._is_call(node.rvalue):
            self._call(node.rvalue, scope, self._bit_targets(node.lvalue, scope))
            return
        if name in scope.held:
            raise refuse(
                node, f"{name} cannot change here.", "An `if` on a measured bit decides whether."
            )
        if not isinstance(name, str) or name not in scope.values or node.op.name != "=":
            raise refuse(node, "Only plain variables with known values can be assigned to.")
        scope.values[name] = evaluate(node.rvalue, scope.values)

    def _branch(self, node: Any, scope: _Scope) -> None:
        try:
            asked = condition(node.condition, scope.values, scope.bits)
        except UnsupportedError as error:
            raise UnsupportedError(error.what, error.why, error.line or line(node)) from error
        if len(asked) == 1:  # it does not depend on a bit
            self._within(node.if_block if asked == ["and"] else node.else_block, scope)
            return
        held = scope.held
        scope.held = held | set(scope.values) | set(scope.qubits)
        branches = [self._aside(each, scope) for each in (node.if_block, node.else_block)]
        scope.held = held
        self._add(decided(["if", [], [asked, [], [], line(node)]], *branches), node)
        if sum(1 for _ in flat(self._ops[-1:])) + len(self._ops) > OPS_MAX:
            raise refuse(node, f"The program has more than {OPS_MAX} operations.")

    def _within(self, statements: Sequence[Any], scope: _Scope) -> None:
        """Do the statements of a block."""
        with scope.block():
            for each in statements:
                self._statement(each, scope)

    def _aside(self, statements: Sequence[Any], scope: _Scope) -> list[Op]:
        """Return the operations of a block instead of adding them."""
        outer, self._ops = self._ops, []
        try:
            self._within(statements, scope)
            return self._ops
        finally:
            self._ops = outer

    def _subroutine(self, node: Any, scope: _Scope) -> None:
        self._subroutines[node.name.name] = node

    def _is_call(self, node: Any) -> bool:
        return isinstance(node, ast.FunctionCall) and node.name.name in self._subroutines

    def _called(self, node: Any, scope: _Scope) -> None:
        if not self._is_call(node.expression):
            raise refuse(node, "An expression alone does nothing.")
        self._call(node.expression, scope, None)

    def _call(self, node: Any, scope: _Scope, result: list[int] | None) -> None:
        """Do what a subroutine does with qubits and known values; its result goes into bits."""
        made = self._subroutines[node.name.name]
        given = node.qubits if isinstance(node, ast.QuantumGate) else node.arguments
        if len(given) != len(made.arguments):
            raise refuse(node, f"{made.name.name} takes {len(made.arguments)} arguments.")
        if scope.depth > DEPTH_MAX:
            raise refuse(node, f"{made.name.name} calls itself, or too deeply.")
        inner = _Scope(dict(self._constants), depth=scope.depth + 1, result=result)
        for want, each in zip(made.arguments, given, strict=True):
            if isinstance(want, ast.QuantumArgument):
                places = self._places(each, scope)
                size = self._size(want.size, inner)
                if len(places) != size:
                    raise refuse(node, f"{want.name.name} has {size} qubits, not {len(places)}.")
                inner.qubits[want.name.name] = places
            else:
                inner.values[want.name.name] = evaluate(each, scope.values)
        self._body(node, made, inner)

    def _body(self, node: Any, made: Any, scope: _Scope) -> None:
        """Do a subroutine's statements, of which the last alone may return something."""
        last: Any = made.body[-1] if made.body else None
        returns = isinstance(last, ast.ReturnStatement)
        if scope.result is not None and not returns:
            raise refuse(node, f"{made.name.name} does not return at its end.")
        name = getattr(last.expression, "name", "") if returns else ""
        for each in made.body[:-1] if returns else made.body:
            declares = isinstance(each, ast.ClassicalDeclaration) and each.identifier.name == name
            if declares and scope.result is not None and each.init_expression is None:
                size = self._size(getattr(each.type, "size", None), scope)
                if not isinstance(each.type, ast.BitType) or size != len(scope.result):
                    raise refuse(node, f"{name} is not {len(scope.result)} bits.")
                scope.bits[name] = scope.result
            else:
                self._statement(each, scope)
        if returns:
            self._returned(last, scope)

    def _returned(self, node: Any, scope: _Scope) -> None:
        value, result = node.expression, scope.result
        if isinstance(value, ast.QuantumMeasurement):
            qubits = self._places(value.qubit, scope)
            bits = self._new_bits("measured", len(qubits)) if result is None else result
            self._write(node, qubits, bits)
        elif result is not None:
            name = value.name if isinstance(value, ast.Identifier) else ""
            if scope.bits.get(name) is not result:
                raise refuse(node, "A subroutine returns a measurement, or bits of its own.")

    def _definition(self, node: Any, scope: _Scope) -> None:
        self._gates[node.name.name] = _Gate(
            [each.name for each in node.arguments],
            [each.name for each in node.qubits],
            node.body,
        )

    def _gate(self, node: Any, scope: _Scope) -> None:
        if node.name.name in self._subroutines and not node.modifiers:
            self._call(node, scope, None)
            return
        params = [float(evaluate(each, scope.values)) for each in node.arguments]
        lists = [self._places(each, scope) for each in node.qubits]
        for qubits in _broadcast(node, lists):
            for op in self._modified(node, qubits, params, scope):
                self._add(op, node)

    def _modified(
        self, node: Any, qubits: Sequence[int], params: Sequence[float], scope: _Scope
    ) -> list[Op]:
        """Return a gate with its modifiers, the innermost (rightmost) first."""
        controls = 0
        counts = []
        for modifier in node.modifiers:
            count = 1 if modifier.argument is None else evaluate(modifier.argument, scope.values)
            kind = modifier.modifier.name
            counts.append((kind, count))
            controls += int(count) if kind in ("ctrl", "negctrl") else 0
        held, targets = list(qubits[:controls]), list(qubits[controls:])
        try:
            ops = self._plain(node, targets, params, scope)
            for kind, count in reversed(counts):
                ops = _apply(kind, count, ops, held)
        except UnsupportedError as error:
            raise UnsupportedError(error.what, error.why, error.line or line(node)) from error
        return ops

    def _plain(
        self, node: Any, qubits: Sequence[int], params: Sequence[float], scope: _Scope
    ) -> list[Op]:
        name = node.name.name
        own = self._gates.get(name)
        if own is None:
            found = spelled_out(name, qubits, params)
            if found is None:
                raise refuse(node, f"The gate {name} is not known.", "Define it in the program.")
            return found
        if len(own.params) != len(params) or len(own.qubits) != len(qubits):
            raise refuse(node, f"{name} takes {len(own.params)} and {len(own.qubits)} arguments.")
        if scope.depth > DEPTH_MAX:
            raise refuse(node, f"{name} is defined by itself, or too deeply.")
        inner = scope.inner()
        inner.values.update(zip(own.params, params, strict=True))
        inner.qubits = {each: [place] for each, place in zip(own.qubits, qubits, strict=True)}
        return self._aside(own.body, inner)

    def _measure(self, node: Any, scope: _Scope) -> None:
        qubits = self._places(node.measure.qubit, scope)
        if node.target is None:
            start = self._bits
            self._registers.append([f"measured_{start}", start, len(qubits)])
            self._bits += len(qubits)
            self._write(node, qubits, list(range(start, self._bits)))
            return
        self._write(node, qubits, self._bit_targets(node.target, scope))

    def _write(self, node: Any, qubits: Sequence[int], bits: Sequence[int]) -> None:
        if len(qubits) != len(bits):
            raise refuse(node, f"{len(qubits)} qubits are measured into {len(bits)} bits.")
        for qubit, bit in zip(qubits, bits, strict=True):
            self._add(["measure", [qubit], [bit]], node)

    def _bit_targets(self, node: Any, scope: _Scope) -> list[int]:
        name, indices = _split(node)
        if name not in scope.bits:
            raise refuse(node, f"{name} is not a register of bits.")
        return self._pick(node, scope.bits[name], indices, scope)

    def _reset(self, node: Any, scope: _Scope) -> None:
        for qubit in self._places(node.qubits, scope):
            self._add(["reset", [qubit], []], node)

    def _barrier(self, node: Any, scope: _Scope) -> None:
        places = [place for each in node.qubits for place in self._places(each, scope)]
        self._add(["barrier", places or list(range(self._count)), []], node)

    def _delay(self, node: Any, scope: _Scope) -> None:
        seconds = float(evaluate(node.duration, scope.values))
        for each in node.qubits:
            for place in self._places(each, scope):
                self._add(["delay", [place], [seconds]], node)

    def _loop(self, node: Any, scope: _Scope) -> None:
        values = node.set_declaration
        if isinstance(values, ast.RangeDefinition):
            found: Iterator[Value] = iter(self._range(values, scope))
        elif isinstance(values, ast.DiscreteSet):
            found = (evaluate(each, scope.values) for each in values.values)
        else:
            raise refuse(node, "A loop goes over a range or a set of numbers.")
        with scope.block():
            for value in found:
                scope.values[node.identifier.name] = value
                self._within(node.block, scope)

    def _range(self, node: Any, scope: _Scope, size: int | None = None) -> range:
        """Return the numbers of a range, whose end belongs to it."""

        def number(part: Any, default: int | None) -> int:
            value = default if part is None else evaluate(part, scope.values)
            if not isinstance(value, int):
                raise refuse(node, "A range has whole numbers at both ends.")
            return value + size if value < 0 and size is not None else value

        step = 1 if node.step is None else evaluate(node.step, scope.values)
        if not isinstance(step, int) or step == 0:
            raise refuse(node, "The step of a range is a whole number, not 0.")
        last = None if size is None else size - 1
        found = range(number(node.start, 0), number(node.end, last) + (1 if step > 0 else -1), step)
        if len(found) > OPS_MAX:
            raise refuse(node, f"The range has more than {OPS_MAX} numbers.")
        return found

    def _alias(self, node: Any, scope: _Scope) -> None:
        if node.target.name in scope.held:
            raise refuse(node, f"{node.target.name} cannot change here.")
        scope.qubits[node.target.name] = self._places(node.value, scope)

    def _pragma(self, node: Any, scope: _Scope) -> None:
        words = node.command.split()
        if words[:2] == ["braket", "verbatim"]:
            self._verbatim = True
        elif words[:2] == ["braket", "result"]:
            self._pragmas.append(node.command)
        elif words[:2] == ["braket", "noise"] or words[:2] == ["braket", "unitary"]:
            raise refuse(
                node,
                f"`#pragma {' '.join(words[:2])}` cannot be run here.",
                "A twin's noise comes from published figures alone.",
            )

    def _box(self, node: Any, scope: _Scope) -> None:
        if self._verbatim:
            self._verbatim = False
            self._boxes += 1
        for each in node.body:
            self._statement(each, scope)

    def _places(self, node: Any, scope: _Scope) -> list[int]:
        """Return the qubits that an operand names."""
        if isinstance(node, ast.Concatenation):
            return [*self._places(node.lhs, scope), *self._places(node.rhs, scope)]
        name, indices = _split(node)
        if name.startswith("$"):
            return [self._physical(name[1:])]
        if name not in scope.qubits:
            raise refuse(node, f"{name} is not a register of qubits.")
        return self._pick(node, scope.qubits[name], indices, scope)

    def _physical(self, label: str) -> int:
        if label not in self._labels:
            self._labels.append(label)
            self._count += 1
        return self._labels.index(label)

    def _pick(
        self, node: Any, places: list[int], indices: Sequence[Any], scope: _Scope
    ) -> list[int]:
        for index in indices:
            if isinstance(index, ast.RangeDefinition):
                chosen: Sequence[Value] = self._range(index, scope, len(places))
            elif isinstance(index, ast.DiscreteSet):
                chosen = [evaluate(each, scope.values) for each in index.values]
            else:
                chosen = [evaluate(index, scope.values)]
            found = []
            for value in chosen:
                if not isinstance(value, int) or not -len(places) <= value < len(places):
                    raise refuse(node, f"Index {value} is outside of a register of {len(places)}.")
                found.append(places[value])
            places = found
        return places


def _split(node: Any) -> tuple[str, list[Any]]:
    """Return the name of an operand and its indices."""
    if isinstance(node, ast.Identifier):
        return node.name, []
    if isinstance(node, ast.IndexedIdentifier):
        found: list[Any] = []
        for each in node.indices:
            found += [each] if isinstance(each, ast.DiscreteSet) else each
        return node.name.name, found
    if isinstance(node, ast.IndexExpression):
        name, before = _split(node.collection)
        index = node.index
        return name, [*before, *([index] if isinstance(index, ast.DiscreteSet) else index)]
    raise refuse(node, f"{type(node).__name__} names no qubits or bits.")


def _broadcast(node: Any, lists: list[list[int]]) -> Iterator[list[int]]:
    sizes = {len(each) for each in lists if len(each) != 1}
    if len(sizes) > 1:
        raise refuse(node, "Registers of different sizes are given to one gate.")
    for number in range(max(sizes, default=1)):
        yield [each[number] if len(each) > 1 else each[0] for each in lists]


def _apply(kind: str, count: Value, ops: list[Op], held: list[int]) -> list[Op]:
    """Return operations under one modifier; it takes its controls from the end of `held`."""
    if kind == "inv":
        return [undone for op in reversed(ops) for undone in inverse(op)]
    if kind == "pow":
        if not isinstance(count, int) or abs(count) > 1000:
            raise UnsupportedError("A gate's power is a whole number up to 1000.")
        once = ops if count >= 0 else _apply("inv", 1, ops, held)
        return once * abs(count)
    for _ in range(int(count)):
        control = held.pop()
        ops = [each for op in ops for each in under_control(control, op)]
        if kind == "negctrl":
            flip: Op = ["x", [control], []]
            ops = [flip, *ops, flip]
    return ops
