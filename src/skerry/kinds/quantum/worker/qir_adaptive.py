"""Reads QIR that decides and computes while it runs: the adaptive profile, without loops.

Nothing is executed. Every value is followed as the numbers that it may be, each with the measured
bits that make it so; every block of the program becomes an `if` on the bits that lead to it. Which
they are is known because a program without loops has finitely many paths, and paths that mean the
same are one (`deciding`). Source: the QIR specification, profile `adaptive_profile`.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from .deciding import ALWAYS, NEVER, Diagram
from .ir import Op, UnsupportedError, decided
from .qir_calls import CALL, PLACE, operations, place_of

VALUES_MAX = 1024
"""How many numbers a value may be."""

BLOCKS_MAX = 20_000
_LABEL = re.compile(r"([\w.$-]+):")
_ASSIGN = re.compile(r"\s*%([\w.$-]+) = (.*)")
_READ = re.compile(
    r"(?:tail )?call .*@__quantum__(?:rt__read_result|qis__read_result__body)\((.*)\)"
)
_COMPARE = re.compile(r"icmp (\w+) i(\d+) (\S+), (\S+)")
_COMPUTE = re.compile(r"(\w+)(?: nuw| nsw| exact| disjoint| fast)* (i\d+|double) (\S+), (\S+)")
_ORDER = re.compile(r"fcmp (?:fast )?(\w+) double (\S+), (\S+)")
_SELECT = re.compile(r"select i1 (\S+), \S+ (\S+), \S+ (\S+)")
_PHI = re.compile(r"phi \S+ (.*)")
_FROM = re.compile(r"\[\s*(\S+),\s*%([\w.$-]+)\s*\]")
_CAST = re.compile(r"(zext|sext|trunc|sitofp|uitofp) i(\d+) (\S+) to (i\d+|double)")
_JUMP = re.compile(r"\s*br label %([\w.$-]+)")
_FORK = re.compile(r"\s*br i1 (\S+), label %([\w.$-]+), label %([\w.$-]+)")
_RECORD = re.compile(r"call .*@__quantum__rt__(bool|int|double)_record_output\((?:\w+ )+(\S+?),")
_ANGLE = re.compile(r"double\s+(\S+?)(?:,|$)")
_OTHER = re.compile(r"\s*(?:switch|unreachable|indirectbr|invoke)\b")
_NOISE = re.compile(r"\b(?:zeroext|signext|noundef) ")

Value = dict[int | float | bool, int]
"""What a value may be, and on which condition; no two conditions hold together."""

_WHOLE: dict[str, Callable[[int, int], int]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "and": operator.and_,
    "or": operator.or_,
    "xor": operator.xor,
    "shl": lambda a, b: a << b if 0 <= b < 64 else 0,
    "ashr": lambda a, b: a >> b if 0 <= b < 64 else 0,
    "sdiv": lambda a, b: int(math.copysign(1, a * b)) * (abs(a) // abs(b)),
    "srem": lambda a, b: int(math.fmod(a, b)),
}
_REAL: dict[str, Callable[[float, float], float]] = {
    "fadd": operator.add,
    "fsub": operator.sub,
    "fmul": operator.mul,
    "fdiv": operator.truediv,
}
_SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
}


class Block(NamedTuple):
    """A block: its lines with their numbers, and the labels that its end leads to."""

    lines: list[tuple[int, str]]
    next: tuple[str, ...]
    condition: str = ""


class Adaptive(NamedTuple):
    """What a program is: its operations, and what its records of computed values hold, by line."""

    ops: list[Op]
    values: dict[int, list[Any]]


def run(text: str) -> Adaptive:
    """Return a program's operations; raise UnsupportedError with the line that is not known."""
    try:
        return _Reader(_blocks(text)).read()
    except RecursionError as error:
        raise UnsupportedError("The program decides too often, one in the other.") from error


def _blocks(text: str) -> dict[str, Block]:
    """Return the blocks of the only function, in the order of the text."""
    found: dict[str, Block] = {}
    label, lines = "", list[tuple[int, str]]()
    for number, line in _inside(text):
        if (named := _LABEL.match(line)) is not None:
            label, lines = named[1], []
            continue
        lines.append((number, line))
        ends = _ends(line, number)
        if ends is not None:
            found[label] = Block(lines, *ends)
        if len(found) > BLOCKS_MAX:
            raise UnsupportedError(f"The program has more than {BLOCKS_MAX} blocks.")
    return found


