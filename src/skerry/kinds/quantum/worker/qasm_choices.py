"""What decides in programs in OpenQASM: `if`, `switch`, loops, subroutines, and ways out of them.

What is known before the program runs is done while it is read: branches are taken, loops unrolled.
What measured bits decide becomes an `if` or a `while` of the circuit. A way out (`break`,
`continue`, `return`) that measured bits decide sets a bit; what follows is done if it is 0.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from openqasm3 import ast

from . import words
from .conditions import ALWAYS, NEVER, Condition, bits_of, both, either, negated
from .expressions import Value, line, refuse
from .ir import Op, UnsupportedError, decided, flat
from .qasm_gates import DEPTH_MAX, Gates
from .variables import IN_BITS, Qubits, Scope, Type, Variable, assigned
from .words import Sum, Word

RANGE_BITS_MAX = 10
"""How many bits an end of a loop's range may have that is measured."""

ROUNDS_MAX = 50_000
"""How often a loop is unrolled whose end is known before the program runs."""


class EndedError(Exception):
    """The program ends here."""


class _BrokenError(Exception):
    """A loop ends here."""


class _SkippedError(Exception):
    """A round of a loop ends here."""


class _ReturnedError(Exception):
    """A subroutine ends here."""


@dataclass
class _Loop:
    """A loop that is being read; the bits say that it, or its round, was left."""

    level: int
    broken: int = -1
    skipped: int = -1


@dataclass
class _Frame:
    """A subroutine that is being read."""

    level: int
    wanted: Type | None
    target: list[int] | None
    value: Value = None
    places: list[int] = field(default_factory=list)
    returned: int = -1
    ignored: bool = False
    straight: bool = False
    """Whether its result was written into the bits that wait for it."""

    own: Any = None
    """The declaration of the bits that are returned, which are those that wait for the result."""


