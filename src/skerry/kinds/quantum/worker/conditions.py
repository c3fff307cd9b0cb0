"""Conditions on measured bits, as JSON: what an `if` in a circuit asks while the circuit runs.

    ["bit", 3]    ["not", c]    ["and", c, c, …]    ["or", c, c, …]    ["xor", c, c]

The parts are conditions themselves. `["and"]` always holds and `["or"]` never does. Comparisons of
numbers are made of these before anything runs, so that an engine knows bits alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .ir import UnsupportedError

Condition = list[Any]

TABLE_BITS_MAX = 10
"""How many bits a comparison may depend on that has to be tried with every value of them."""

DEPTH_MAX = 40
PARTS_MAX = 4096


ALWAYS: Condition = ["and"]
NEVER: Condition = ["or"]


def both(one: Condition, other: Condition) -> Condition:
    """Return the condition that two conditions hold."""
    if NEVER in (one, other):
        return NEVER
    if one in (ALWAYS, other):
        return other
    if other == ALWAYS:
        return one
    parts = [each[1:] if each[0] == "and" else [each] for each in (one, other)]
    if any(negated(each) in parts[0] for each in parts[1]) or one == negated(other):
        return NEVER
    return ["and", *parts[0], *(each for each in parts[1] if each not in parts[0])]


def either(one: Condition, other: Condition) -> Condition:
    """Return the condition that one of two conditions holds.

    Where they differ in one part alone, which one demands and the other forbids, it falls out.
    """
    if ALWAYS in (one, other):
        return ALWAYS
    if one in (NEVER, other):
        return other
    if other == NEVER:
        return one
    mine, its = ([each] if each[0] != "and" else each[1:] for each in (one, other))
    only, others = ([e for e in a if e not in b] for a, b in ((mine, its), (its, mine)))
    if len(only) == len(others) == 1 and only[0] == negated(others[0]):
        rest = [each for each in mine if each in its]
        return rest[0] if len(rest) == 1 else ["and", *rest]
    parts = [each[1:] if each[0] == "or" else [each] for each in (one, other)]
    return ["or", *parts[0], *(each for each in parts[1] if each not in parts[0])]


def differ(one: Condition, other: Condition) -> Condition:
    """Return the condition that one of two conditions holds and the other does not."""
    for fixed, free in ((one, other), (other, one)):
        if fixed == NEVER:
            return free
        if fixed == ALWAYS:
            return negated(free)
    if one == other:
        return NEVER
    return ALWAYS if one == negated(other) else ["xor", one, other]


def chosen(asked: Condition, one: Condition, other: Condition) -> Condition:
    """Return the condition that the first holds if one asked for does, and the second if not."""
    if one == other:
        return one
    return either(both(asked, one), both(negated(asked), other))


def size(condition: Condition) -> int:
    """Return of how many parts a condition is made."""
    return 1 if condition[0] == "bit" else 1 + sum(size(each) for each in condition[1:])


def equals(places: Sequence[int], value: int) -> Condition:
    """Return the condition that bits, the lowest first, are a number."""
    if not 0 <= value < 1 << len(places):
        return ["or"]
    bits: list[Condition] = [["bit", place] for place in places]
    parts = [each if value >> at & 1 else negated(each) for at, each in enumerate(bits)]
    return parts[0] if len(parts) == 1 else ["and", *parts]


def negated(condition: Condition) -> Condition:
    """Return the condition that another does not hold."""
    if condition in (ALWAYS, NEVER):
        return NEVER if condition == ALWAYS else ALWAYS
    return condition[1] if condition[0] == "not" else ["not", condition]


def tabled(places: Sequence[int], told: Callable[[Mapping[int, bool]], bool]) -> Condition:
    """Return the condition of which `told` says for every value of some bits whether it holds.

    Raises UnsupportedError if these are too many to be tried.
    """
    if len(places) > TABLE_BITS_MAX:
        raise UnsupportedError(
            f"A condition computes with {len(places)} measured bits.",
            f"At most {TABLE_BITS_MAX} are computed with; comparing a register has no bound.",
        )
    numbers = range(1 << len(places))
    true = [
        number
        for number in numbers
        if told({place: bool(number >> at & 1) for at, place in enumerate(places)})
    ]
    if len(true) == 1:
        return equals(places, true[0])
    if len(true) == len(numbers) - 1:
        return negated(equals(places, next(each for each in numbers if each not in set(true))))
    return ["or", *(equals(places, each) for each in true)] if len(true) < len(numbers) else ["and"]


def bits_of(condition: Condition) -> set[int]:
    """Return the bits that a condition asks for."""
    name, *parts = condition
    return {parts[0]} if name == "bit" else {bit for each in parts for bit in bits_of(each)}


def holds(condition: Condition, bits: Sequence[bool] | Mapping[int, bool]) -> bool:
    """Tell whether a condition holds for the bits so far."""
    name, *parts = condition
    if name == "bit":
        return bool(bits[parts[0]])
    if name == "not":
        return not holds(parts[0], bits)
    if name == "and":
        return all(holds(each, bits) for each in parts)
    if name == "or":
        return any(holds(each, bits) for each in parts)
    return holds(parts[0], bits) != holds(parts[1], bits)


def checked(found: Any, bits: int, depth: int = 0) -> Condition:
    """Return a condition that comes from outside; raise ValueError if it is none."""
    if not isinstance(found, list) or not found or depth > DEPTH_MAX or len(found) > PARTS_MAX:
        raise ValueError("a condition is a list")
    name, *parts = found
    if name == "bit" and len(parts) == 1 and isinstance(parts[0], int) and 0 <= parts[0] < bits:
        return ["bit", int(parts[0])]
    counts = {"not": {1}, "xor": {2}, "and": range(PARTS_MAX), "or": range(PARTS_MAX)}
    if name not in counts or len(parts) not in counts[name]:
        raise ValueError("a condition asks for a bit that is there, or is made of others")
    return [name, *(checked(each, bits, depth + 1) for each in parts)]


def text(condition: Condition, name_of: Callable[[int], str]) -> str:
    """Return a condition in OpenQASM 3; `name_of` tells what a bit is called."""
    name, *parts = condition
    if name == "bit":
        return name_of(parts[0])
    if name == "not":
        return f"!{text(parts[0], name_of)}"
    if not parts:
        return "true" if name == "and" else "false"
    sign = {"and": " && ", "or": " || ", "xor": " != "}[name]
    return f"({sign.join(text(each, name_of) for each in parts)})"
