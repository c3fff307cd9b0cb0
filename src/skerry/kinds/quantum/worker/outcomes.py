"""Outcomes of shots as texts, and how often each came."""

from __future__ import annotations

from typing import Any

from .ir import UnsupportedError

DISTINCT_MAX = 2_000_000


def counts_of(bits: Any) -> dict[str, int]:
    """Return how often each row of an array of booleans came, by its text."""
    import numpy as np  # noqa: PLC0415

    if bits.shape[1] == 0:
        return {"": len(bits)}
    packed = np.packbits(bits, axis=1)
    rows, numbers = np.unique(packed, axis=0, return_counts=True)
    if len(rows) > DISTINCT_MAX:
        raise UnsupportedError(f"There are more than {DISTINCT_MAX} different outcomes.")
    width = bits.shape[1]
    texts = (text_of(row[:width]) for row in np.unpackbits(rows, axis=1))
    return {text: int(number) for text, number in zip(texts, numbers, strict=True)}


def text_of(row: Any) -> str:
    """Return the text of a row of bits, bit 0 first."""
    return "".join("1" if each else "0" for each in row)