def _inside(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of functions with their numbers, without comments and attributes."""
    inside = False
    for number, raw in enumerate(text.splitlines(), 1):
        line = _NOISE.sub("", raw.partition(";")[0]).rstrip()
        if line.startswith("define "):
            inside = True
        elif line.startswith("}"):
            inside = False
        elif inside and line:
            yield number, line


def _ends(line: str, number: int) -> tuple[tuple[str, ...], str] | None:
    """Return where a line leads to and on which condition, or None if it ends no block."""
    if (fork := _FORK.match(line)) is not None:
        return (fork[2], fork[3]), fork[1]
    if (jump := _JUMP.match(line)) is not None:
        return (jump[1],), ""
    if _OTHER.match(line):
        raise UnsupportedError("This way to go on is not known.", line.strip()[:60], number)
    return ((), "") if line.strip().startswith("ret ") else None


class _Reader:
    def __init__(self, blocks: dict[str, Block]) -> None:
        self._blocks = blocks
        self._diagram = Diagram()
        self._values: dict[str, Value] = {}
        self._edges: dict[tuple[str, str], int] = {}
        self._read: set[int] = set()
        self._ops: list[Op] = []
        self._records: dict[int, list[Any]] = {}

    def read(self) -> Adaptive:
        order = self._ordered()
        for at, label in enumerate(order):
            into = [node for (_, end), node in self._edges.items() if end == label]
            here = ALWAYS if at == 0 else NEVER
            for each in into:
                here = self._diagram.either(here, each)
            self._follow(label, here)
        return Adaptive(self._ops, self._records)

    def _ordered(self) -> list[str]:
        """Return the blocks that can be reached, each after all that lead to it."""
        if not self._blocks:
            raise UnsupportedError("The program has no function.")
        done: list[str] = []
        states: dict[str, int] = {}
        stack = [(next(iter(self._blocks)), False)]
        while stack:
            label, is_over = stack.pop()
            if is_over:
                states[label] = 2
                done.append(label)
                continue
            if label not in self._blocks:
                raise UnsupportedError(f"The program goes on at {label[:40]}, which is nowhere.")
            if states.get(label) == 2:
                continue
            states[label] = 1
            stack.append((label, True))
            for each in self._blocks[label].next:
                if states.get(each) == 1:
                    line = self._blocks[label].lines[-1][0]
                    why = "Unroll it, as Q#'s compiler does."
                    raise UnsupportedError("The program loops while it runs.", why, line)
                if states.get(each) != 2:
                    stack.append((each, False))
        return done[::-1]

    def _follow(self, label: str, here: int) -> None:
        """Take a block in, which is reached on a condition."""
        block = self._blocks[label]
        done: list[tuple[int, Op, int]] = []
        for number, line in block.lines:
            assigned = _ASSIGN.match(line)
            if assigned is not None:
                self._values[assigned[1]] = self._value(assigned[2], label, number)
            elif (record := _RECORD.search(line)) is not None:
                if here != ALWAYS:
                    what = "The program records on a condition."
                    raise UnsupportedError(what, line=number)
                self._records[number] = self._told(record[1], self._operand(record[2], number))
            else:
                done += [(node, op, number) for node, op in self._operations(line, number, here)]
        self._emit(done)
        if block.condition:
            number = block.lines[-1][0]
            fork = self._operand(block.condition, number).get(True, NEVER)
            ways = (self._diagram.both(here, fork), self._without(here, fork))
        else:
            ways = (here, NEVER)
        for end, node in zip(block.next, ways, strict=False):
            known = self._edges.get((label, end), NEVER)
            self._edges[label, end] = self._diagram.either(known, node)

    def _without(self, here: int, fork: int) -> int:
        return self._diagram.both(here, self._diagram.none(fork))

    def _operations(self, line: str, number: int, here: int) -> list[tuple[int, Op]]:
        """Return a line's operations, each on its condition: an angle may be several."""
        found = CALL.match(line)
        if found is None or found[1] == "rt":
            return []
        _, name, form, arguments = found.groups()
        places = [place_of(each) for each in PLACE.finditer(arguments)]
        angles: list[tuple[int, list[float]]] = [(here, [])]
        for text in _ANGLE.findall(arguments):
            options = self._operand(text, number)
            angles = [
                (node, [*before, float(value)])
                for way, before in angles
                for value, only in options.items()
                if (node := self._diagram.both(way, only)) != NEVER
            ]
            if len(angles) > VALUES_MAX:
                raise UnsupportedError("An angle may be too many numbers.", line=number)
        made = [
            (node, op)
            for node, values in angles
            for op in operations(name, form, places, values, number)
        ]
        for _, op in made:
            if op[0] == "measure" and op[2][0] in self._read:
                what = "A result that was read is measured again."
                raise UnsupportedError(what, "Give it a number of its own.", number)
        return made

    def _emit(self, done: list[tuple[int, Op, int]]) -> None:
        """Add operations, those on one condition in one `if`."""
        group: list[Op] = []
        for at, (node, op, number) in enumerate(done):
            group.append(op)
            if at + 1 < len(done) and done[at + 1][0] == node:
                continue
            if node == ALWAYS:
                self._ops += group
            elif node != NEVER:
                shape = ["if", [], [self._diagram.written(node), [], [], number]]
                self._ops.append(decided(shape, group, []))
            group = []

    def _value(self, text: str, label: str, number: int) -> Value:
        if (read := _READ.match(text)) is not None:
            place = PLACE.match(read[1].strip())
            if place is None:
                raise UnsupportedError("A result without a number is read.", line=number)
            self._read.add(place_of(place))
            return self._truth(self._diagram.bit(place_of(place)))
        if (phi := _PHI.match(text)) is not None:
            parts = [
                (self._edges.get((origin, label), NEVER), self._operand(value, number))
                for value, origin in _FROM.findall(phi[1])
            ]
            return self._merged(parts, number)
        if (select := _SELECT.match(text)) is not None:
            fork = self._operand(select[1], number).get(True, NEVER)
            ways = (fork, self._diagram.none(fork))
            options = (self._operand(each, number) for each in select.groups()[1:])
            return self._merged(list(zip(ways, options, strict=True)), number)
        if (cast := _CAST.match(text)) is not None:
            found = self._operand(cast[3], number)
            return self._mapped(found, lambda value: _cast(cast[1], value, cast[4]))
        return self._computed(text, number)

    def _computed(self, text: str, number: int) -> Value:
        compare, order, compute = (form.match(text) for form in (_COMPARE, _ORDER, _COMPUTE))
        if compare is not None and compare[1][-2:] in _SIGNS:
            sign, width = _SIGNS[compare[1][-2:]], int(compare[2])
            mask = (1 << width) - 1 if compare[1].startswith("u") else -1
            return self._paired(
                compare[3], compare[4], lambda a, b: sign(int(a) & mask, int(b) & mask), number
            )
        if order is not None and order[1][-2:] in _SIGNS:
            return self._paired(order[2], order[3], _SIGNS[order[1][-2:]], number)
        if compute is not None and compute[1] in (*_WHOLE, *_REAL):
            name, sort = compute[1], compute[2]
            return self._paired(
                compute[3], compute[4], lambda a, b: _compute(name, sort, a, b), number
            )
        raise UnsupportedError("The instruction is not known.", text[:60], number)

    def _operand(self, text: str, number: int) -> Value:
        """Return what an operand may be."""
        if text.startswith("%"):
            if text[1:] not in self._values:
                raise UnsupportedError(f"{text[:40]} is used before it is made.", line=number)
            return self._values[text[1:]]
        if text in ("true", "false"):
            return {text == "true": ALWAYS}
        try:
            return {int(text) if re.fullmatch(r"-?\d{1,30}", text) else float(text): ALWAYS}
        except ValueError as error:
            what = f"{text[:40]} is no number that is known."
            raise UnsupportedError(what, line=number) from error

    def _truth(self, node: int) -> Value:
        return {True: node, False: self._diagram.none(node)}

    def _told(self, sort: str, value: Value) -> list[Any]:
        """Return what a record holds: numbers with their conditions."""
        shown = {"bool": bool, "int": int, "double": float}[sort]
        return [
            [shown(each), self._diagram.written(node)]
            for each, node in value.items()
            if node != NEVER
        ]

    def _merged(self, parts: list[tuple[int, Value]], number: int) -> Value:
        made: Value = {}
        for way, options in parts:
            for value, only in options.items():
                self._add(made, value, self._diagram.both(way, only), number)
        return made

    def _mapped(self, found: Value, change: Callable[[Any], Any]) -> Value:
        made: Value = {}
        for value, node in found.items():
            self._add(made, change(value), node, 0)
        return made

    def _paired(self, one: str, other: str, job: Callable[[Any, Any], Any], number: int) -> Value:
        """Return what is made of every pair of numbers that two operands may be."""
        made: Value = {}
        for first, left in self._operand(one, number).items():
            for second, right in self._operand(other, number).items():
                node = self._diagram.both(left, right)
                if node == NEVER:
                    continue
                try:
                    self._add(made, job(first, second), node, number)
                except (ArithmeticError, ValueError) as error:
                    what = "The program computes what is no number."
                    raise UnsupportedError(what, str(error), number) from error
        return made

    def _add(self, made: Value, value: Any, node: int, number: int) -> None:
        if node == NEVER:
            return
        made[value] = self._diagram.either(made.get(value, NEVER), node)
        if len(made) > VALUES_MAX:
            raise UnsupportedError(f"A value may be more than {VALUES_MAX} numbers.", line=number)


def _compute(name: str, sort: str, one: Any, other: Any) -> int | float | bool:
    if sort == "double":
        return _REAL[name](float(one), float(other))
    if sort == "i1":
        return bool(_WHOLE[name](int(one), int(other)) & 1)
    return _wrapped(_WHOLE[name](int(one), int(other)), int(sort[1:]))


def _cast(name: str, value: int | float | bool, sort: str) -> int | float | bool:
    if sort == "double":
        return float(value)
    if sort == "i1":
        return bool(int(value) & 1)
    if name == "sext" and value is True:
        return -1
    return _wrapped(int(value), int(sort[1:]))


def _wrapped(value: int, width: int) -> int:
    """Return a number as so many bits with a sign hold it."""
    low = value & ((1 << width) - 1)
    return low - (1 << width) if low >> (width - 1) else low
