"""Whole batches, chains and expiry; see `kernel.ledger.machine`."""

from __future__ import annotations

from typing import Any

import numpy as np

from skerry.kernel.ledger.records import Change
from skerry.kernel.ledger.statuses import TRANSIENT, AccountStatus, TransferStatus
from skerry.kinds.ledger.compiled import heap
from skerry.kinds.ledger.compiled.accounts import create_account
from skerry.kinds.ledger.compiled.audit import BURNED_SALT, add_digest, check, pair_hash
from skerry.kinds.ledger.compiled.changes import (
    decide,
    expires_at,
    flags_of,
    note_moment,
    release,
    set_closed,
    take_back,
)
from skerry.kinds.ledger.compiled.jit import jit, part
from skerry.kinds.ledger.compiled.layout import (
    ACCOUNT_IMPORTED,
    ACCOUNT_MASK,
    ACCOUNT_SLOTS,
    ACCOUNTS,
    CREATED,
    EXPIRED_FATE,
    FETCHED,
    IMPORTED,
    IN_CHAIN,
    LINKED,
    LOW32,
    ONE,
    TIME_MAX,
    TRANSFER_MASK,
    TRANSFER_SLOTS,
    TRANSFERS,
    UNDO,
    ZERO,
    U,
)
from skerry.kinds.ledger.compiled.memory import base, count, keep, load, set_count, word
from skerry.kinds.ledger.compiled.table import burn, id_hash
from skerry.kinds.ledger.compiled.transfers import create_transfer

_OF_ACCOUNTS = (
    int(AccountStatus.IMPORTED_EVENT_NOT_EXPECTED),
    int(AccountStatus.IMPORTED_EVENT_EXPECTED),
    int(AccountStatus.IMPORTED_EVENT_TIMESTAMP_OUT_OF_RANGE),
    int(AccountStatus.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_ADVANCE),
)
_OF_TRANSFERS = (
    int(TransferStatus.IMPORTED_EVENT_NOT_EXPECTED),
    int(TransferStatus.IMPORTED_EVENT_EXPECTED),
    int(TransferStatus.IMPORTED_EVENT_TIMESTAMP_OUT_OF_RANGE),
    int(TransferStatus.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_ADVANCE),
)
CHAIN_OPEN = int(TransferStatus.LINKED_EVENT_CHAIN_OPEN)
CHAIN_FAILED = int(TransferStatus.LINKED_EVENT_FAILED)
NOT_ZERO = int(TransferStatus.TIMESTAMP_MUST_BE_ZERO)
_TRANSIENT = tuple(sorted(int(status) for status in TRANSIENT))
AHEAD = 64
EXPIRES = int(Change.TWO_PHASE_EXPIRED)


@part
def _refusal(event: int, index: int, imported: bool, imports: bool, timestamp: Any, of: Any) -> int:
    """Return why an event that no chain breaks is not even tried, or 0."""
    if imported != imports:
        return of[0] if imported else of[1]
    if not imported:
        return NOT_ZERO if word(event, index, 15) != ZERO else 0
    if word(event, index, 15) == ZERO or word(event, index, 15) > TIME_MAX:
        return of[2]
    if word(event, index, 15) >= timestamp:
        return of[3]
    return 0


@part
def _open_chain(store: int, index: int) -> int:
    set_count(store, IN_CHAIN, 1)
    return index


@part
def _close_chain(store: int) -> None:
    set_count(store, UNDO, 0)
    set_count(store, IN_CHAIN, 0)


@part
def _break_chain(store: int, results: int, chain: int, index: int) -> None:
    """Take back what a chain did, and let its events so far have failed."""
    take_back(store)
    _close_chain(store)
    for failed in range(chain, index):
        keep(results, failed * 2 + 1, U(CHAIN_FAILED))


@part
def _create(store: int, event: int, index: int, at: Any, of_transfers: bool) -> Any:
    if of_transfers:
        return create_transfer(store, event, index, at)
    return create_account(store, event, index, at)


