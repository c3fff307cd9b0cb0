"""Reads QIR that decides while it runs: the adaptive profile, with branches that go forward.

Values of the program are numbers of measured bits (see `words`); a block of it is done if the
branches that lead to it are taken. Loops are refused with their line. Nothing of it is executed:
the instructions are read as text. Source: the QIR specification, profile `adaptive_profile`, and
LLVM's language reference.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import words
from .conditions import ALWAYS, NEVER, Condition, both, chosen, either, negated, size
from .ir import Op, UnsupportedError, decided
from .qasm_gates import decided_angles
from .words import Number, Sum, Word

BLOCKS_MAX = 20_000
BITS_MAX = 65_536
SMALL = 10
_LABEL = re.compile(r'^"?([-\w.$]+)"?:')
_VALUE = re.compile(r"\s*(%[-\w.$]+) = (.*)")
_BRANCH = re.compile(r"\s*br i1 (\S+), label %(\S+), label %(\S+)")
_JUMP = re.compile(r"\s*br label %(\S+)")
_SWITCH = re.compile(r"\s*switch i\d+ ([^,]+), label %(\S+) \[(.*)\]")
_CASE = re.compile(r"i\d+ (-?\d+), label %([-\w.$]+)")
_READ = re.compile(r"call .*@__quantum__(?:rt|qis)__read_result(?:__body)?\((.*)\)")
_PHI = re.compile(r"phi (\S+) (.*)")
_INCOMING = re.compile(r"\[ *([^,]+), *%([-\w.$]+) *\]")
_COMPARED = re.compile(r"icmp (\w+) i(\d+) (\S+), (\S+)")
_SELECTED = re.compile(r"select i1 (\S+), (\S+) (\S+), \S+ (\S+)")
_CAST = re.compile(r"(zext|sext|trunc|sitofp|uitofp) (?:nneg )?i(\d+) (\S+) to (\S+)")
_COMPUTED = re.compile(r"(\w+) (?:(?:nuw|nsw|exact|fast) )*(i\d+|double) (\S+), (\S+)")
_RECORDED = re.compile(r"\s*call void @__quantum__rt__(int|bool)_record_output\(i\d+ ([^,]+),")
_SIGNS = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "and": "&",
    "or": "|",
    "xor": "^",
    "shl": "<<",
    "lshr": ">>",
    "ashr": ">>",
    "fadd": "+",
    "fsub": "-",
    "fmul": "*",
    "fdiv": "/",
}
_TESTS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}


@dataclass
class _Block:
    """Instructions with their lines, and on what condition they are done."""

    lines: list[tuple[int, str]] = field(default_factory=list)
    entered: Condition = field(default_factory=lambda: NEVER)


Instruction = Callable[[str, int, Callable[[str], Any]], list[Op]]
"""Reads a call of a gate or a measurement; it is given what a value's name means."""


