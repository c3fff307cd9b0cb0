"""The rules of posting and voiding; see `kernel.ledger.two_phase`."""

from __future__ import annotations

from typing import Any

from skerry.kernel.ledger.records import Change
from skerry.kernel.ledger.statuses import TransferStatus as S
from skerry.kinds.ledger.compiled.accounts import has_timestamp, newest
from skerry.kinds.ledger.compiled.changes import (
    add_transfer,
    decide,
    flags_of,
    note_moment,
    note_undo,
    release,
    reserve,
    set_closed,
    timeout_of,
)
from skerry.kinds.ledger.compiled.jit import part
from skerry.kinds.ledger.compiled.layout import (
    ACCOUNTS,
    BALANCING_CREDIT,
    BALANCING_DEBIT,
    CLOSED,
    CLOSING_CREDIT,
    CLOSING_DEBIT,
    CREATED,
    CREDIT,
    DEBIT,
    EXPIRED_FATE,
    FATE,
    IMPORTED,
    IN_CHAIN,
    LOW16,
    LOW32,
    LOW48,
    MOMENT,
    NANOSECONDS,
    PENDING,
    POST,
    POSTED_FATE,
    S32,
    S48,
    TRANSFERS,
    VOID,
    VOIDED_FATE,
    ZERO,
    U,
)
from skerry.kinds.ledger.compiled.memory import base, count, set_word, word
from skerry.kinds.ledger.compiled.notes import note_transfer, transfer_note
from skerry.kinds.ledger.compiled.table import find_transfer
from skerry.kinds.ledger.compiled.wide import below, is_max, is_zero, same

EXCLUSIVE = int(S.FLAGS_ARE_MUTUALLY_EXCLUSIVE)
PENDING_ZERO = int(S.PENDING_ID_MUST_NOT_BE_ZERO)
PENDING_MAX = int(S.PENDING_ID_MUST_NOT_BE_INT_MAX)
PENDING_SAME = int(S.PENDING_ID_MUST_BE_DIFFERENT)
TIMEOUT_RESERVED = int(S.TIMEOUT_RESERVED_FOR_PENDING_TRANSFER)
NOT_FOUND = int(S.PENDING_TRANSFER_NOT_FOUND)
NOT_PENDING = int(S.PENDING_TRANSFER_NOT_PENDING)
OTHER_DEBIT = int(S.PENDING_TRANSFER_HAS_DIFFERENT_DEBIT_ACCOUNT_ID)
OTHER_CREDIT = int(S.PENDING_TRANSFER_HAS_DIFFERENT_CREDIT_ACCOUNT_ID)
OTHER_LEDGER = int(S.PENDING_TRANSFER_HAS_DIFFERENT_LEDGER)
OTHER_CODE = int(S.PENDING_TRANSFER_HAS_DIFFERENT_CODE)
EXCEEDS = int(S.EXCEEDS_PENDING_TRANSFER_AMOUNT)
OTHER_AMOUNT = int(S.PENDING_TRANSFER_HAS_DIFFERENT_AMOUNT)
POSTED = int(S.PENDING_TRANSFER_ALREADY_POSTED)
VOIDED = int(S.PENDING_TRANSFER_ALREADY_VOIDED)
EXPIRED = int(S.PENDING_TRANSFER_EXPIRED)
REGRESSES = int(S.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS)
DEBIT_CLOSED = int(S.DEBIT_ACCOUNT_ALREADY_CLOSED)
CREDIT_CLOSED = int(S.CREDIT_ACCOUNT_ALREADY_CLOSED)
EXISTS = int(S.EXISTS)
DIFFERENT_DEBIT = int(S.EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID)
DIFFERENT_CREDIT = int(S.EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID)
DIFFERENT_AMOUNT = int(S.EXISTS_WITH_DIFFERENT_AMOUNT)
DIFFERENT_128 = int(S.EXISTS_WITH_DIFFERENT_USER_DATA_128)
DIFFERENT_64 = int(S.EXISTS_WITH_DIFFERENT_USER_DATA_64)
DIFFERENT_32 = int(S.EXISTS_WITH_DIFFERENT_USER_DATA_32)
DIFFERENT_LEDGER = int(S.EXISTS_WITH_DIFFERENT_LEDGER)
DIFFERENT_CODE = int(S.EXISTS_WITH_DIFFERENT_CODE)
POSTS, VOIDS = int(Change.TWO_PHASE_POSTED), int(Change.TWO_PHASE_VOIDED)
_EXCLUDED = PENDING | BALANCING_DEBIT | BALANCING_CREDIT | CLOSING_DEBIT | CLOSING_CREDIT


