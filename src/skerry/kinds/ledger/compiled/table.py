"""Open hash tables from 128-bit ids to rows, with linear probing.

A slot holds 32 bits of the id's hash and the row plus one; a burned id has the top bit of that
lower half set. Only the id that came last is ever taken out, so no tombstones are needed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from skerry.kinds.ledger.compiled.jit import part
from skerry.kinds.ledger.compiled.layout import (
    ACCOUNT_MASK,
    ACCOUNT_SLOTS,
    ACCOUNTS,
    BURNED,
    LOW32,
    ONE,
    S27,
    S30,
    S31,
    SEED,
    TRANSFER_MASK,
    TRANSFER_SLOTS,
    TRANSFERS,
    ZERO,
    U,
)
from skerry.kinds.ledger.compiled.memory import base, count, keep, load, set_count, word

MARK = U(1 << 31)
_ROW = U((1 << 31) - 1)
_HIGH32 = U(0xFFFF_FFFF_0000_0000)
_K1, _K2, _K3 = U(0xBF58476D1CE4E5B9), U(0x94D049BB133111EB), U(0x9E3779B97F4A7C15)


@part
def mixed(value: Any) -> Any:
    """Return splitmix64's finish; see `kernel.ledger.digest`."""
    value = (value ^ (value >> S30)) * _K1
    value = (value ^ (value >> S27)) * _K2
    return value ^ (value >> S31)


@part
def id_hash(store: int, low: Any, high: Any) -> Any:
    """Return the hash of an id; the seed is the process's own, so that no one can aim at slots."""
    return mixed(low ^ mixed(high * _K3 ^ load(store, SEED)))


@part
def find_account(store: int, low: Any, high: Any) -> int:
    """Return the row of an account, or -1."""
    slots, mask = base(store, ACCOUNT_SLOTS), load(store, ACCOUNT_MASK)
    rows = base(store, ACCOUNTS)
    hashed = id_hash(store, low, high)
    at = hashed & mask
    slot = load(slots, np.int64(at))
    while slot != ZERO:
        if (slot ^ hashed) & _HIGH32 == ZERO:
            row = np.int64((slot & _ROW) - ONE)
            if word(rows, row, 0) == low and word(rows, row, 1) == high:
                return row
        at = (at + ONE) & mask
        slot = load(slots, np.int64(at))
    return -1


@part
def find_transfer(store: int, low: Any, high: Any) -> int:
    """Return the row of a transfer, -1 if there is none, -2 if its id is burned."""
    slots, mask = base(store, TRANSFER_SLOTS), load(store, TRANSFER_MASK)
    hashed = id_hash(store, low, high)
    at = hashed & mask
    slot = load(slots, np.int64(at))
    while slot != ZERO:
        if (slot ^ hashed) & _HIGH32 == ZERO:
            row = np.int64((slot & _ROW) - ONE)
            if slot & MARK:
                burned = base(store, BURNED)
                if load(burned, row * 2) == low and load(burned, row * 2 + 1) == high:
                    return -2
            else:
                rows = base(store, TRANSFERS)
                if word(rows, row, 0) == low and word(rows, row, 1) == high:
                    return row
        at = (at + ONE) & mask
        slot = load(slots, np.int64(at))
    return -1


@part
def enter(store: int, table: int, mask_at: int, low: Any, high: Any, value: Any) -> None:
    """Enter a new id with the lower half of its slot."""
    slots, mask = base(store, table), load(store, mask_at)
    hashed = id_hash(store, low, high)
    at = hashed & mask
    while load(slots, np.int64(at)) != ZERO:
        at = (at + ONE) & mask
    keep(slots, np.int64(at), (hashed & ~LOW32) | value)


@part
def take(store: int, table: int, mask_at: int, low: Any, high: Any, value: Any) -> None:
    """Take out the id that was entered last."""
    slots, mask = base(store, table), load(store, mask_at)
    hashed = id_hash(store, low, high)
    wanted = (hashed & ~LOW32) | value
    at = hashed & mask
    while load(slots, np.int64(at)) != wanted:
        at = (at + ONE) & mask
    keep(slots, np.int64(at), ZERO)


@part
def burn(store: int, low: Any, high: Any) -> None:
    """Let an id fail for ever."""
    row = count(store, BURNED)
    keep(base(store, BURNED), row * 2, low)
    keep(base(store, BURNED), row * 2 + 1, high)
    set_count(store, BURNED, row + 1)
    enter(store, TRANSFER_SLOTS, TRANSFER_MASK, low, high, U(row + 1) | MARK)
