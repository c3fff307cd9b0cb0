"""Numbers of 128 bits as two words, the lower one first."""

from __future__ import annotations

from typing import Any

from skerry.kinds.ledger.compiled.jit import part
from skerry.kinds.ledger.compiled.layout import MAX, ONE, ZERO
from skerry.kinds.ledger.compiled.memory import set_word, word


@part
def is_zero(rows: int, row: int, at: int) -> bool:
    """Tell whether a number is 0."""
    return word(rows, row, at) | word(rows, row, at + 1) == ZERO


@part
def is_max(rows: int, row: int, at: int) -> bool:
    """Tell whether a number is 2**128 - 1."""
    return word(rows, row, at) & word(rows, row, at + 1) == MAX


@part
def same(left: int, row: int, at: int, right: int, other: int, place: int) -> bool:
    """Tell whether two numbers are equal."""
    low = word(left, row, at) ^ word(right, other, place)
    high = word(left, row, at + 1) ^ word(right, other, place + 1)
    return low | high == ZERO


@part
def add(low: Any, high: Any, more: Any, above: Any) -> Any:
    """Return a sum modulo 2**128, and whether it overflowed."""
    total = low + more
    carry = ONE if total < low else ZERO
    upper = high + above
    over = upper < high
    whole = upper + carry
    return total, whole, over or whole < upper


@part
def subtract(low: Any, high: Any, less: Any, above: Any) -> Any:
    """Return a difference modulo 2**128."""
    borrow = ONE if low < less else ZERO
    return low - less, high - above - borrow


@part
def below(low: Any, high: Any, other: Any, above: Any) -> bool:
    """Tell whether a number is less than another."""
    return high < above or (high == above and low < other)


@part
def sum_of(rows: int, row: int, at: int) -> Any:
    """Return the sum of a number and the one after it, and whether it overflowed."""
    return add(
        word(rows, row, at),
        word(rows, row, at + 1),
        word(rows, row, at + 2),
        word(rows, row, at + 3),
    )


@part
def increase(rows: int, row: int, at: int, low: Any, high: Any) -> None:
    """Add to a number in place; whoever calls has made sure that it fits."""
    total, whole, _ = add(word(rows, row, at), word(rows, row, at + 1), low, high)
    set_word(rows, row, at, total)
    set_word(rows, row, at + 1, whole)


@part
def decrease(rows: int, row: int, at: int, low: Any, high: Any) -> None:
    """Take from a number in place."""
    left, above = subtract(word(rows, row, at), word(rows, row, at + 1), low, high)
    set_word(rows, row, at, left)
    set_word(rows, row, at + 1, above)


@part
def room(rows: int, row: int, whole: int, pending: int) -> Any:
    """Return what a side's pending and posted balances leave of `whole`, but no less than 0."""
    low, high, over = sum_of(rows, row, pending)
    if over or below(word(rows, row, whole), word(rows, row, whole + 1), low, high):
        return ZERO, ZERO
    return subtract(word(rows, row, whole), word(rows, row, whole + 1), low, high)
