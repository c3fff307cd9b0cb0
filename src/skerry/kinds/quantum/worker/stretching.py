"""Delays whose length is known once a circuit is compiled: stretches, and times of gates.

A `Span` is a time in seconds, and multiples of stretches and of how long gates take. Which lengths
the stretches have is the answer to a linear program: a qubit that waits for a stretch is ready
exactly when the others are, everything is as early as it can be, and no delay is below 0 (the
OpenQASM 3 specification, chapter on delays). Without a machine gates take no time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .devices import Device, is_virtual
from .ir import NOT_GATES, Circuit, Op, UnsupportedError, flat, is_dynamic

ONE, TWO, READ = "one", "two", "read"
_NANO = 1e-9
_MARK = 1e6
"""Delays of so many seconds and more stand for those that are not known yet, while compiling."""

_SECOND_GOAL = 1e-4
"""What a stretch's length counts beside the time at which something begins."""


class Span(NamedTuple):
    """A time: seconds, and multiples of what is known later, by its name."""

    seconds: float
    parts: tuple[tuple[float, str], ...] = ()

    def __neg__(self) -> Span:
        return self.times(-1.0)

    def times(self, factor: float) -> Span:
        """Return a multiple."""
        return Span(self.seconds * factor, tuple((n * factor, name) for n, name in self.parts))

    def combined(self, sign: str, other: Any, *, swapped: bool) -> Any:
        """Return what an operator makes of this and a number or another time."""
        if sign in ("+", "-"):
            more = other if isinstance(other, Span) else Span(float(other))
            one, two = (more, self) if swapped else (self, more)
            two = two if sign == "+" else -two
            return Span(one.seconds + two.seconds, one.parts + two.parts)
        if sign == "*" and not isinstance(other, Span):
            return self.times(float(other))
        if sign == "/" and not swapped and not isinstance(other, Span):
            return self.times(1 / float(other))
        raise UnsupportedError(f"`{sign}` cannot be computed with this time.")


def taken_by(ops: Sequence[Op]) -> Span | None:
    """Return how long operations take that follow on each other; None if they do not."""
    seconds = 0.0
    parts: list[tuple[float, str]] = []
    before: set[int] = set()
    for name, qubits, params in ops:
        if before and not before & set(qubits):
            return None
        before = set(qubits)
        if name == "delay":
            seconds += params[0]
            parts += params[1] if len(params) > 1 else []
        elif name == "measure":
            parts.append((1.0, READ))
        elif name in NOT_GATES:
            return None
        elif not is_virtual(name, params):
            parts.append((1.0, ONE if len(qubits) == 1 else TWO))
    return Span(seconds, tuple(parts))


def is_open(circuit: Circuit) -> bool:
    """Tell whether a circuit has delays whose length is not known."""
    return any(op[0] == "delay" and len(op[2]) > 1 for op in flat(circuit["ops"]))


def marked(circuit: Circuit) -> tuple[Circuit, list[Op]]:
    """Return a circuit with marks for delays that are not known, and these delays."""
    kept: list[Op] = []
    ops: list[Op] = []
    for op in circuit["ops"]:
        if op[0] == "delay" and len(op[2]) > 1:
            kept.append(op)
            ops.append(["delay", op[1], [_MARK + len(kept) - 1]])
        else:
            ops.append(op)
    return circuit | {"ops": ops}, kept


def unmarked(circuit: Circuit, kept: list[Op]) -> Circuit:
    """Return a compiled circuit with the delays that marks stand for."""
    ops = [
        ["delay", op[1], kept[round(op[2][0] - _MARK)][2]]
        if op[0] == "delay" and op[2][0] >= _MARK
        else op
        for op in circuit["ops"]
    ]
    return circuit | {"ops": ops}


@dataclass
class _Line:
    """A sum of unknowns and a constant, in nanoseconds."""

    constant: float = 0.0
    unknowns: dict[str, float] = field(default_factory=dict)

    def plus(self, other: _Line, factor: float = 1.0) -> _Line:
        found = dict(self.unknowns)
        for name, count in other.unknowns.items():
            found[name] = found.get(name, 0.0) + factor * count
        return _Line(self.constant + factor * other.constant, found)


