"""The few ways in which the rows change, and how a broken chain takes them back."""

from __future__ import annotations

from typing import Any

import numpy as np

from skerry.kinds.ledger.compiled import heap
from skerry.kinds.ledger.compiled.jit import part
from skerry.kinds.ledger.compiled.layout import (
    ACCOUNT_MASK,
    ACCOUNT_SLOTS,
    ACCOUNTS,
    BEFORE_CREDIT,
    BEFORE_DEBIT,
    CLOSED_BIT,
    CLOSING_CREDIT,
    CLOSING_DEBIT,
    CREDIT,
    DEBIT,
    DECIDED,
    FATE,
    IN_CHAIN,
    IS_TOUCHED,
    MOMENTS,
    NANOSECONDS,
    NEWEST,
    NONE,
    PENDING_FATE,
    S16,
    S32,
    S48,
    SEEN_FATE,
    TOUCHED,
    TRANSFER_MASK,
    TRANSFER_SLOTS,
    TRANSFERS,
    UNDO,
    ZERO,
    U,
)
from skerry.kinds.ledger.compiled.memory import base, count, keep, load, set_count, set_word, word
from skerry.kinds.ledger.compiled.notes import (
    account_note,
    note_account,
    note_transfer,
    transfer_note,
)
from skerry.kinds.ledger.compiled.table import enter, take
from skerry.kinds.ledger.compiled.wide import decrease, increase

_ACCOUNT, _TRANSFER = 1, 2
_UNDO_WORDS, _MOMENT_WORDS = 24, 20


@part
def flags_of(rows: int, row: int) -> int:
    """Return the flags of an account or a transfer."""
    return np.int64(word(rows, row, 14) >> S48)


@part
def timeout_of(rows: int, row: int) -> Any:
    """Return the timeout of a transfer in seconds."""
    return word(rows, row, 13) >> S32


@part
def touch(store: int, account: int) -> None:
    """Note that an account changes in this batch."""
    if account_note(store, account, IS_TOUCHED) == 0:
        note_account(store, account, IS_TOUCHED, 1)
        at = count(store, TOUCHED)
        keep(base(store, TOUCHED), at, U(account))
        set_count(store, TOUCHED, at + 1)


@part
def add_account(store: int, event: int, index: int, timestamp: Any) -> None:
    """Keep a new account."""
    row, rows = count(store, ACCOUNTS), base(store, ACCOUNTS)
    for at in range(15):
        set_word(rows, row, at, word(event, index, at))
    set_word(rows, row, 15, timestamp)
    set_count(store, ACCOUNTS, row + 1)
    low, high = word(event, index, 0), word(event, index, 1)
    enter(store, ACCOUNT_SLOTS, ACCOUNT_MASK, low, high, U(row + 1))
    note_account(store, row, NEWEST, 0)
    touch(store, row)
    if count(store, IN_CHAIN):
        at = count(store, UNDO)
        keep(base(store, UNDO), at * _UNDO_WORDS, U(_ACCOUNT))
        set_count(store, UNDO, at + 1)


@part
def note_undo(store: int, debit: int, credit: int, pending: int) -> None:
    """Note how to take back the transfer that comes now.

    Word 0 tells the sort; 1 to 3 are the rows of both accounts and of the pending transfer plus
    one; 4 and 5 the accounts' flags, 6 to 13 and 14 to 21 their balances.
    """
    rows = base(store, ACCOUNTS)
    undo = base(store, UNDO) + count(store, UNDO) * _UNDO_WORDS * 8
    keep(undo, 0, U(_TRANSFER))
    keep(undo, 1, U(debit))
    keep(undo, 2, U(credit))
    keep(undo, 3, U(pending + 1))
    keep(undo, 4, word(rows, debit, 14))
    keep(undo, 5, word(rows, credit, 14))
    for at in range(8):
        keep(undo, 6 + at, word(rows, debit, 2 + at))
        keep(undo, 14 + at, word(rows, credit, 2 + at))
    set_count(store, UNDO, count(store, UNDO) + 1)


@part
def add_transfer(store: int, debit: int, credit: int, timestamp: Any) -> None:
    """Keep the new transfer whose first 15 words are already in the next row."""
    row, rows = count(store, TRANSFERS), base(store, TRANSFERS)
    set_word(rows, row, 15, timestamp)
    set_count(store, TRANSFERS, row + 1)
    low, high = word(rows, row, 0), word(rows, row, 1)
    enter(store, TRANSFER_SLOTS, TRANSFER_MASK, low, high, U(row + 1))
    link(store, row, debit, credit)
    note_transfer(store, row, FATE, NONE)
    note_transfer(store, row, SEEN_FATE, NONE)


@part
def link(store: int, row: int, debit: int, credit: int) -> None:
    """Put a transfer at the head of the chains of its accounts."""
    note_transfer(store, row, DEBIT, debit)
    note_transfer(store, row, CREDIT, credit)
    note_transfer(store, row, BEFORE_DEBIT, account_note(store, debit, NEWEST))
    note_transfer(store, row, BEFORE_CREDIT, account_note(store, credit, NEWEST))
    note_account(store, debit, NEWEST, row + 1)
    note_account(store, credit, NEWEST, row + 1)


