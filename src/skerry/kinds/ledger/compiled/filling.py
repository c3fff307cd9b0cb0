"""A store that is filled from rows, or moved to larger tables."""

from __future__ import annotations

from typing import Any

import numpy as np

from skerry.kernel.ledger.records import Change
from skerry.kinds.ledger.compiled import heap
from skerry.kinds.ledger.compiled.audit import BURNED_SALT, add_digest, check, pair_hash
from skerry.kinds.ledger.compiled.changes import decide, expires_at, link, timeout_of, touch
from skerry.kinds.ledger.compiled.jit import jit
from skerry.kinds.ledger.compiled.layout import (
    ACCOUNT_MASK,
    ACCOUNT_SLOTS,
    ACCOUNTS,
    BURNED,
    FATE,
    LEDGER_MASK,
    LEDGER_SLOTS,
    LEDGERS,
    LOW16,
    MOMENT,
    MOMENTS,
    NONE,
    ONE,
    PENDING_FATE,
    S32,
    TRANSFER_MASK,
    TRANSFER_SLOTS,
    TRANSFERS,
    ZERO,
    U,
)
from skerry.kinds.ledger.compiled.memory import base, count, keep, load, word
from skerry.kinds.ledger.compiled.notes import note_transfer, transfer_note
from skerry.kinds.ledger.compiled.table import MARK, enter, find_account, mixed

EXPIRES = int(Change.TWO_PHASE_EXPIRED)
ABSENT = 5
"""What `connect` returns for a transfer whose accounts are not there."""

_MOMENT_WORDS, _LEDGER_WORDS = 20, 5


@jit
def enter_accounts(store: int) -> None:
    """Enter the ids of all accounts into an empty table."""
    rows = base(store, ACCOUNTS)
    for row in range(count(store, ACCOUNTS)):
        low, high = word(rows, row, 0), word(rows, row, 1)
        enter(store, ACCOUNT_SLOTS, ACCOUNT_MASK, low, high, U(row + 1))


@jit
def enter_transfers(store: int) -> None:
    """Enter the ids of all transfers, and the burned ones, into an empty table."""
    rows, burned = base(store, TRANSFERS), base(store, BURNED)
    for row in range(count(store, TRANSFERS)):
        low, high = word(rows, row, 0), word(rows, row, 1)
        enter(store, TRANSFER_SLOTS, TRANSFER_MASK, low, high, U(row + 1))
    for row in range(count(store, BURNED)):
        low, high = load(burned, row * 2), load(burned, row * 2 + 1)
        enter(store, TRANSFER_SLOTS, TRANSFER_MASK, low, high, U(row + 1) | MARK)


@jit
def enter_ledgers(store: int) -> None:
    """Enter the numbers of all ledgers into an empty table."""
    ledgers, slots, mask = base(store, LEDGERS), base(store, LEDGER_SLOTS), load(store, LEDGER_MASK)
    for place in range(count(store, LEDGERS)):
        at = mixed(load(ledgers, place * _LEDGER_WORDS)) & mask
        while load(slots, np.int64(at)) != ZERO:
            at = (at + ONE) & mask
        keep(slots, np.int64(at), U(place + 1))


@jit
def connect(store: int, fates: Any) -> int:
    """Link loaded transfers to their accounts, audit everything; return what is broken, or 0."""
    rows = base(store, TRANSFERS)
    for row in range(count(store, TRANSFERS)):
        debit = find_account(store, word(rows, row, 2), word(rows, row, 3))
        credit = find_account(store, word(rows, row, 4), word(rows, row, 5))
        if debit < 0 or credit < 0:
            return ABSENT
        link(store, row, debit, credit)
        fate = np.int64(fates[row])
        if fate != NONE:
            decide(store, row, fate)
        if fate == PENDING_FATE and timeout_of(rows, row) != ZERO:
            heap.push(store, expires_at(store, row), word(rows, row, 15), row)
    moments = base(store, MOMENTS)
    for place in range(count(store, MOMENTS)):
        transfer = np.int64(load(moments, place * _MOMENT_WORDS + 17))
        if transfer < 0 or transfer >= count(store, TRANSFERS):
            return ABSENT
        kind = np.int64(load(moments, place * _MOMENT_WORDS + 18) >> S32 & LOW16)
        if kind != EXPIRES:
            note_transfer(store, transfer, MOMENT, place)
    burned = base(store, BURNED)
    for row in range(count(store, BURNED)):
        fresh = pair_hash(load(burned, row * 2), load(burned, row * 2 + 1), BURNED_SALT)
        add_digest(store, fresh, ZERO)
    for row in range(count(store, ACCOUNTS)):
        touch(store, row)
    return check(store, 0)


@jit
def all_fates(store: int, fates: Any) -> None:
    """Write the fate of every transfer."""
    for row in range(count(store, TRANSFERS)):
        fates[row] = transfer_note(store, row, FATE)
