"""What must hold after every batch, and the digest; see `kernel.ledger.audit` and `digest`."""

from __future__ import annotations

from typing import Any

import numpy as np

from skerry.kernel.ledger import digest
from skerry.kinds.ledger.compiled.changes import flags_of
from skerry.kinds.ledger.compiled.jit import part
from skerry.kinds.ledger.compiled.layout import (
    ACCOUNT_NOTES,
    ACCOUNTS,
    CREDITS_LIMITED,
    DEBITS_LIMITED,
    DECIDED,
    DIGEST,
    FATE,
    HASH,
    IS_TOUCHED,
    LEDGER,
    LEDGER_MASK,
    LEDGER_SLOTS,
    LEDGERS,
    LOW32,
    NONE,
    ONE,
    SEEN,
    SEEN_FATE,
    TOUCHED,
    TRANSFERS,
    ZERO,
    U,
)
from skerry.kinds.ledger.compiled.memory import base, count, keep, load, set_count, word
from skerry.kinds.ledger.compiled.notes import (
    account_note,
    note_account,
    note_transfer,
    transfer_note,
)
from skerry.kinds.ledger.compiled.table import mixed
from skerry.kinds.ledger.compiled.wide import add, below, subtract, sum_of

ACCOUNT_SALT, TRANSFER_SALT = U(digest.ACCOUNT), U(digest.TRANSFER)
PENDING_SALT, BURNED_SALT = U(digest.PENDING), U(digest.BURNED)
KEYS = tuple(U(key) for key in digest.KEYS)
_NOTES, _LEDGER = 12, 5

OVERFLOW, EXCEEDS, UNBALANCED, REGRESSES = 1, 2, 3, 4
"""What `check` returns where something that always holds does not; 0 is well."""


@part
def add_digest(store: int, fresh: Any, old: Any) -> None:
    """Put a row's hash into the digest in place of its old one."""
    keep(store, DIGEST, load(store, DIGEST) + fresh - old)


@part
def row_hash(rows: int, row: int, salt: Any) -> Any:
    """Return the hash of a row of 16 words."""
    total = salt
    for place in range(16):
        total += word(rows, row, place) * KEYS[place]
    return mixed(total)


@part
def pair_hash(first: Any, second: Any, salt: Any) -> Any:
    """Return the hash of a row of two words."""
    return mixed(salt + first * KEYS[0] + second * KEYS[1])


@part
def _ledger(store: int, account: int) -> int:
    """Return the place of an account's ledger, entering it if it is new."""
    number = word(base(store, ACCOUNTS), account, 14) & LOW32
    slots, mask, ledgers = base(store, LEDGER_SLOTS), load(store, LEDGER_MASK), base(store, LEDGERS)
    at = mixed(number) & mask
    while load(slots, np.int64(at)) != ZERO:
        place = np.int64(load(slots, np.int64(at)) - ONE)
        if load(ledgers, place * _LEDGER) == number:
            return place
        at = (at + ONE) & mask
    place = count(store, LEDGERS)
    set_count(store, LEDGERS, place + 1)
    keep(ledgers, place * _LEDGER, number)
    for at_word in range(1, _LEDGER):
        keep(ledgers, place * _LEDGER + at_word, ZERO)
    keep(slots, np.int64(at), U(place + 1))
    return place


@part
def _difference(store: int, account: int, ledger: int, debits: int) -> None:
    """Add how much more debits than credits grew to a ledger's difference."""
    rows = base(store, ACCOUNTS)
    seen = base(store, ACCOUNT_NOTES) + (account * _NOTES + SEEN) * 8
    low, high = load(ledger, 1 + debits), load(ledger, 2 + debits)
    low, high, _ = add(low, high, word(rows, account, 2 + debits), word(rows, account, 3 + debits))
    low, high = subtract(low, high, load(seen, debits), load(seen, debits + 1))
    low, high = subtract(
        low, high, word(rows, account, 6 + debits), word(rows, account, 7 + debits)
    )
    low, high, _ = add(low, high, load(seen, debits + 4), load(seen, debits + 5))
    keep(ledger, 1 + debits, low)
    keep(ledger, 2 + debits, high)