class Choices(Gates):
    """Reads statements that decide."""

    _subroutines: dict[str, Any]
    _externs: set[str]
    _flags: list[int]
    """The bits of ways out that may have been taken before."""

    _loop: _Loop | None = None
    _frame: _Frame | None = None

    def _declared(self, node: Any, scope: Scope) -> None:
        """Declare a variable, unless it is the result that a subroutine was given."""
        if self._frame is None or node is not self._frame.own:
            self._classical(node, scope)

    def _run(self, statements: Sequence[Any], scope: Scope) -> None:
        """Do statements; those after a way out that may have been taken are done if it was not."""
        for at, each in enumerate(statements):
            before = len(self._flags)
            self._statement(each, scope)
            raised = self._flags[before:]
            if raised:
                rest = statements[at + 1 :]
                if rest:
                    self._guarded(each, raised, rest, scope)
                return

    def _guarded(
        self, node: Any, flags: Iterable[int], statements: Sequence[Any], scope: Scope
    ) -> None:
        """Do statements if no way out was taken."""
        asked = self._none_of(flags)
        self._decide(node, asked, scope, statements, lambda: self._run(statements, scope))

    def _none_of(self, flags: Iterable[int]) -> Condition:
        found = ALWAYS
        for each in flags:
            found = both(found, negated(self._memory.read(each)))
        return found

    def _decide(
        self,
        node: Any,
        asked: Condition,
        scope: Scope,
        changing: Any,
        then: Callable[[], None],
        otherwise: Callable[[], None] | None = None,
    ) -> None:
        """Do one thing if a condition holds and another if not; `changing` are their statements."""
        if asked in (ALWAYS, NEVER):
            chosen = then if asked == ALWAYS else otherwise
            if chosen is not None:
                chosen()
            return
        self._settle(node, changing, scope)
        before = self._memory
        found = []
        for each in (then, otherwise):
            self._memory = before.copy()
            found.append(self._aside(each) if each is not None else [])
        self._memory = before
        op = decided(["if", [], [asked, [], [], line(node)]], *found)
        before.after([op])
        if found[0] or found[1]:
            self._add(op, node)

    def _aside(self, do: Callable[[], None]) -> list[Op]:
        """Return the operations of a branch instead of adding them."""
        outer, self._ops = self._ops, []
        self._level += 1
        try:
            do()
            self._extend(self._memory.flush())
            return self._ops
        finally:
            self._ops = outer
            self._level -= 1

    def _settle(self, node: Any, changing: Any, scope: Scope) -> None:
        """Make bits of the variables that statements change, and write bits that are known."""
        for name in sorted(set(assigned(changing))):
            found = scope.variable(name)
            if found is not None and found.type.name in IN_BITS and not found.type.sizes:
                self._promote(node, name, scope)
        self._extend(self._memory.flush())

    def _asked(self, node: Any, scope: Scope) -> Condition:
        """Return the condition of an expression."""
        try:
            return words.truth(self._value(node, scope))
        except UnsupportedError as error:
            raise UnsupportedError(error.what, error.why, error.line or line(node)) from error

    def _branch(self, node: Any, scope: Scope) -> None:
        asked = self._asked(node.condition, scope)
        branches = (node.if_block, node.else_block)
        self._decide(node, asked, scope, branches, *(self._block(each, scope) for each in branches))

    def _block(self, statements: Sequence[Any], scope: Scope) -> Callable[[], None]:
        return lambda: self._run(statements, scope.block())

    def _compound(self, node: Any, scope: Scope) -> None:
        self._run(node.statements, scope.block())

    def _switch(self, node: Any, scope: Scope) -> None:
        target = self._value(node.target, scope)
        if isinstance(target, Word):
            target = self._frozen(node, target)
        cases = [
            (self._is_any(values, target, scope), block.statements) for values, block in node.cases
        ]
        last = node.default.statements if node.default is not None else []
        every = [block for _, block in cases]

        def rest(number: int) -> None:
            if number == len(cases):
                self._run(last, scope.block())
                return
            asked, block = cases[number]
            changing = [*every[number:], last]
            self._decide(
                node, asked, scope, changing, self._block(block, scope), lambda: rest(number + 1)
            )

        rest(0)

    def _is_any(self, values: Sequence[Any], target: Value, scope: Scope) -> Condition:
        found = NEVER
        for each in values:
            value = self._known(each, scope)
            same = (
                words.truth(words.binary("==", target, value, self.keep))
                if isinstance(target, Word)
                else (ALWAYS if target == value else NEVER)
            )
            found = either(found, same)
        return found

    def _frozen(self, node: Any, number: Word) -> Word:
        """Return a number that stays what it is when bits change."""
        places = self._new_hidden(len(number.bits))
        self._set(node, places, Type("bit", len(places)), number)
        return number._replace(bits=tuple(map(self._memory.read, places)))

    def _entered(self, block: Any) -> _Loop:
        """Return a loop that begins here, with bits for the ways out that it has."""
        loop = _Loop(self._level)
        for kind, name in ((ast.BreakStatement, "broken"), (ast.ContinueStatement, "skipped")):
            if _holds(block, kind):
                setattr(loop, name, self._new_flag())
        return loop

    def _new_flag(self) -> int:
        place = self._new_hidden(1)[0]
        self._extend(self._memory.write(place, NEVER))
        return place

    def _round(self, loop: _Loop, block: Sequence[Any], scope: Scope) -> None:
        """Do a loop's statements once."""
        if loop.skipped >= 0:
            self._extend(self._memory.write(loop.skipped, NEVER))
        with contextlib.suppress(_SkippedError):
            self._run(block, scope.block())
        self._flags = [each for each in self._flags if each != loop.skipped]

    @contextlib.contextmanager
    def _looping(self, block: Any) -> Iterator[_Loop]:
        outer, self._loop = self._loop, self._entered(block)
        loop = self._loop
        try:
            yield loop
        except _BrokenError:
            pass
        finally:
            self._loop = outer
            self._flags = [each for each in self._flags if each != loop.broken]

    def _while(self, node: Any, scope: Scope) -> None:
        start = len(self._flags)
        with self._looping(node.block) as loop:
            for _ in range(ROUNDS_MAX):
                asked = self._asked(node.while_condition, scope)
                if asked == NEVER:
                    return
                if asked != ALWAYS or self._flags[start:]:
                    self._again(node, loop, scope)
                    return
                self._round(loop, node.block, scope)
            raise refuse(node, f"The loop does not end within {ROUNDS_MAX} rounds.")

    def _again(self, node: Any, loop: _Loop, scope: Scope) -> None:
        """Add a loop that measured bits end."""
        self._settle(node, node.block, scope)
        flags = [loop.broken, self._frame.returned if self._frame else -1]
        flags = [each for each in flags if each >= 0]
        written = [loop.skipped, *(self._frame.places if self._frame else ())]
        found = (scope.variable(name) for name in set(assigned(node.block)))
        places = [place for each in found if each is not None for place in each.places or ()]
        self._memory.forget([*places, *flags, *written])
        before, count = self._memory, len(self._ops)

        def asks() -> Condition:
            return both(self._none_of(flags), self._asked(node.while_condition, scope))

        asked, guard = asks(), -1
        if len(self._ops) > count:  # what it asks is computed, and so anew in every round
            guard = self._new_hidden(1)[0]
            self._extend(self._memory.write(guard, asked))
            asked = ["bit", guard]

        def body() -> None:
            self._round(loop, node.block, scope)
            if guard >= 0:
                self._extend(self._memory.write(guard, asks()))

        self._memory, self._loops = before.copy(), self._loops + 1
        ops = self._aside(body)
        self._memory, self._loops = before, self._loops - 1
        before.after(ops)
        changed = {p[0] for name, _, p in flat(ops) if name in ("measure", "set")}
        if not changed & bits_of(asked):
            raise refuse(node, "The loop does not end: nothing in it changes what it asks.")
        self._add(decided(["while", [], [asked, [], [], line(node)]], ops, []), node)

    def _for(self, node: Any, scope: Scope) -> None:
        rounds = self._rounds(node, scope)
        wanted = self._type(node.type, scope)
        start = len(self._flags)
        with self._looping(node.block) as loop:
            for value, asked in rounds:
                free = both(self._none_of(self._flags[start:]), asked)
                one = functools.partial(self._numbered, node, wanted, value, loop, scope)
                self._decide(node, free, scope, node.block, one)

    def _numbered(self, node: Any, wanted: Type, value: Value, loop: _Loop, scope: Scope) -> None:
        """Do a round of a loop over numbers."""
        inner = scope.block()
        self._declare(node, node.identifier.name, wanted, value, inner)
        self._round(loop, node.block, inner)

    def _rounds(self, node: Any, scope: Scope) -> Iterable[tuple[Value, Condition]]:
        """Return the numbers that a loop goes over, and on what condition each."""
        values = node.set_declaration
        if isinstance(values, ast.RangeDefinition):
            ends = [self._value(e, scope) if e else None for e in (values.start, values.end)]
            if any(isinstance(each, Word) for each in ends):
                return self._measured_range(node, ends, scope)
            return [(each, ALWAYS) for each in self._range(values, scope)]
        if isinstance(values, ast.DiscreteSet):
            return [(self._value(each, scope), ALWAYS) for each in values.values]
        found = self._value(values, scope)
        if isinstance(found, Word):
            return [(words.flag(each), ALWAYS) for each in self._frozen(node, found).bits]
        if not isinstance(found, list):
            raise refuse(node, "A loop goes over a range or a set of numbers.")
        return [(each, ALWAYS) for each in found]

    def _measured_range(
        self, node: Any, ends: Sequence[Value], scope: Scope
    ) -> list[tuple[Value, Condition]]:
        """Return every number that a range may have, and the condition that it is in it."""
        values = node.set_declaration
        step = 1 if values.step is None else self._known(values.step, scope)
        start, end = (self._frozen(node, each) if isinstance(each, Word) else each for each in ends)
        if step != 1 or start is None or end is None or Sum in map(type, (start, end)):
            raise refuse(node, "A range with a measured end goes up by 1.")
        lows, highs = _extremes(node, start), _extremes(node, end)
        found = []
        for number in range(lows[0], highs[1] + 1):
            above = words.truth(words.binary("<=", start, words.constant(number), self.keep))
            below = words.truth(words.binary("<=", words.constant(number), end, self.keep))
            found.append((number, self.keep(both(above, below))))
        return found

    def _leave(self, node: Any, scope: Scope) -> None:
        """Leave a loop, or its round."""
        loop = self._loop
        is_break = isinstance(node, ast.BreakStatement)
        if loop is None:
            raise refuse(node, "There is no loop to leave.")
        if self._level == loop.level:
            raise _BrokenError if is_break else _SkippedError
        flag = loop.broken if is_break else loop.skipped
        self._extend(self._memory.write(flag, ALWAYS))
        self._flags.append(flag)

    def _end(self, node: Any, scope: Scope) -> None:
        if self._level:
            raise refuse(node, "`end` where a measured bit decides cannot be done.")
        raise EndedError

    def _subroutine(self, node: Any, scope: Scope) -> None:
        self._subroutines[node.name.name] = node

    def _extern(self, node: Any, scope: Scope) -> None:
        self._externs.add(node.name.name)

    def _is_subroutine(self, name: str) -> bool:
        return name in self._subroutines

    def _do_call(self, node: Any, scope: Scope) -> None:
        self._call(node, scope, None, ignored=True)

    def _called(self, node: Any, scope: Scope) -> None:
        call = node.expression
        if not isinstance(call, ast.FunctionCall):
            raise refuse(node, "An expression alone does nothing.")
        if self._is_subroutine(call.name.name):
            self._do_call(call, scope)
        else:
            self._value(call, scope)

    def _called_into(self, node: Any, scope: Scope, targets: list[int]) -> bool:
        if not isinstance(node, ast.FunctionCall) or not self._is_subroutine(node.name.name):
            return False
        frame = self._call(node, scope, targets)
        if frame.value is None:
            raise refuse(node, f"{node.name.name} returns nothing.")
        if not frame.straight:
            self._set(node, targets, Type("bit", len(targets)), frame.value)
        return True

    def result_of(self, node: Any, scope: Scope) -> Value | None:
        """Return the result of a subroutine, None if the program has none of that name."""
        name = node.name.name
        if name in self._subroutines:
            value = self._call(node, scope, None).value
            if value is None:
                raise refuse(node, f"{name} returns nothing.")
            return value
        if name in self._externs:
            raise refuse(
                node,
                f"{name} is extern, and its body is not in the program.",
                f"Write it: def {name}(...) {{ ... }}",
            )
        return None

    def _call(
        self, node: Any, scope: Scope, target: list[int] | None, *, ignored: bool = False
    ) -> _Frame:
        """Do what a subroutine does; its result goes straight into the target where it can."""
        made = self._subroutines[node.name.name]
        given = [*node.arguments, *getattr(node, "qubits", [])]
        if len(given) != len(made.arguments):
            raise refuse(node, f"{made.name.name} takes {len(made.arguments)} arguments.")
        if scope.depth > DEPTH_MAX:
            raise refuse(node, f"{made.name.name} calls itself, or too deeply.")
        fixed: dict[str, Variable | Qubits] = {
            name: each
            for name, each in self._scope.names.items()
            if isinstance(each, Variable) and each.fixed
        }
        inner = Scope(names=fixed, depth=scope.depth + 1)
        hidden = len(self._hidden)
        for want, each in zip(made.arguments, given, strict=True):
            self._argument(node, want, each, scope, inner)
        wanted = None if made.return_type is None else self._type(made.return_type, inner)
        frame = _Frame(self._level, wanted, target, ignored=ignored)
        self._prepare(node, frame, made.body, inner)
        outer = self._frame, self._loop
        self._frame, self._loop, self._calls = frame, None, self._calls + 1
        try:
            with contextlib.suppress(_ReturnedError):
                self._run(made.body, inner)
        finally:
            (self._frame, self._loop), self._calls = outer, self._calls - 1
        if frame.returned in self._flags:
            self._flags = [each for each in self._flags if each != frame.returned]
            if wanted is not None:
                frame.value = self.value_of(Variable(wanted, places=frame.places))
        for _, start, size in self._hidden[hidden:]:
            self._memory.drop(range(start, start + size))
        return frame

    def _argument(self, node: Any, want: Any, each: Any, scope: Scope, inner: Scope) -> None:
        name = want.name.name
        if isinstance(want, ast.QuantumArgument):
            places = self._places(each, scope)
            size = self._size(want.size, inner)
            if len(places) != size:
                raise refuse(node, f"{name} has {size} qubits, not {len(places)}.")
            inner.names[name] = Qubits(places, self._level)
            return
        value = self._value(each, scope)
        wanted = self._type(want.type, inner)
        if wanted.sizes:
            if not isinstance(value, list):
                raise refuse(node, f"{name} is an array.")
            level = scope.variable(getattr(each, "name", ""))
            inner.names[name] = Variable(
                wanted,
                value,
                fixed=want.access is ast.AccessControl.readonly,
                level=level.level if level else self._level,
            )
            return
        self._calls += 1
        self._declare(node, name, wanted, value, inner)
        self._calls -= 1

    def _prepare(self, node: Any, frame: _Frame, body: Sequence[Any], inner: Scope) -> None:
        """Make ready what a subroutine's result goes into."""
        last: Any = body[-1] if body else None
        if any(_holds(each, ast.ReturnStatement) for each in body if each is not last) or (
            last is not None and not isinstance(last, ast.ReturnStatement)
        ):
            frame.returned = self._new_flag()
            if frame.wanted is not None and frame.wanted.name in IN_BITS:
                frame.places = self._new_hidden(frame.wanted.width)
            return
        name = getattr(getattr(last, "expression", None), "name", "")
        own = next((each for each in body if _declares(each, name)), None)
        if own is None or frame.target is None:
            return
        wanted = self._type(own.type, inner)
        if wanted.name == "bit" and wanted.width == len(frame.target):
            # What is measured into the bits that are returned is measured where they go.
            frame.own = own
            inner.names[name] = Variable(wanted, places=frame.target, level=self._level)

    def _return(self, node: Any, scope: Scope) -> None:
        frame, value = self._frame, node.expression
        if frame is None:
            raise refuse(node, "There is no subroutine to return from.")
        found: Value = None
        if isinstance(value, ast.QuantumMeasurement):
            qubits = self._places(value.qubit, scope)
            bits = self._result_bits(frame, len(qubits))
            self._read_out(node, qubits, bits)
            found = Word(tuple(["bit", each] for each in bits))
        elif value is not None:
            found = self._value(value, scope)
            frame.straight = frame.own is not None
        if found is not None and frame.wanted is not None and not frame.straight:
            found = self._coerced(node, found, frame.wanted)
        if self._level == frame.level:
            frame.value = found
            raise _ReturnedError
        if found is not None and frame.wanted is not None:
            if not frame.places:
                raise refuse(node, "What measured bits decide cannot be returned as a number here.")
            self._set(node, frame.places, frame.wanted, found)
        self._extend(self._memory.write(frame.returned, ALWAYS))
        self._flags.append(frame.returned)

    def _result_bits(self, frame: _Frame, count: int) -> list[int]:
        """Return the bits into which a subroutine's result is measured."""
        if self._level == frame.level and frame.target is not None:
            frame.straight = True
            return frame.target
        if frame.ignored:
            return self._new_bits("measured", count)
        return self._new_hidden(count)


def _extremes(node: Any, number: Value) -> tuple[int, int]:
    """Return the least and the most that a number may be."""
    if not isinstance(number, Word):
        return int(number), int(number)
    width = len(number.bits)
    if width > RANGE_BITS_MAX:
        raise refuse(node, f"A measured end of a range has at most {RANGE_BITS_MAX} bits.")
    return (-(1 << width - 1), (1 << width - 1) - 1) if number.signed else (0, (1 << width) - 1)


def _declares(node: Any, name: str) -> bool:
    return (
        isinstance(node, ast.ClassicalDeclaration)
        and node.identifier.name == name
        and node.init_expression is None
    )


def _holds(nodes: Any, kind: type) -> bool:
    """Tell whether statements hold one of a kind."""
    if isinstance(nodes, list | tuple):
        return any(_holds(each, kind) for each in nodes)
    if not isinstance(nodes, ast.QASMNode):
        return False
    return isinstance(nodes, kind) or any(
        _holds(each, kind)
        for key, each in vars(nodes).items()
        if key not in ("span", "annotations")
    )
