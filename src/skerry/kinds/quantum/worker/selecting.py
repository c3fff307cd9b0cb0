"""Elements of arrays and bits of registers that a measured number chooses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import words
from .conditions import NEVER, Condition, both, either
from .ir import UnsupportedError
from .words import Keep, Number, Sum, Word

CHOICES_MAX = 256
"""Of how many elements one is chosen."""


def chosen(elements: Sequence[Any], index: Word, keep: Keep) -> Any:
    """Return the element that a measured number names, made of conditions.

    Raises UnsupportedError if the number may name none: one cut to fewer bits cannot.
    """
    bits = list(index.bits)
    while bits and bits[-1] == NEVER:
        bits.pop()
    signed = index.signed and len(bits) == len(index.bits)
    if signed or 1 << len(bits) > len(elements):
        raise UnsupportedError(
            f"The measured index may be outside of an array of {len(elements)}.",
            "Cut it to the bits that it needs: uint[2](k).",
        )
    count = 1 << len(bits)
    if count > CHOICES_MAX:
        raise UnsupportedError(f"A measured index chooses one of at most {CHOICES_MAX}.")
    number = Word(tuple(bits))
    asked = [
        keep(words.truth(words.binary("==", number, words.constant(at), keep)))
        for at in range(count)
    ]
    return _joined(elements[:count], asked, keep)


def _joined(elements: Sequence[Any], asked: Sequence[Condition], keep: Keep) -> Any:
    """Return the one element whose condition holds."""
    if all(isinstance(each, list) for each in elements):
        return [_joined(each, asked, keep) for each in zip(*elements, strict=True)]
    if any(isinstance(each, float) for each in elements):
        return _real(elements, asked)
    if not all(isinstance(each, bool | int | Word) for each in elements):
        raise UnsupportedError("A measured index chooses one of numbers that are known.")
    numbers = [words.whole(each) for each in elements]
    signed = any(each.signed for each in numbers)
    width = max(len(each.bits) + (signed and not each.signed) for each in numbers)
    found = []
    for at in range(width):
        bit = NEVER
        for condition, each in zip(asked, numbers, strict=True):
            bit = keep(either(bit, both(condition, each.bit(at))))
        found.append(bit)
    return Word(tuple(found), signed, any(each.turns for each in numbers))


def _real(elements: Sequence[Number], asked: Sequence[Condition]) -> Sum:
    if any(isinstance(each, Word | Sum) for each in elements):
        raise UnsupportedError("A measured index chooses one of numbers that are known.")
    values = [float(each) for each in elements if not isinstance(each, Word | Sum)]
    return Sum(0.0, tuple(zip(values, asked, strict=True)))