@part
def _burn(store: int, event: int, index: int, status: int) -> None:
    """Let the id of a transfer fail for ever if it failed for a reason that may pass."""
    if status in _TRANSIENT:
        low, high = word(event, index, 0), word(event, index, 1)
        burn(store, low, high)
        add_digest(store, pair_hash(low, high, BURNED_SALT), ZERO)


@part
def _one(
    store: int, event: int, index: int, at: Any, timestamp: Any, imports: bool, of_transfers: bool
) -> Any:
    """Try an event that no chain breaks; return the status and the timestamp of the result."""
    flag = IMPORTED if of_transfers else ACCOUNT_IMPORTED
    of = _OF_TRANSFERS if of_transfers else _OF_ACCOUNTS
    imported = (flags_of(event, index) & flag) != 0
    status = _refusal(event, index, imported, imports, timestamp, of)
    if status:
        return status, at
    return _create(store, event, index, at, of_transfers)


@part
def _fetch(store: int, event: int, start: int, stop: int) -> None:
    """Touch what the next transfers will look up, all at once, so that memory answers in parallel.

    One after the other, each would wait for a cache miss or two of its own.
    """
    slots, mask = base(store, TRANSFER_SLOTS), load(store, TRANSFER_MASK)
    places, size = base(store, ACCOUNT_SLOTS), load(store, ACCOUNT_MASK)
    rows = base(store, ACCOUNTS)
    touched = ZERO
    for index in range(start, stop):
        low, high = word(event, index, 0), word(event, index, 1)
        touched ^= load(slots, np.int64(id_hash(store, low, high) & mask))
        for at in (2, 4):
            low, high = word(event, index, at), word(event, index, at + 1)
            slot = load(places, np.int64(id_hash(store, low, high) & size)) & LOW32
            if slot != ZERO:
                touched ^= word(rows, np.int64(slot - ONE), 9)
    keep(store, FETCHED, touched)


@jit
def run(store: int, event: int, size: int, timestamp: Any, results: int, of_transfers: bool) -> int:
    """Carry out a batch of accounts or transfers; return what the audit found broken, or 0."""
    before = count(store, TRANSFERS)
    flag = IMPORTED if of_transfers else ACCOUNT_IMPORTED
    imports = size > 0 and (flags_of(event, 0) & flag) != 0
    chain = -1
    broken = False
    for index in range(size):
        if of_transfers and index % AHEAD == 0:
            _fetch(store, event, index, min(index + AHEAD, size))
        linked = (flags_of(event, index) & LINKED) != 0
        at = timestamp - U(size - 1 - index)
        ends = not linked or index == size - 1
        if linked and chain < 0:
            chain = _open_chain(store, index)
        status, actual = (CHAIN_OPEN if linked and ends else CHAIN_FAILED), at
        if not broken and not (linked and ends):
            status, actual = _one(store, event, index, at, timestamp, imports, of_transfers)
        keep(results, index * 2, actual)
        keep(results, index * 2 + 1, U(status))
        if status != CREATED:
            if chain >= 0 and not broken:
                broken = True
                _break_chain(store, results, chain, index)
            if of_transfers:
                _burn(store, event, index, status)
        if ends and chain >= 0:
            _close_chain(store)
            chain, broken = -1, False
    return check(store, before)


@jit
def next_expiry(store: int) -> Any:
    """Return when the next pending transfer times out, or 0."""
    row = heap.first(store)
    return expires_at(store, row) if row >= 0 else ZERO


@jit
def expire(store: int, timestamp: Any, due: int, most: int) -> Any:
    """Expire up to `most` that timed out; return what is broken, and how many."""
    size = 0
    while size < most:
        row = heap.first(store)
        if row < 0 or expires_at(store, row) > timestamp:
            break
        decide(store, row, EXPIRED_FATE)
        keep(due, size, U(row))
        size += 1
    for index in range(size):
        row = np.int64(load(due, index))
        release(store, row)
        set_closed(store, row, flags_of(base(store, TRANSFERS), row), False)
        note_moment(store, row, timestamp - U(size - 1 - index), EXPIRES)
    return check(store, count(store, TRANSFERS)), size
