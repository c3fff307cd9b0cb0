"""What programs in OpenQASM do with qubits: gates, modifiers, measurements, waiting.

An angle that measured bits decide is one gate for each bit: rotations about one axis add up.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from . import words
from .expressions import Value, line, refuse
from .ir import Op, UnsupportedError, decided
from .modifiers import ADDITIVE, modified, phase, times, without_phases
from .names import FED_REGISTER, spelled_out
from .qasm_names import Naming
from .stretching import Span
from .variables import Qubits, Scope, Type, Variable
from .words import Sum, Word

DEPTH_MAX = 60
_ADVICE = "Use rx, ry, rz or p, without modifiers but ctrl, inv and pow."
_INCLUDES = frozenset({"stdgates.inc", "qelib1.inc"})
_NO_OPERATION = "nop"
_FEEDBACK = {"measure_ff": 1, "cc_prx": 3}
"""How many numbers what Braket has for IQM's feed-forward takes, the last of which is a key."""


@dataclass
class Gate:
    """A gate that the program defines."""

    params: list[str]
    qubits: list[str]
    body: list[Any]


class Gates(Naming):
    """Reads statements about qubits."""

    _gates: dict[str, Gate]
    _pragmas: list[str]
    _verbatim: bool
    _boxes: int
    _defining: int
    _keys: dict[float, int]
    """The bits that are measured for later pulses, by their keys."""

    @abstractmethod
    def _statement(self, node: Any, scope: Scope) -> None:
        """Read one statement."""

    @abstractmethod
    def _is_subroutine(self, name: str) -> bool:
        """Tell whether the program defines a subroutine of that name."""

    @abstractmethod
    def _do_call(self, node: Any, scope: Scope) -> None:
        """Do what a call of a subroutine does."""

    def _include(self, node: Any, scope: Scope) -> None:
        if node.filename not in _INCLUDES:
            raise refuse(
                node, f"{node.filename} cannot be included.", f"Known: {', '.join(_INCLUDES)}."
            )

    def _definition(self, node: Any, scope: Scope) -> None:
        self._gates[node.name.name] = Gate(
            [each.name for each in node.arguments],
            [each.name for each in node.qubits],
            node.body,
        )

    def _gate(self, node: Any, scope: Scope) -> None:
        if self._is_subroutine(node.name.name) and not node.modifiers:
            self._do_call(node, scope)
            return
        params = [self._angle(each, scope) for each in node.arguments]
        if node.name.name in _FEEDBACK and node.name.name not in self._gates:
            self._fed_back(node, params, scope)
            return
        lists = [self._places(each, scope) for each in node.qubits]
        if node.name.name == _NO_OPERATION and node.name.name not in self._gates:
            self._add(["barrier", [place for each in lists for place in each], []], node)
            return
        for qubits in _broadcast(node, lists):
            self._done(node, self._modified(node, qubits, scope, params))

    def _done(self, node: Any, ops: list[Op]) -> None:
        """Add a gate's operations; what is defined may come under a control, and keeps phases."""
        for op in ops if self._defining else without_phases(ops):
            for each in [op] if self._defining else decided_angles(op, node):
                self._add(each, node)

    def _phase(self, node: Any, scope: Scope) -> None:
        """Do a phase of all qubits, which under a control is a gate of the control."""
        made = [phase(self._angle(node.argument, scope))]
        for qubits in _broadcast(node, [self._places(each, scope) for each in node.qubits]):
            self._done(node, self._under_modifiers(node, qubits, scope, lambda _: made))

    def _fed_back(self, node: Any, params: Sequence[Any], scope: Scope) -> None:
        """Measure for later pulses, or do one that depends on it, as Braket writes it for IQM."""
        name = node.name.name
        places = [place for each in node.qubits for place in self._places(each, scope)]
        if len(params) != _FEEDBACK[name] or len(places) != 1 or node.modifiers:
            raise refuse(node, f"{name} takes {_FEEDBACK[name]} numbers and one qubit.")
        key = params[-1]
        if isinstance(key, Sum) or key != int(key):
            raise refuse(node, f"The key of {name} is a whole number.")
        if name == "measure_ff":
            if key not in self._keys:
                self._keys[key] = self._new_bits(f"{FED_REGISTER}{int(key)}", 1, shown=False)[0]
            self._read_out(node, places, [self._keys[key]])
        elif key not in self._keys:
            raise refuse(node, f"No measure_ff has the key {int(key)}.")
        else:
            asked = self._memory.read(self._keys[key])
            inner: Op = ["if", [], [asked, [], [], line(node)]]
            self._add(decided(inner, [["prx", places, list(params[:-1])]], []), node)

    def _angle(self, node: Any, scope: Scope) -> float | Sum:
        value = self._value(node, scope)
        if isinstance(value, Word | Sum):
            found = words.real(value)
            return found if found.terms else found.constant
        return float(value)

    def _modified(
        self, node: Any, qubits: Sequence[int], scope: Scope, params: Sequence[Any]
    ) -> list[Op]:
        """Return a gate with its modifiers."""
        try:
            return self._under_modifiers(
                node, qubits, scope, lambda targets: self._plain(node, targets, params, scope)
            )
        except TypeError as error:
            raise refuse(
                node, f"The angle of {node.name.name} cannot depend on what is measured.", _ADVICE
            ) from error

    def _under_modifiers(
        self,
        node: Any,
        qubits: Sequence[int],
        scope: Scope,
        made: Callable[[list[int]], list[Op]],
    ) -> list[Op]:
        """Return operations with a gate's modifiers, the innermost (rightmost) first."""
        controls = 0
        counts = []
        for modifier in node.modifiers:
            count = 1 if modifier.argument is None else self._known(modifier.argument, scope)
            kind = modifier.modifier.name
            counts.append((kind, count))
            controls += int(count) if kind in ("ctrl", "negctrl") else 0
        held, targets = list(qubits[:controls]), list(qubits[controls:])
        try:
            ops = made(targets)
            for kind, count in reversed(counts):
                ops = modified(kind, count, ops, held)
        except UnsupportedError as error:
            raise UnsupportedError(error.what, error.why, error.line or line(node)) from error
        return ops

    def _plain(
        self, node: Any, qubits: Sequence[int], params: Sequence[Any], scope: Scope
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
        inner = Scope(self._scope, depth=scope.depth + 1, sealed=True)
        for each, value in zip(own.params, params, strict=True):
            inner.names[each] = Variable(Type("float"), value, fixed=True)
        for each, place in zip(own.qubits, qubits, strict=True):
            inner.names[each] = Qubits([place], self._level)
        self._defining += 1
        total, (outer, self._ops) = self._total, (self._ops, [])
        try:
            for each in own.body:
                self._statement(each, inner)
            return self._ops
        finally:
            self._ops = outer
            self._defining -= 1
            if not self._defining:
                self._total = total

    def _measure(self, node: Any, scope: Scope) -> None:
        qubits = self._places(node.measure.qubit, scope)
        if node.target is None:
            bits = self._new_bits(f"measured_{self._bits}", len(qubits))
        else:
            bits = self._bit_targets(node.target, scope)
        self._read_out(node, qubits, bits)

    def _reset(self, node: Any, scope: Scope) -> None:
        for qubit in self._places(node.qubits, scope):
            self._add(["reset", [qubit], []], node)

    def _barrier(self, node: Any, scope: Scope) -> None:
        places = [place for each in node.qubits for place in self._places(each, scope)]
        self._add(["barrier", places or list(range(self._count)), []], node)

    def _delay(self, node: Any, scope: Scope) -> None:
        seconds = self._known(node.duration, scope)
        every = [place for each in node.qubits for place in self._places(each, scope)]
        for place in every if node.qubits else range(self._count):
            self._add(["delay", [place], self._waiting(node, seconds)], node)

    def _waiting(self, node: Any, time: Value) -> list[Any]:
        """Return a delay's parameters: its seconds, and what is not known of it yet."""
        if isinstance(time, Span):
            return [time.seconds, [list(each) for each in time.parts], line(node)]
        if isinstance(time, list | bool) or float(time) < 0:
            raise refuse(node, "A delay is a time, not below 0.")
        return [float(time)]

    def _alias(self, node: Any, scope: Scope) -> None:
        name, places = node.target.name, self._places(node.value, scope)
        found = scope.find(name)
        if isinstance(found, Qubits):
            self._may_change(node, name, found)
            found.places = places
        else:
            scope.names[name] = Qubits(places, self._level)

    def _pragma(self, node: Any, scope: Scope) -> None:
        said = node.command.split()
        if said[:2] == ["braket", "verbatim"]:
            self._verbatim = True
        elif said[:2] == ["braket", "result"]:
            self._pragmas.append(node.command)
        elif said[:2] == ["braket", "noise"] or said[:2] == ["braket", "unitary"]:
            raise refuse(
                node,
                f"`#pragma {' '.join(said[:2])}` cannot be run here.",
                "A twin's noise comes from published figures alone.",
            )

    def _box(self, node: Any, scope: Scope) -> None:
        if self._verbatim:
            self._verbatim = False
            self._boxes += 1
            for each in node.body:
                self._statement(each, scope)
            return
        start = len(self._ops)
        for each in node.body:
            self._statement(each, scope)
        body = self._ops[start:]
        del self._ops[start:]
        self._ops += self._framed(node, body, scope)

    def _framed(self, node: Any, body: list[Op], scope: Scope) -> list[Op]:
        """Return what is in a box between barriers, and as long as the box is, if it says so."""
        places = sorted({place for _, qubits, _ in body for place in qubits})
        if not places:
            return body
        edge: Op = ["barrier", places, []]
        if node.duration is None:
            return [edge, *body, edge]
        time, at = self._known(node.duration, scope), line(node)
        whole = time if isinstance(time, Span) else Span(float(time))
        box = self._stretches = self._stretches + 1
        opened: list[Op] = [["delay", [each], [0.0, [], at, [box]]] for each in places]
        asked = [box, whole.seconds, [list(each) for each in whole.parts]]
        closed: list[Op] = [
            ["delay", [each], [0.0, [[1.0, f"box {box} {each}"]], at, asked]] for each in places
        ]
        return [edge, *opened, *body, *closed, edge]


def _broadcast(node: Any, lists: list[list[int]]) -> Iterator[list[int]]:
    sizes = {len(each) for each in lists if len(each) != 1}
    if len(sizes) > 1:
        raise refuse(node, "Registers of different sizes are given to one gate.")
    for number in range(max(sizes, default=1)):
        yield [each[number] if len(each) > 1 else each[0] for each in lists]


def decided_angles(op: Op, node: Any) -> list[Op]:
    """Return a gate whose angle measured bits make as gates of known angles, one for each bit."""
    name, qubits, params = op
    measured = [at for at, each in enumerate(params) if isinstance(each, Sum)]
    if not measured:
        return [op]
    if name in _AS_ROTATIONS:
        parts = _AS_ROTATIONS[name](qubits, params)
        return [each for part in parts for each in decided_angles(part, node)]
    if name not in ADDITIVE:
        raise refuse(node, f"The angle of {name} cannot depend on what is measured.", _ADVICE)
    found: list[Op] = []
    angle = params[0]
    if angle.constant:
        found.append([name, qubits, [angle.constant]])
    for amount, condition in angle.terms:
        inner: Op = ["if", [], [condition, [], [], line(node)]]
        found.append(decided(inner, [[name, qubits, [amount]]], []))
    return found


def _about(axis: Any, angle: Any, qubits: Sequence[int]) -> list[Op]:
    """Return a rotation by an angle about an axis in the plane."""
    q = list(qubits)
    return [["rz", q, [times(axis, -1.0)]], ["rx", q, [angle]], ["rz", q, [axis]]]


_AS_ROTATIONS: dict[str, Callable[[Sequence[int], Sequence[Any]], list[Op]]] = {
    "u": lambda q, p: [["rz", list(q), [p[2]]], ["ry", list(q), [p[0]]], ["rz", list(q), [p[1]]]],
    "r": lambda q, p: _about(p[1], p[0], q),
    "prx": lambda q, p: _about(p[1], p[0], q),
    "phasedx": lambda q, p: _about(p[1], p[0], q),
}
