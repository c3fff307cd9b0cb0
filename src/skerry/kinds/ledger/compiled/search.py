"""Questions over many rows; see `kernel.ledger.queries`."""

from __future__ import annotations

from typing import Any

import numpy as np

from skerry.kinds.ledger.compiled.jit import jit, part
from skerry.kinds.ledger.compiled.layout import (
    BEFORE_CREDIT,
    BEFORE_DEBIT,
    CREDIT,
    DEBIT,
    LOW16,
    LOW32,
    NEWEST,
    S32,
    TRANSFERS,
    ZERO,
)
from skerry.kinds.ledger.compiled.memory import base, count, word
from skerry.kinds.ledger.compiled.notes import account_note, transfer_note
from skerry.kinds.ledger.compiled.table import find_account, find_transfer


@jit
def lookup(store: int, wanted: Any, of_transfers: bool, found: Any) -> int:
    """Fill `found` with the rows that have these ids; return how many there are."""
    number = 0
    for at in range(wanted.shape[0]):
        low, high = wanted[at, 0], wanted[at, 1]
        row = find_transfer(store, low, high) if of_transfers else find_account(store, low, high)
        if row >= 0:
            found[number] = row
            number += 1
    return number


@part
def _is(value: Any, wanted: Any) -> bool:
    return bool(wanted in (ZERO, value))


@part
def _has(rows: int, row: int, wanted: Any) -> bool:
    """Tell whether a row has the user data (4 words), ledger and code that are not 0."""
    wide = wanted[0] | wanted[1] != ZERO
    if wide and (word(rows, row, 10) != wanted[0] or word(rows, row, 11) != wanted[1]):
        return False
    if not _is(word(rows, row, 12), wanted[2]):
        return False
    if not _is(word(rows, row, 13) & LOW32, wanted[3]):
        return False
    if not _is(word(rows, row, 14) & LOW32, wanted[4]):
        return False
    return _is((word(rows, row, 14) >> S32) & LOW16, wanted[5])


@part
def _from(rows: int, size: int, timestamp: Any) -> int:
    """Return the first row whose timestamp is not below one."""
    low, high = 0, size
    while low < high:
        middle = (low + high) >> 1
        if word(rows, middle, 15) < timestamp:
            low = middle + 1
        else:
            high = middle
    return low


@jit
def query(store: int, table: int, wanted: Any, span: Any, backwards: bool, found: Any) -> int:
    """Fill `found` with rows that match, in the order of time; return how many."""
    rows, size = base(store, table), count(store, table)
    low, high = _from(rows, size, span[0]), _from(rows, size, span[1])
    number = 0
    for step in range(high - low):
        if number == found.shape[0]:
            break
        row = high - 1 - step if backwards else low + step
        if _has(rows, row, wanted):
            found[number] = row
            number += 1
    return number


@part
def _concerns(store: int, row: int, account: int, sides: int) -> bool:
    if sides & 1 and transfer_note(store, row, DEBIT) == account:
        return True
    return bool(sides & 2 and transfer_note(store, row, CREDIT) == account)


@part
def _before(store: int, row: int, account: int) -> int:
    """Return the transfer of an account before this one, or -1."""
    if transfer_note(store, row, DEBIT) == account:
        return transfer_note(store, row, BEFORE_DEBIT) - 1
    return transfer_note(store, row, BEFORE_CREDIT) - 1


@jit
def of_account(
    store: int, account: int, wanted: Any, span: Any, sides: int, backwards: bool, found: Any
) -> int:
    """Fill `found` with the transfers of an account; return how many.

    The newest first follows the account's chain; the oldest first reads the rows.
    """
    rows, size = base(store, TRANSFERS), count(store, TRANSFERS)
    low, high = _from(rows, size, span[0]), _from(rows, size, span[1])
    row = np.int64(account_note(store, account, NEWEST) - 1 if backwards else low)
    number = 0
    while low <= row < size and number < found.shape[0]:
        if row < high and _concerns(store, row, account, sides) and _has(rows, row, wanted):
            found[number] = row
            number += 1
        row = _before(store, row, account) if backwards else row + 1
        if not backwards and row >= high:
            break
    return number