class Adaptive:
    """Reads one function; `bits` are the program's results, before those that are computed.

    `rewritten` are results that are measured more than once.
    """

    def __init__(self, bits: int, rewritten: set[int], instruction: Instruction) -> None:
        self._rewritten = rewritten
        self.ops: list[Op] = []
        self.recorded: list[list[Any]] = []
        self.hidden: list[list[Any]] = []
        self.bits = bits
        self._instruction = instruction
        self._values: dict[str, Number] = {}
        self._edges: dict[tuple[str, str], Condition] = {}
        self._pending: list[Op] = []
        self._entered: Condition = ALWAYS
        self._line = 0

    def read(self, lines: Sequence[tuple[int, str]]) -> None:
        """Read the instructions of the function; raise UnsupportedError with a line."""
        blocks = _blocks(lines)
        order = _in_order(blocks)
        origins = _origins(blocks, order)
        for name in order:
            block, origin = blocks[name], origins.get(name, "")
            if not origin:
                block.entered = ALWAYS
            elif _passes_by(blocks, origin, name):
                block.entered = self._entry(name)
            else:
                block.entered = blocks[origin].entered
            self._entered = block.entered
            for number, line in block.lines:
                self._line = number
                try:
                    self._read(name, line)
                except UnsupportedError as error:
                    raise UnsupportedError(error.what, error.why, error.line or number) from error
                except (ValueError, KeyError, ArithmeticError) as error:
                    what = "The instruction cannot be read."
                    raise UnsupportedError(what, str(error), number) from error
            self._flush()

    def _entry(self, name: str) -> Condition:
        found = NEVER
        for (_, to), condition in self._edges.items():
            if to == name:
                found = either(found, condition)
        return self._keep(found)

    def _flush(self) -> None:
        ops, self._pending = self._pending, []
        if not ops or self._entered == NEVER:
            return
        if self._entered == ALWAYS:
            self.ops += ops
        else:
            self.ops.append(decided(["if", [], [self._entered, [], [], self._line]], ops, []))

    def _new(self, count: int) -> list[int]:
        if self.bits + count > BITS_MAX:
            raise UnsupportedError(f"The program computes with more than {BITS_MAX} bits.")
        self.bits += count
        return list(range(self.bits - count, self.bits))

    def _keep(self, condition: Condition) -> Condition:
        """Return a condition, or if it is large the bit that it is put into."""
        if size(condition) <= SMALL:
            return condition
        self._flush()
        place = self._new(1)[0]
        self.hidden.append([f"computed_{place}", place, 1])
        self.ops.append(["set", [], [place, condition]])
        return ["bit", place]

    def _read(self, block: str, line: str) -> None:
        found = _VALUE.match(line)
        if found:
            self._values[found[1]] = self._computed(block, found[2])
            return
        branch, jump, switch = (each.match(line) for each in (_BRANCH, _JUMP, _SWITCH))
        if branch:
            asked = self._keep(words.truth(self._number(branch[1])))
            self._leave(block, branch[2], asked)
            self._leave(block, branch[3], negated(asked))
        elif jump:
            self._leave(block, jump[1], ALWAYS)
        elif switch:
            self._switch(block, self._number(switch[1]), switch[2], switch[3])
        elif recorded := _RECORDED.match(line):
            self._record(recorded[1], self._number(recorded[2]))
        else:
            for op in self._instruction(line, self._line, self._number):
                self._pending += decided_angles(op, None)

    def _leave(self, block: str, to: str, asked: Condition) -> None:
        to = to.strip('"')
        before = self._edges.get((block, to), NEVER)
        self._edges[block, to] = either(before, both(self._entered, asked))

    def _switch(self, block: str, value: Number, default: str, cases: str) -> None:
        rest = ALWAYS
        for number, to in _CASE.findall(cases):
            same = self._keep(words.truth(self._binary("==", value, int(number))))
            self._leave(block, to, same)
            rest = both(rest, negated(same))
        self._leave(block, default, rest)

    def _record(self, kind: str, value: Number) -> None:
        """Put a number that the program tells into a register of its own."""
        self._flush()
        number = words.whole(value)
        places = self._new(len(number.bits))
        name = f"{kind}_{len(self.recorded)}"
        self.recorded.append([name, places[0], len(places)])
        for place, bit in zip(places, number.bits, strict=True):
            self.ops.append(["set", [], [place, bit]])

    def _number(self, text: str) -> Any:
        text = text.strip().rstrip(",").rpartition(" ")[2]  # an attribute may stand before it
        if text in ("true", "false"):
            return text == "true"
        if not text.startswith("%"):
            return int(text) if text.lstrip("-").isdigit() else real_of(text)
        if text not in self._values:
            raise UnsupportedError(f"{text} has no value here.")
        return self._values[text]

    def _computed(self, block: str, text: str) -> Number:
        found = _PHI.match(text)
        if found:
            return self._settled(self._phi(block, found[2]))
        for pattern, compute in (
            (_READ, self._result),
            (_COMPARED, self._compared),
            (_SELECTED, self._selected),
            (_CAST, self._cast),
            (_COMPUTED, self._operated),
        ):
            found = pattern.match(text)
            if found:
                return self._settled(compute(found))
        raise UnsupportedError(f"The instruction `{text[:40]}` is not known.")

    def _settled(self, number: Number) -> Number:
        if not isinstance(number, Word):
            return number
        value = words.known(number)
        kept = number._replace(bits=tuple(map(self._keep, number.bits[:64])))
        return kept if value is None else value

    def _result(self, found: re.Match[str]) -> Number:
        place = re.search(r"inttoptr \(i64 (\d+)", found[1])
        bit = int(place[1]) if place else 0
        if bit not in self._rewritten:
            return words.flag(["bit", bit])
        # What is measured into a result later does not change what was read of it before.
        self._flush()
        held = self._new(1)[0]
        self.hidden.append([f"read_{held}", held, 1])
        self.ops.append(["set", [], [held, ["bit", bit]]])
        return words.flag(["bit", held])

    def _compared(self, found: re.Match[str]) -> Number:
        test, width = found[1], int(found[2])
        one, other = self._number(found[3]), self._number(found[4])
        if test[0] == "u":
            one, other = (_unsigned(each, width) for each in (one, other))
            test = test[1:]
        elif test not in _TESTS:
            test = test[1:]
        return self._binary(_TESTS[test], one, other)

    def _binary(self, sign: str, one: Number, other: Number) -> Number:
        if isinstance(one, int) and not isinstance(other, Word | Sum):
            one = words.constant(int(one)) if isinstance(other, int) else one
        if isinstance(one, float) and isinstance(other, float):
            one = Sum(one)
        return words.binary(sign, one, other, self._keep)

    def _selected(self, found: re.Match[str]) -> Number:
        asked = words.truth(self._number(found[1]))
        return self._either(asked, self._number(found[3]), self._number(found[4]))

    def _either(self, asked: Condition, one: Number, other: Number) -> Number:
        """Return the first number if a condition holds, and the second if not."""
        if isinstance(one, Sum | float) or isinstance(other, Sum | float):
            first, second = words.real(one), words.real(other)
            if first.terms or second.terms:
                raise UnsupportedError("One of two real numbers that are measured is not chosen.")
            return Sum(second.constant, ((first.constant - second.constant, asked),))
        a, b = map(words.whole, (one, other))
        width = max(len(a.bits), len(b.bits)) + (a.signed != b.signed)
        bits = tuple(self._keep(chosen(asked, a.bit(at), b.bit(at))) for at in range(width))
        return Word(bits, a.signed or b.signed)

    def _phi(self, block: str, text: str) -> Number:
        value: Number | None = None
        for given, origin in _INCOMING.findall(text):
            edge = self._edges.get((origin, block), NEVER)
            number = self._number(given)
            value = number if value is None else self._either(self._keep(edge), number, value)
        if value is None:
            raise UnsupportedError("A phi without values is not known.")
        return value

    def _cast(self, found: re.Match[str]) -> Number:
        kind, value, wanted = found[1], self._number(found[3]), found[4]
        if kind in ("sitofp", "uitofp"):
            return words.real(value)
        if not isinstance(value, Word):
            return int(value)
        if kind == "trunc":
            return value.cut(int(wanted[1:]))
        return value._replace(signed=kind == "sext")

    def _operated(self, found: re.Match[str]) -> Number:
        sign = _SIGNS.get(found[1])
        if sign is None:
            raise UnsupportedError(f"The instruction {found[1]} is not known.")
        one, other = self._number(found[3]), self._number(found[4])
        if found[2] == "double":
            one, other = (each if isinstance(each, Sum) else float(each) for each in (one, other))
        return self._binary(sign, one, other)


