"""What detectors make of photons, and which outcomes count: heralds, conditions, least photons.

Conditions are Perceval's: `[0,1] == 1 & ([2] > 0 | ![3] == 1)`, where a list of modes stands for
the photons in them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from .ir import UnsupportedError

State = tuple[int, ...]
Test = Callable[[State], bool]
CONDITION_MAX = 10_000
_DEPTH_MAX = 50
_TOKEN = re.compile(r"\s*(?:(\[[\d,\s]{1,400}\])|(==|<=|>=|<|>)|(\d{1,4})|([()&|^!]))")
_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "==": lambda a, b: a == b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}
_JOIN: dict[str, Callable[[bool, bool], bool]] = {
    "&": lambda a, b: a and b,
    "|": lambda a, b: a or b,
    "^": lambda a, b: a != b,
}


def condition(text: str, modes: int) -> Test:
    """Return what tells whether an outcome meets a condition; raise UnsupportedError."""
    if not text.strip():
        return lambda _: True
    if len(text) > CONDITION_MAX:
        raise UnsupportedError(f"A condition has at most {CONDITION_MAX} characters.")
    parser = _Parser(text, modes)
    found = parser.whole(0)
    if parser.next() is not None:
        raise parser.wrong()
    return found


class _Parser:
    def __init__(self, text: str, modes: int) -> None:
        self._text, self._modes = text, modes
        self._place = 0

    def next(self) -> tuple[int, str] | None:
        """Return the kind and the text of what comes, or None at the end."""
        found = _TOKEN.match(self._text, self._place)
        if found is None:
            if self._text[self._place :].strip():
                raise self.wrong()
            return None
        return found.lastindex or 0, found[found.lastindex or 0]

    def _take(self, kind: int) -> str:
        found = self.next()
        if found is None or found[0] != kind:
            raise self.wrong()
        match = _TOKEN.match(self._text, self._place)
        assert match is not None, "next() found it"
        self._place = match.end()
        return found[1]

    def wrong(self) -> UnsupportedError:
        """Make the error of a text that cannot be read."""
        return UnsupportedError(
            "The condition on outcomes cannot be read.", self._text[self._place :][:60]
        )

    def whole(self, depth: int) -> Test:
        """Return the test of conditions that one sign joins."""
        if depth > _DEPTH_MAX:
            raise self.wrong()
        left, sign = self._one(depth), ""
        while (found := self.next()) is not None and found[1] in _JOIN:
            if sign and found[1] != sign:
                raise UnsupportedError("Put brackets where &, | and ^ meet in a condition.")
            sign = self._take(4)
            left = _joined(_JOIN[sign], left, self._one(depth))
        return left

    def _one(self, depth: int) -> Test:
        found = self.next()
        if found == (4, "!"):
            self._take(4)
            inner = self._one(depth + 1)
            return lambda state: not inner(state)
        if found == (4, "("):
            self._take(4)
            inner = self.whole(depth + 1)
            if self._take(4) != ")":
                raise self.wrong()
            return inner
        places = [int(each) for each in self._take(1).strip("[]").split(",")]
        if not all(0 <= each < self._modes for each in places):
            raise UnsupportedError("The condition names a mode that is not there.", str(places))
        compare, number = _COMPARE[self._take(2)], int(self._take(3))
        return lambda state: compare(sum(state[each] for each in places), number)


def _joined(sign: Callable[[bool, bool], bool], left: Test, right: Test) -> Test:
    return lambda state: sign(left(state), right(state))


def seen(photons: int, wires: int, most: int) -> dict[int, float]:
    """Return how many photons a detector counts, and by what chance; 0 stands for no bound.

    Photons spread evenly over wires, each of which counts one at most: the chances are those of
    the number of places that are hit.
    """
    if not wires:
        return {min(photons, most) if most else photons: 1.0}
    chances = {0: 1.0}
    for _ in range(photons):
        grown: dict[int, float] = {}
        for hit, chance in chances.items():
            grown[hit] = grown.get(hit, 0.0) + chance * hit / wires
            if hit < wires:
                grown[hit + 1] = grown.get(hit + 1, 0.0) + chance * (wires - hit) / wires
        chances = grown
    found: dict[int, float] = {}
    for hit, chance in chances.items():
        told = min(hit, most) if most else hit
        found[told] = found.get(told, 0.0) + chance
    return {hit: chance for hit, chance in found.items() if chance > 0.0}


def detected(state: State, detectors: dict[str, list[int]]) -> list[tuple[State, float]]:
    """Return what detectors make of photons, each with its chance."""
    found: list[tuple[State, float]] = [(state, 1.0)]
    for name, (wires, most) in detectors.items():
        mode = int(name)
        found = [
            ((*each[:mode], hit, *each[mode + 1 :]), chance * odds)
            for each, chance in found
            for hit, odds in seen(each[mode], wires, most).items()
        ]
    return found


class Selected:
    """The outcomes that count, and how likely it is that one does.

    `physical` is the chance that enough photons are found, `logical` that these then meet heralds
    and condition; `any` is the chance that anything is found at all.
    """

    def __init__(self, program: dict[str, Any]) -> None:
        self._heralds = {int(mode): n for mode, n in program["heralds"].items()}
        self._detectors = program["detectors"]
        self._least = program["photons_min"] + sum(self._heralds.values())
        self._test = condition(program["postselect"], program["modes"])
        self._kept = [mode for mode in range(program["modes"]) if mode not in self._heralds]
        self.found: dict[State, float] = {}
        self.any = 0.0
        self._enough = 0.0

    def add(self, state: State, chance: float) -> None:
        """Count an outcome of the circuit."""
        for told, odds in detected(state, self._detectors) if self._detectors else [(state, 1.0)]:
            weight, photons = chance * odds, sum(told)
            self.any += weight * (photons > 0)
            if photons < self._least:
                continue
            self._enough += weight
            if all(told[mode] == n for mode, n in self._heralds.items()) and self._test(told):
                rest = tuple(told[mode] for mode in self._kept)
                self.found[rest] = self.found.get(rest, 0.0) + weight

    @property
    def performance(self) -> dict[str, float]:
        """The chances, in Perceval's words."""
        whole = math.fsum(self.found.values())
        enough = min(self._enough, 1.0)
        return {
            "global_perf": whole,
            "physical_perf": enough,
            "logical_perf": whole / enough if enough else 0.0,
        }