@part
def _shape(event: int, index: int, flags: int) -> int:
    if (flags & POST and flags & VOID) or flags & _EXCLUDED:
        return EXCLUSIVE
    if is_zero(event, index, 8):
        return PENDING_ZERO
    if is_max(event, index, 8):
        return PENDING_MAX
    if same(event, index, 8, event, index, 0):
        return PENDING_SAME
    if timeout_of(event, index) != ZERO:
        return TIMEOUT_RESERVED
    return 0


@part
def _amount(event: int, index: int, flags: int, rows: int, pending: int) -> Any:
    """Return what is posted or voided; the largest number posts all, zero voids all."""
    everything = is_max(event, index, 6) if flags & POST else is_zero(event, index, 6)
    if everything:
        return word(rows, pending, 6), word(rows, pending, 7)
    return word(event, index, 6), word(event, index, 7)


@part
def _differs(event: int, index: int, place: int, rows: int, row: int) -> bool:
    """Tell whether an account is named and is another one."""
    return not is_zero(event, index, place) and not same(event, index, place, rows, row, place)


@part
def _other(value: Any, wanted: Any) -> bool:
    return value not in (ZERO, wanted)


@part
def _fits(event: int, index: int, flags: int, rows: int, pending: int) -> int:
    """Return why a transfer does not fit the pending one, or 0."""
    if not flags_of(rows, pending) & PENDING:
        return NOT_PENDING
    if _differs(event, index, 2, rows, pending):
        return OTHER_DEBIT
    if _differs(event, index, 4, rows, pending):
        return OTHER_CREDIT
    if _other(word(event, index, 14) & LOW32, word(rows, pending, 14) & LOW32):
        return OTHER_LEDGER
    if _other((word(event, index, 14) >> S32) & LOW16, (word(rows, pending, 14) >> S32) & LOW16):
        return OTHER_CODE
    low, high = _amount(event, index, flags, rows, pending)
    if below(word(rows, pending, 6), word(rows, pending, 7), low, high):
        return EXCEEDS
    if flags & VOID and below(low, high, word(rows, pending, 6), word(rows, pending, 7)):
        return OTHER_AMOUNT
    return 0


@part
def _decided(store: int, pending: int, at: Any) -> int:
    fate = transfer_note(store, pending, FATE)
    if fate == POSTED_FATE:
        return POSTED
    if fate == VOIDED_FATE:
        return VOIDED
    if fate == EXPIRED_FATE:
        return EXPIRED
    timeout = timeout_of(base(store, TRANSFERS), pending)
    if timeout != ZERO and word(base(store, TRANSFERS), pending, 15) + timeout * NANOSECONDS <= at:
        return EXPIRED
    return 0


@part
def _allowed(store: int, event: int, index: int, flags: int, pending: int) -> int:
    """Return why time or a closed account forbid it, or 0."""
    if flags & IMPORTED:
        timestamp = word(event, index, 15)
        if timestamp <= newest(base(store, TRANSFERS), count(store, TRANSFERS)):
            return REGRESSES
        if has_timestamp(base(store, ACCOUNTS), count(store, ACCOUNTS), timestamp):
            return REGRESSES
    if flags & VOID:
        return 0
    if flags_of(base(store, ACCOUNTS), transfer_note(store, pending, DEBIT)) & CLOSED:
        return DEBIT_CLOSED
    if flags_of(base(store, ACCOUNTS), transfer_note(store, pending, CREDIT)) & CLOSED:
        return CREDIT_CLOSED
    return 0