def real_of(text: str) -> float:
    """Return a real number as LLVM writes it, decimal or as its bits."""
    if text.startswith("0x"):
        value: float = struct.unpack(">d", bytes.fromhex(text[2:].zfill(16)))[0]
        return value
    return float(text)


def _unsigned(value: Number, width: int) -> Number:
    return value.cut(width) if isinstance(value, Word) else int(value) % (1 << width)  # type: ignore[arg-type]


def _blocks(lines: Sequence[tuple[int, str]]) -> dict[str, _Block]:
    """Return a function's blocks by their names, the first one first."""
    found: dict[str, _Block] = {}
    current: _Block | None = None
    for number, line in lines:
        label = _LABEL.match(line)
        if label:
            found[label[1]] = current = _Block()
        elif line.strip() and line.strip() != "}":
            if current is None:
                found["entry"] = current = _Block()
            current.lines.append((number, line.split(" ;")[0]))
        if len(found) > BLOCKS_MAX:
            raise UnsupportedError(f"The program has more than {BLOCKS_MAX} blocks.", line=number)
    return found


def _in_order(blocks: dict[str, _Block]) -> list[str]:
    """Return names of blocks so that each comes after those that lead to it; refuse loops."""
    order: list[str] = []
    state: dict[str, int] = {}
    first = next(iter(blocks), None)
    stack: list[tuple[str, list[str]]] = [] if first is None else [(first, _targets(blocks, first))]
    while stack:
        name, rest = stack[-1]
        state[name] = 1
        if not rest:
            state[name] = 2
            order.append(name)
            stack.pop()
            continue
        to = rest.pop()
        if state.get(to) == 1:
            line = blocks[name].lines[-1][0]
            raise UnsupportedError("The program goes back while it runs.", "Loops in QIR.", line)
        if to not in state:
            stack.append((to, _targets(blocks, to)))
    return order[::-1]


def _targets(blocks: dict[str, _Block], name: str) -> list[str]:
    text = blocks[name].lines[-1][1] if blocks[name].lines else ""
    found = re.findall(r'label %"?([-\w.$]+)', text)
    unknown = [each for each in found if each not in blocks]
    if unknown:
        raise UnsupportedError(f"There is no block {unknown[0]}.", line=blocks[name].lines[-1][0])
    return found


def _origins(blocks: dict[str, _Block], order: list[str]) -> dict[str, str]:
    """Return for each block the nearest one that every way to it leads through."""
    place = {name: number for number, name in enumerate(order)}
    found: dict[str, str] = {}
    for name in order:
        for to in _targets(blocks, name):
            one, other = found.get(to, name), name
            while one != other:
                if place[one] > place[other]:
                    one = found[one]
                else:
                    other = found[other]
            found[to] = one
    return found


def _passes_by(blocks: dict[str, _Block], start: str, avoided: str) -> bool:
    """Tell whether a way leads from a block to the end without another."""
    seen, stack = {start}, [start]
    while stack:
        targets = _targets(blocks, stack.pop())
        if not targets:
            return True
        fresh = {each for each in targets if each != avoided} - seen
        seen |= fresh
        stack += fresh
    return False