@part
def decide(store: int, row: int, fate: int) -> None:
    """Set the fate of a pending transfer."""
    note_transfer(store, row, FATE, fate)
    at = count(store, DECIDED)
    keep(base(store, DECIDED), at, U(row))
    set_count(store, DECIDED, at + 1)


@part
def expires_at(store: int, row: int) -> Any:
    """Return when a pending transfer with a timeout expires."""
    rows = base(store, TRANSFERS)
    return word(rows, row, 15) + timeout_of(rows, row) * NANOSECONDS


@part
def await_fate(store: int, row: int) -> None:
    """Let a new transfer be pending, and expire if it has a timeout."""
    decide(store, row, PENDING_FATE)
    rows = base(store, TRANSFERS)
    if timeout_of(rows, row) != ZERO:
        heap.push(store, expires_at(store, row), word(rows, row, 15), row)


@part
def reserve(store: int, debit: int, credit: int, at: int, low: Any, high: Any) -> None:
    """Add to the debits of one account and the credits of another; `at` 2 pending, 4 posted."""
    rows = base(store, ACCOUNTS)
    increase(rows, debit, at, low, high)
    increase(rows, credit, at + 4, low, high)
    touch(store, debit)
    touch(store, credit)


@part
def release(store: int, pending: int) -> None:
    """Take a pending transfer's amount off both accounts' pending balances."""
    debit = transfer_note(store, pending, DEBIT)
    credit = transfer_note(store, pending, CREDIT)
    transfers, rows = base(store, TRANSFERS), base(store, ACCOUNTS)
    low, high = word(transfers, pending, 6), word(transfers, pending, 7)
    decrease(rows, debit, 2, low, high)
    decrease(rows, credit, 6, low, high)
    touch(store, debit)
    touch(store, credit)


@part
def _set_closed(store: int, account: int, closed: bool) -> None:
    rows = base(store, ACCOUNTS)
    kept = word(rows, account, 14)
    set_word(rows, account, 14, kept | CLOSED_BIT if closed else kept & ~CLOSED_BIT)


@part
def set_closed(store: int, row: int, flags: int, closed: bool) -> None:
    """Close or open again those of a transfer's accounts that its flags name."""
    if flags & CLOSING_DEBIT:
        _set_closed(store, transfer_note(store, row, DEBIT), closed)
    if flags & CLOSING_CREDIT:
        _set_closed(store, transfer_note(store, row, CREDIT), closed)


@part
def note_moment(store: int, row: int, timestamp: Any, kind: int) -> int:
    """Remember a movement of a transfer and how both accounts stand now; return its row."""
    place, rows = count(store, MOMENTS), base(store, ACCOUNTS)
    moment = base(store, MOMENTS) + place * _MOMENT_WORDS * 8
    debit, credit = transfer_note(store, row, DEBIT), transfer_note(store, row, CREDIT)
    for at in range(8):
        keep(moment, at, word(rows, debit, 2 + at))
        keep(moment, 8 + at, word(rows, credit, 2 + at))
    keep(moment, 16, timestamp)
    keep(moment, 17, U(row))
    both = word(rows, debit, 14) >> S48 | (word(rows, credit, 14) >> S48) << S16
    keep(moment, 18, both | U(kind) << S32)
    keep(moment, 19, ZERO)
    set_count(store, MOMENTS, place + 1)
    return place


@part
def take_back(store: int) -> None:
    """Undo all that the open chain did, the last first."""
    while count(store, UNDO) > 0:
        set_count(store, UNDO, count(store, UNDO) - 1)
        undo = base(store, UNDO) + count(store, UNDO) * _UNDO_WORDS * 8
        if load(undo, 0) == U(_ACCOUNT):
            row, rows = count(store, ACCOUNTS) - 1, base(store, ACCOUNTS)
            low, high = word(rows, row, 0), word(rows, row, 1)
            take(store, ACCOUNT_SLOTS, ACCOUNT_MASK, low, high, U(row + 1))
            set_count(store, ACCOUNTS, row)
        else:
            _take_transfer(store, undo)


@part
def _take_transfer(store: int, undo: int) -> None:
    row, rows = count(store, TRANSFERS) - 1, base(store, TRANSFERS)
    low, high = word(rows, row, 0), word(rows, row, 1)
    take(store, TRANSFER_SLOTS, TRANSFER_MASK, low, high, U(row + 1))
    debit, credit = np.int64(load(undo, 1)), np.int64(load(undo, 2))
    note_account(store, debit, NEWEST, transfer_note(store, row, BEFORE_DEBIT))
    note_account(store, credit, NEWEST, transfer_note(store, row, BEFORE_CREDIT))
    accounts = base(store, ACCOUNTS)
    set_word(accounts, debit, 14, load(undo, 4))
    set_word(accounts, credit, 14, load(undo, 5))
    for at in range(8):
        set_word(accounts, debit, 2 + at, load(undo, 6 + at))
        set_word(accounts, credit, 2 + at, load(undo, 14 + at))
    pending = np.int64(load(undo, 3)) - 1
    if pending >= 0:
        note_transfer(store, pending, FATE, PENDING_FATE)
    note_transfer(store, row, FATE, NONE)
    set_count(store, TRANSFERS, row)
    set_count(store, MOMENTS, count(store, MOMENTS) - 1)
