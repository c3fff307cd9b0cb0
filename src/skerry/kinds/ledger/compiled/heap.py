"""A binary heap of what times out: by moment of expiry, then by timestamp.

Transfers that were posted, voided or taken back stay in it until they come to the top.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from skerry.kinds.ledger.compiled.jit import part
from skerry.kinds.ledger.compiled.layout import FATE, HEAP, PENDING_FATE, TRANSFERS, U
from skerry.kinds.ledger.compiled.memory import base, count, keep, load, set_count, word
from skerry.kinds.ledger.compiled.notes import transfer_note

_WORDS = 3


@part
def _is_less(heap: int, left: int, right: int) -> bool:
    first, second = load(heap, left * _WORDS), load(heap, right * _WORDS)
    if first != second:
        return first < second
    return load(heap, left * _WORDS + 1) < load(heap, right * _WORDS + 1)


@part
def _swap(heap: int, left: int, right: int) -> None:
    for at in range(_WORDS):
        kept = load(heap, left * _WORDS + at)
        keep(heap, left * _WORDS + at, load(heap, right * _WORDS + at))
        keep(heap, right * _WORDS + at, kept)


@part
def push(store: int, expires: Any, timestamp: Any, row: int) -> None:
    """Enter a transfer."""
    heap, at = base(store, HEAP), count(store, HEAP)
    keep(heap, at * _WORDS, expires)
    keep(heap, at * _WORDS + 1, timestamp)
    keep(heap, at * _WORDS + 2, U(row))
    set_count(store, HEAP, at + 1)
    while at > 0 and _is_less(heap, at, (at - 1) >> 1):
        _swap(heap, at, (at - 1) >> 1)
        at = (at - 1) >> 1


@part
def pop(store: int) -> None:
    """Take the first one out."""
    heap, size = base(store, HEAP), count(store, HEAP) - 1
    set_count(store, HEAP, size)
    _swap(heap, 0, size)
    at = 0
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and _is_less(heap, child + 1, child):
            child += 1
        if not _is_less(heap, child, at):
            return
        _swap(heap, at, child)
        at = child


@part
def _waits(store: int, row: int, timestamp: Any) -> bool:
    if row >= count(store, TRANSFERS) or transfer_note(store, row, FATE) != PENDING_FATE:
        return False
    return word(base(store, TRANSFERS), row, 15) == timestamp


@part
def first(store: int) -> int:
    """Return the row of the pending transfer that times out first, or -1."""
    heap = base(store, HEAP)
    while count(store, HEAP) > 0:
        row = np.int64(load(heap, 2))
        if _waits(store, row, load(heap, 1)):
            return row
        pop(store)
    return -1