@part
def create_second_phase(store: int, event: int, index: int, at: Any) -> Any:
    """Post or void a pending transfer; return the status and the timestamp of the result."""
    flags = flags_of(event, index)
    status = _shape(event, index, flags)
    if status:
        return status, at
    pending = find_transfer(store, word(event, index, 8), word(event, index, 9))
    if pending < 0:
        return NOT_FOUND, at
    status = _fits(event, index, flags, base(store, TRANSFERS), pending)
    if status == 0:
        status = _decided(store, pending, at)
    if status == 0:
        status = _allowed(store, event, index, flags, pending)
    if status:
        return status, at
    time = word(event, index, 15) if flags & IMPORTED else at
    debit, credit = transfer_note(store, pending, DEBIT), transfer_note(store, pending, CREDIT)
    if count(store, IN_CHAIN):
        note_undo(store, debit, credit, pending)
    row = count(store, TRANSFERS)
    _complete(store, event, index, flags, pending)
    add_transfer(store, debit, credit, time)
    release(store, pending)
    if flags & POST:
        decide(store, pending, POSTED_FATE)
        rows = base(store, TRANSFERS)
        reserve(store, debit, credit, 4, word(rows, row, 6), word(rows, row, 7))
    else:
        decide(store, pending, VOIDED_FATE)
        set_closed(store, pending, flags_of(base(store, TRANSFERS), pending), False)
    kind = POSTS if flags & POST else VOIDS
    note_transfer(store, row, MOMENT, note_moment(store, row, time, kind))
    return CREATED, time


@part
def _complete(store: int, event: int, index: int, flags: int, pending: int) -> None:
    """Fill the next row, with what the event leaves open taken from the pending transfer."""
    rows, row = base(store, TRANSFERS), count(store, TRANSFERS)
    low, high = _amount(event, index, flags, rows, pending)
    for place in range(15):
        set_word(rows, row, place, word(event, index, place))
    for place in range(2, 6):
        set_word(rows, row, place, word(rows, pending, place))
    set_word(rows, row, 6, low)
    set_word(rows, row, 7, high)
    if is_zero(event, index, 10):
        set_word(rows, row, 10, word(rows, pending, 10))
        set_word(rows, row, 11, word(rows, pending, 11))
    if word(event, index, 12) == ZERO:
        set_word(rows, row, 12, word(rows, pending, 12))
    data = word(event, index, 13) & LOW32
    set_word(rows, row, 13, data if data != ZERO else word(rows, pending, 13) & LOW32)
    set_word(rows, row, 14, word(rows, pending, 14) & LOW48 | U(flags) << S48)


@part
def second_phase_exists(store: int, event: int, index: int, row: int) -> int:
    """Return what differs from the transfer of the same id, flags and pending id, or EXISTS."""
    rows = base(store, TRANSFERS)
    pending = find_transfer(store, word(event, index, 8), word(event, index, 9))
    if _differs(event, index, 2, rows, row):
        return DIFFERENT_DEBIT
    if _differs(event, index, 4, rows, row):
        return DIFFERENT_CREDIT
    low, high = _amount(event, index, flags_of(event, index), rows, pending)
    if low != word(rows, row, 6) or high != word(rows, row, 7):
        return DIFFERENT_AMOUNT
    source, at = (rows, pending) if is_zero(event, index, 10) else (event, index)
    if not same(source, at, 10, rows, row, 10):
        return DIFFERENT_128
    return _other_words(event, index, rows, row, pending)


@part
def _other_words(event: int, index: int, rows: int, row: int, pending: int) -> int:
    value = word(event, index, 12) if word(event, index, 12) != ZERO else word(rows, pending, 12)
    if value != word(rows, row, 12):
        return DIFFERENT_64
    data = word(event, index, 13) & LOW32
    if data == ZERO:
        data = word(rows, pending, 13) & LOW32
    if data != word(rows, row, 13) & LOW32:
        return DIFFERENT_32
    if _other(word(event, index, 14) & LOW32, word(rows, row, 14) & LOW32):
        return DIFFERENT_LEDGER
    if _other((word(event, index, 14) >> S32) & LOW16, (word(rows, row, 14) >> S32) & LOW16):
        return DIFFERENT_CODE
    return EXISTS