class _Program:
    """The linear program of a circuit."""

    def __init__(self, qubits: int, times: dict[str, float]) -> None:
        self._times = times
        self._free = [_Line() for _ in range(qubits)]
        self._waits = [False] * qubits
        self._opened: dict[tuple[int, int], _Line] = {}
        self._begins = 0
        self.equal: list[_Line] = []
        """Sums that are 0."""

        self.least: list[_Line] = []
        """Sums that are not below 0."""

        self.delays: dict[int, _Line] = {}

    def add(self, number: int, op: Op) -> None:
        """Add an operation."""
        name, qubits, params = op
        if name == "delay":
            self._delay(number, qubits[0], params)
            return
        if len(qubits) > 1:
            self._together(qubits)
        kind = READ if name == "measure" else ONE if len(qubits) == 1 else TWO
        if name == "measure" or (name not in NOT_GATES and not is_virtual(name, params)):
            for each in qubits:
                self._free[each] = self._free[each].plus(_Line(self._times[kind]))

    def _line(self, seconds: float, parts: Sequence[Any]) -> _Line:
        found = _Line(seconds / _NANO)
        for count, name in parts:
            known = _Line(self._times[name]) if name in self._times else _Line(0.0, {name: 1.0})
            found = found.plus(known, count)
        return found

    def _delay(self, number: int, qubit: int, params: list[Any]) -> None:
        parts = params[1] if len(params) > 1 else []
        length = self._line(params[0], parts)
        self._free[qubit] = self._free[qubit].plus(length)
        if len(params) > 1:
            self.delays[number] = length
            self.least.append(length)
            self._waits[qubit] = self._waits[qubit] or bool(length.unknowns)
        if len(params) > 3:  # the beginning or the end of a box of a given length
            box, *asked = params[3]
            if not asked:
                self._opened[box, qubit] = self._free[qubit]
            else:
                whole = self._free[qubit].plus(self._opened[box, qubit], -1.0)
                self.equal.append(whole.plus(self._line(*asked), -1.0))

    def _together(self, qubits: list[int]) -> None:
        """Let qubits be ready at one time."""
        name = f"begin {self._begins}"
        self._begins += 1
        begin = _Line(0.0, {name: 1.0})
        for each in qubits:
            rest = begin.plus(self._free[each], -1.0)
            (self.equal if self._waits[each] else self.least).append(rest)
            self._free[each], self._waits[each] = begin, False

    def solved(self) -> dict[int, float] | None:
        """Return how many seconds each delay is, None if they do not fit."""
        from scipy.optimize import linprog  # noqa: PLC0415 (tenths of a second)

        names = sorted({n for each in (*self.equal, *self.least) for n in each.unknowns})
        if not names:
            fits = all(each.constant >= -1e-6 for each in self.least)
            return {at: each.constant * _NANO for at, each in self.delays.items()} if fits else None
        rows = [[each.unknowns.get(n, 0.0) for n in names] for each in self.equal]
        bounds = [[-each.unknowns.get(n, 0.0) for n in names] for each in self.least]
        found = linprog(
            [1.0 if name.startswith("begin ") else _SECOND_GOAL for name in names],
            A_ub=bounds or None,
            b_ub=[each.constant for each in self.least] or None,
            A_eq=rows or None,
            b_eq=[-each.constant for each in self.equal] or None,
        )
        if not found.success:
            return None
        value = dict(zip(names, found.x, strict=True))
        return {
            at: max(0.0, each.constant + sum(value[n] * c for n, c in each.unknowns.items()))
            * _NANO
            for at, each in self.delays.items()
        }


def settled(circuit: Circuit, device: Device | None) -> Circuit:
    """Return a compiled circuit with a length for every delay; refuse one where none fits."""
    if not is_open(circuit):
        return circuit
    first = next(op for op in flat(circuit["ops"]) if op[0] == "delay" and len(op[2]) > 1)
    line = first[2][2]
    if is_dynamic(circuit):
        raise UnsupportedError(
            "A stretch beside what measured bits decide has no length.", "", line
        )
    times = {ONE: 0.0, TWO: 0.0, READ: 0.0}
    if device is not None:
        seconds = device.one_seconds, device.two_seconds, device.read_seconds
        times = {name: each / _NANO for name, each in zip(times, seconds, strict=True)}
    program = _Program(circuit["qubits"], times)
    for number, op in enumerate(circuit["ops"]):
        program.add(number, op)
    lengths = program.solved()
    if lengths is None:
        where = "on the simulator, whose gates take no time" if device is None else device.id
        raise UnsupportedError(
            f"The delays do not fit with the times of gates ({where}).", "", line
        )
    ops: list[Op] = []
    for number, op in enumerate(circuit["ops"]):
        if number not in lengths:
            ops.append(op)
        elif lengths[number] > 0:
            ops.append(["delay", op[1], [lengths[number]]])
    return circuit | {"ops": ops}
