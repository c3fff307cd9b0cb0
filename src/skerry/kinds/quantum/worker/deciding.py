"""Conditions on bits in a form that is the same whenever they mean the same.

Such a condition is a number: a node of a reduced ordered decision diagram, 0 for never and 1 for
always. Source: Bryant, Graph-based algorithms for Boolean function manipulation (1986).
"""

from __future__ import annotations

from .conditions import Condition
from .ir import UnsupportedError

NODES_MAX = 50_000
CHOICES_MAX = 500_000
"""How many different choices are made among them."""

PARTS_MAX = 4096
"""How many parts a condition has when it is written out."""

NEVER, ALWAYS = 0, 1
_TOO_MANY = "The program decides by too many measured bits at once."
_LAST = 1 << 62


class Diagram:
    """Holds the nodes; each asks for one bit, and goes on where it is 0 and where it is 1."""

    def __init__(self) -> None:
        self._nodes: list[tuple[int, int, int]] = [(_LAST, 0, 0), (_LAST, 1, 1)]
        self._places: dict[tuple[int, int, int], int] = {}
        self._known: dict[tuple[int, int, int], int] = {}

    def bit(self, place: int) -> int:
        """Return the condition that a bit is 1."""
        return self._node(place, NEVER, ALWAYS)

    def choose(self, condition: int, then: int, otherwise: int) -> int:
        """Return what is one condition where the first holds, and the other elsewhere."""
        if condition == ALWAYS or then == otherwise:
            return then
        if condition == NEVER:
            return otherwise
        if (then, otherwise) == (ALWAYS, NEVER):
            return condition
        key = (condition, then, otherwise)
        if key not in self._known:
            if len(self._known) >= CHOICES_MAX:
                raise UnsupportedError(_TOO_MANY)
            place = min(self._nodes[each][0] for each in key)
            low = self.choose(*(self._side(each, place, 1) for each in key))
            high = self.choose(*(self._side(each, place, 2) for each in key))
            self._known[key] = low if low == high else self._node(place, low, high)
        return self._known[key]

    def both(self, one: int, other: int) -> int:
        """Return the condition that two hold."""
        return self.choose(one, other, NEVER)

    def either(self, one: int, other: int) -> int:
        """Return the condition that one of two holds."""
        return self.choose(one, ALWAYS, other)

    def differ(self, one: int, other: int) -> int:
        """Return the condition that exactly one of two holds."""
        return self.choose(one, self.none(other), other)

    def none(self, one: int) -> int:
        """Return the condition that another does not hold."""
        return self.choose(one, NEVER, ALWAYS)

    def written(self, condition: int) -> Condition:
        """Return a condition as `conditions` has it; raise UnsupportedError if it is too long."""
        self._parts = 0
        return self._written(condition)

    def _written(self, condition: int) -> Condition:
        self._parts += 1
        if self._parts > PARTS_MAX:
            raise UnsupportedError(f"A condition has more than {PARTS_MAX} parts.")
        if condition in (NEVER, ALWAYS):
            return ["and"] if condition else ["or"]
        place, low, high = self._nodes[condition]
        one: Condition = ["bit", place]
        if low == NEVER:
            return one if high == ALWAYS else ["and", one, self._written(high)]
        if high == NEVER:
            off: Condition = ["not", one]
            return off if low == ALWAYS else ["and", off, self._written(low)]
        if high == ALWAYS:
            return ["or", one, self._written(low)]
        if low == ALWAYS:
            return ["or", ["not", one], self._written(high)]
        sides = (["and", one, self._written(high)], ["and", ["not", one], self._written(low)])
        return ["or", *sides]

    def _side(self, condition: int, place: int, side: int) -> int:
        node = self._nodes[condition]
        return node[side] if node[0] == place else condition

    def _node(self, place: int, low: int, high: int) -> int:
        key = (place, low, high)
        if key not in self._places:
            if len(self._nodes) >= NODES_MAX:
                raise UnsupportedError(_TOO_MANY)
            self._places[key] = len(self._nodes)
            self._nodes.append(key)
        return self._places[key]
