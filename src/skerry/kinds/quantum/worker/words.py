"""Numbers that are made of measured bits, and computing with them before anything is measured.

A `Word` is a number whose bits are conditions, the lowest first: adding two of them makes the
conditions of the sum's bits, as an adder of gates would. A `Sum` is an angle or another real
number: a constant, and an amount for each condition that holds. Both are computed while a program
is read; while it runs there are bits alone. Results are as wide as they have to be, and cut where
they are assigned.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

from .conditions import (
    ALWAYS,
    NEVER,
    Condition,
    both,
    chosen,
    differ,
    either,
    negated,
)
from .ir import TURN, UnsupportedError

FOLDED_MAX = 16
"""Of how many parts a condition may be made whose parts are compared with each other."""

WIDTH_MAX = 256
"""How many bits a number may have that is computed with; comparing a register has no bound."""

Keep = Callable[[Condition], Condition]
"""Puts a large condition into a bit of its own, which is the condition from then on."""


class Word(NamedTuple):
    """A number of bits, the lowest first; `turns`: as a fraction of a whole turn."""

    bits: tuple[Condition, ...]
    signed: bool = False
    turns: bool = False

    def bit(self, place: int) -> Condition:
        """Return a bit; those above the highest repeat its sign."""
        if place < len(self.bits):
            return self.bits[place]
        return self.bits[-1] if self.signed and self.bits else NEVER

    def cut(self, width: int) -> Word:
        """Return the lowest bits of the number as one without a sign."""
        return self._replace(bits=tuple(map(self.bit, range(width))), signed=False)


class Sum(NamedTuple):
    """A constant, and an amount for every condition that holds."""

    constant: float
    terms: tuple[tuple[float, Condition], ...] = ()

    def __neg__(self) -> Sum:
        return scaled(self, -1.0)


Number = int | float | bool | Word | Sum


def constant(value: int, width: int = 0) -> Word:
    """Return a number that is known, with as many bits as it needs, or as are asked for."""
    signed = value < 0
    width = width or (value.bit_length() + signed) or 1
    bits = tuple(ALWAYS if value >> at & 1 else NEVER for at in range(width))
    return Word(bits, signed)


def known(word: Word) -> int | None:
    """Return a number's value if no bit of it has to be measured."""
    if any(each not in (ALWAYS, NEVER) for each in word.bits):
        return None
    value = sum(1 << at for at, each in enumerate(word.bits) if each == ALWAYS)
    return (
        value - (1 << len(word.bits))
        if word.signed and word.bit(len(word.bits)) == ALWAYS
        else value
    )


def flag(condition: Condition) -> Word:
    """Return a condition as a number, 1 if it holds."""
    return Word((condition,))


def truth(number: Number) -> Condition:
    """Return the condition that a number is not 0."""
    if isinstance(number, Sum):
        raise UnsupportedError("A real number that is measured decides nothing.")
    if not isinstance(number, Word):
        return ALWAYS if number else NEVER
    return _any(list(number.bits))


def _any(conditions: list[Condition]) -> Condition:
    parts = [each for each in conditions if each != NEVER]
    if ALWAYS in parts or not parts:
        return ALWAYS if parts else NEVER
    return parts[0] if len(parts) == 1 else ["or", *parts]


def _all(conditions: list[Condition]) -> Condition:
    parts = [each for each in conditions if each != ALWAYS]
    if NEVER in parts or not parts:
        return NEVER if parts else ALWAYS
    if len(parts) > FOLDED_MAX:
        return ["and", *parts]
    return functools.reduce(both, parts)


def inverted(number: Word) -> Word:
    """Return a number with every bit turned."""
    return number._replace(bits=tuple(map(negated, number.bits)))


def negative(number: Word, keep: Keep) -> Word:
    """Return a number below 0 for one above it."""
    return _added(constant(0), number, keep, subtract=True)


def real(number: Number) -> Sum:
    """Return a number as a sum; fractions of a turn become radians."""
    if isinstance(number, Sum):
        return number
    if not isinstance(number, Word):
        return Sum(float(number))
    unit = TURN / (1 << len(number.bits)) if number.turns else 1.0
    amounts = [unit * (1 << at) for at in range(len(number.bits))]
    if number.signed and amounts:
        amounts[-1] = -amounts[-1]
    start = sum(amount for amount, bit in zip(amounts, number.bits, strict=True) if bit == ALWAYS)
    measured = zip(amounts, number.bits, strict=True)
    return Sum(start, tuple((a, bit) for a, bit in measured if bit not in (ALWAYS, NEVER)))


def scaled(number: Sum, factor: float) -> Sum:
    """Return a sum times a number that is known."""
    return Sum(number.constant * factor, tuple((a * factor, bit) for a, bit in number.terms))