@part
def _bounds(store: int, account: int) -> int:
    rows = base(store, ACCOUNTS)
    flags = flags_of(rows, account)
    low, high, over = sum_of(rows, account, 2)
    if over:
        return OVERFLOW
    limited = flags & DEBITS_LIMITED
    if limited and below(word(rows, account, 8), word(rows, account, 9), low, high):
        return EXCEEDS
    low, high, over = sum_of(rows, account, 6)
    if over:
        return OVERFLOW
    limited = flags & CREDITS_LIMITED
    if limited and below(word(rows, account, 4), word(rows, account, 5), low, high):
        return EXCEEDS
    return 0


@part
def _account(store: int, account: int) -> int:
    rows = base(store, ACCOUNTS)
    place = account_note(store, account, LEDGER) - 1
    if place < 0:
        place = _ledger(store, account)
        note_account(store, account, LEDGER, place + 1)
    ledger = base(store, LEDGERS) + place * _LEDGER * 8
    _difference(store, account, ledger, 0)
    _difference(store, account, ledger, 2)
    notes = base(store, ACCOUNT_NOTES) + account * _NOTES * 8
    for at in range(8):
        keep(notes, SEEN + at, word(rows, account, 2 + at))
    fresh = row_hash(rows, account, ACCOUNT_SALT)
    add_digest(store, fresh, load(notes, HASH))
    keep(notes, HASH, fresh)
    return _bounds(store, account)


@part
def _is_balanced(store: int, place: int) -> bool:
    ledger = base(store, LEDGERS) + place * _LEDGER * 8
    return load(ledger, 1) | load(ledger, 2) | load(ledger, 3) | load(ledger, 4) == ZERO


@part
def _accounts(store: int) -> int:
    """Audit the accounts that the batch touched; those of a chain that broke are gone."""
    status = 0
    touched, size = base(store, TOUCHED), count(store, TOUCHED)
    for at in range(size):
        account = np.int64(load(touched, at))
        note_account(store, account, IS_TOUCHED, 0)
        if account < count(store, ACCOUNTS):
            status = max(status, _account(store, account))
    for at in range(size):
        place = account_note(store, np.int64(load(touched, at)), LEDGER) - 1
        if place >= 0 and not _is_balanced(store, place):
            status = UNBALANCED
    set_count(store, TOUCHED, 0)
    return status


@part
def _fate(store: int, row: int) -> None:
    """Put the fate of a pending transfer into the digest in place of the one seen before."""
    fate, seen = transfer_note(store, row, FATE), transfer_note(store, row, SEEN_FATE)
    timestamp = word(base(store, TRANSFERS), row, 15)
    if fate != seen:
        old = pair_hash(timestamp, U(seen), PENDING_SALT) if seen != NONE else ZERO
        add_digest(store, pair_hash(timestamp, U(fate), PENDING_SALT), old)
        note_transfer(store, row, SEEN_FATE, fate)


@part
def check(store: int, first: int) -> int:
    """Audit what a batch changed, whose transfers begin at a row; return what is broken, or 0."""
    status = _accounts(store)
    rows, size = base(store, TRANSFERS), count(store, TRANSFERS)
    for row in range(first, size):
        if row > 0 and word(rows, row, 15) <= word(rows, row - 1, 15):
            status = REGRESSES
        add_digest(store, row_hash(rows, row, TRANSFER_SALT), ZERO)
    decided = base(store, DECIDED)
    for at in range(count(store, DECIDED)):
        row = np.int64(load(decided, at))
        if row < size:
            _fate(store, row)
    set_count(store, DECIDED, 0)
    return status
