"""Prices: what a lease costs for its time, as an exact fraction.

A price is a `Rate` of micro-units of money for milliseconds. Akash writes prices per block; that
is converted here, once, and nothing else in the market knows of blocks.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from fractions import Fraction

from skerry.kernel.errors import INVALID
from skerry.kernel.money import Rate, show

BLOCK_MILLISECONDS = 6000
HOUR_MILLISECONDS = 3_600_000
DIGITS_MAX = 40


def per_block(amount: str) -> Rate:
    """Return the rate of an amount of micro-units per block; raise INVALID if it is no amount."""
    try:
        number = Decimal(amount)
    except InvalidOperation as error:
        raise INVALID(f"{amount[:80]!r} is not an amount.") from error
    if not number.is_finite() or number < 0 or len(amount) > DIGITS_MAX:
        raise INVALID(f"{amount[:80]!r} is not an amount.", why="It must be 0 or more.")
    return rate(Fraction(number) / BLOCK_MILLISECONDS)


def rate(fraction: Fraction) -> Rate:
    """Return a fraction of micro-units and milliseconds as a rate."""
    return Rate(fraction.numerator, fraction.denominator)


def fraction_of(price: Rate) -> Fraction:
    """Return a rate as a fraction, to compare and to add."""
    return Fraction(price.micro, price.per)


def dearer(one: Rate, other: Rate) -> bool:
    """Tell whether one rate is above another, exactly."""
    return one.micro * other.per > other.micro * one.per


def times(price: Rate, factor: Fraction) -> Rate:
    """Return a rate, multiplied."""
    return rate(fraction_of(price) * factor)


def total(prices: list[Rate]) -> Rate:
    """Return the sum of rates."""
    return rate(sum((fraction_of(each) for each in prices), Fraction(0)))


def decimal_per_block(price: Rate) -> str:
    """Return a rate in Akash's form: micro-units per block, with 18 digits, rounded down."""
    scaled = price.micro * BLOCK_MILLISECONDS * 10**18 // price.per
    whole, part = divmod(scaled, 10**18)
    return f"{whole}.{part:018d}"


def in_units(micro: int) -> str:
    """Return an amount for people, in whole units of the currency, which has no name here."""
    return show(micro, "").strip()


def per_hour(price: Rate, currency: str) -> str:
    """Return a rate for people."""
    return f"{show(price.cost(HOUR_MILLISECONDS), currency)}/h"