def binary(sign: str, left: Number, right: Number, keep: Keep) -> Number:
    """Return what an operator of OpenQASM makes of two numbers, of which one is measured."""
    if sign in ("&&", "||"):
        join = both if sign == "&&" else either
        return flag(join(keep(truth(left)), keep(truth(right))))
    if _is_real(left) or _is_real(right) or sign in ("/", "**"):
        return _reals(sign, left, right)
    turns = any(isinstance(each, Word) and each.turns for each in (left, right))
    one, other = map(whole, (left, right))
    if sign in ("<<", ">>", "%"):
        return _by_known(sign, one, right)
    if sign in ("&", "|", "^"):
        join = {"&": both, "|": either, "^": differ}[sign]
        # A number without a sign has a 0 above its bits, as many of them as the other needs.
        mixed = one.signed != other.signed and not turns
        width = max(len(one.bits), len(other.bits)) + mixed
        bits = tuple(keep(join(one.bit(at), other.bit(at))) for at in range(width))
        return Word(bits, (one.signed or other.signed) and not turns, turns)
    if sign in ("==", "!="):
        same = _same(one, other, keep)
        return flag(same if sign == "==" else negated(same))
    if sign in ("<", ">", "<=", ">="):
        first, second = (one, other) if sign in ("<", ">=") else (other, one)
        less = _added(first, second, keep, subtract=True).bits[-1]
        return flag(less if sign in ("<", ">") else negated(less))
    if sign in ("+", "-"):
        found = _added(one, other, keep, subtract=sign == "-")
        return found.cut(len(one.bits))._replace(turns=True) if turns else found
    if sign == "*":
        return _times(one, other, keep)._replace(turns=turns)
    raise UnsupportedError(f"The operator {sign} is not known.")


def whole(number: Number) -> Word:
    """Return a whole number as bits; raise UnsupportedError for a real one that is measured."""
    if isinstance(number, Sum):
        raise UnsupportedError("A real number that is measured is no whole one.")
    return number if isinstance(number, Word) else constant(int(number))


def _is_real(number: Number) -> bool:
    return isinstance(number, Sum | float)


def _reals(sign: str, left: Number, right: Number) -> Sum:
    """Return a sum, difference, or multiple: what stays one amount for each condition."""
    one, other = real(left), real(right)
    if sign in ("+", "-"):
        other = scaled(other, 1.0 if sign == "+" else -1.0)
        return Sum(one.constant + other.constant, one.terms + other.terms)
    if sign == "*" and not (one.terms and other.terms):
        return scaled(one, other.constant) if one.terms else scaled(other, one.constant)
    if sign == "/" and not other.terms and other.constant:
        return scaled(one, 1 / other.constant)
    raise UnsupportedError(
        f"`{sign}` cannot be computed with a real number that is measured.",
        "Sums, differences and multiples by known numbers can.",
    )


def _by_known(sign: str, one: Word, right: Number) -> Word:
    """Return a number that is shifted, or its rest after division by a power of two."""
    if isinstance(right, Word):
        right = known(right) if known(right) is not None else right  # type: ignore[assignment]
    if isinstance(right, Word | Sum | float) or int(right) < 0:
        raise UnsupportedError(f"`{sign}` with measured bits needs a known number after it.")
    by, width = int(right), len(one.bits)
    if sign == "%":
        if by < 1 or by & (by - 1) or one.signed:
            raise UnsupportedError("`%` with measured bits is by a power of two.")
        return one.cut(max(by.bit_length() - 1, 1)) if by > 1 else constant(0)
    if sign == ">>":
        return one._replace(bits=tuple(one.bit(at + by) for at in range(width)))
    by = min(by, width)
    return one._replace(bits=(*[NEVER] * by, *one.bits[: width - by]))


def _same(one: Word, other: Word, keep: Keep) -> Condition:
    width = max(len(one.bits), len(other.bits)) + (one.signed != other.signed)
    return _all([negated(keep(differ(one.bit(at), other.bit(at)))) for at in range(width)])


def _added(one: Word, other: Word, keep: Keep, *, subtract: bool) -> Word:
    """Return a sum or a difference, one bit wider; a difference has a sign."""
    signed = subtract or one.signed or other.signed
    mixed = one.signed != other.signed
    width = max(len(one.bits), len(other.bits)) + 1 + mixed
    if width > WIDTH_MAX:
        raise UnsupportedError(f"Numbers of more than {WIDTH_MAX - 2} bits are not computed with.")
    carry = ALWAYS if subtract else NEVER
    bits = []
    for at in range(width):
        a, b = one.bit(at), other.bit(at)
        b = negated(b) if subtract else b
        either_one = keep(differ(a, b))
        bits.append(keep(differ(either_one, carry)))
        carry = keep(chosen(either_one, carry, a))
    return Word(tuple(bits), signed)


def _times(one: Word, other: Word, keep: Keep) -> Word:
    """Return a product, by adding one number shifted for every bit of the other."""
    if known(one) is not None:
        one, other = other, one
    width = len(one.bits) + len(other.bits)
    signed = one.signed or other.signed
    wide = one._replace(bits=tuple(map(one.bit, range(width))), signed=False)
    total = constant(0, width)
    for at in range(width if other.signed else len(other.bits)):
        bit = other.bit(at)
        if bit == NEVER:
            continue
        part = tuple(both(bit, each) for each in (*[NEVER] * at, *wide.bits[: width - at]))
        total = _added(total, Word(part), keep, subtract=False).cut(width)
    return Word(total.bits, signed)


def in_turns(radians: float, width: int) -> int:
    """Return an angle as the nearest number of 2^-width of a turn."""
    return round(math.fmod(radians, TURN) / TURN * (1 << width)) % (1 << width)
