"""The rules of transfers; see `kernel.ledger.transfers`."""

from __future__ import annotations

from typing import Any

from skerry.kernel.ledger.records import Change
from skerry.kernel.ledger.statuses import TransferStatus as S
from skerry.kinds.ledger.compiled.accounts import has_timestamp, newest
from skerry.kinds.ledger.compiled.changes import (
    add_transfer,
    await_fate,
    flags_of,
    note_moment,
    note_undo,
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
    CREDITS_LIMITED,
    DEBITS_LIMITED,
    IMPORTED,
    IN_CHAIN,
    LOW16,
    LOW32,
    MOMENT,
    NANOSECONDS,
    PENDING,
    POST,
    S32,
    TIME_MAX,
    TRANSFER_FLAGS,
    TRANSFERS,
    VOID,
    ZERO,
)
from skerry.kinds.ledger.compiled.memory import base, count, set_word, word
from skerry.kinds.ledger.compiled.notes import note_transfer
from skerry.kinds.ledger.compiled.second import create_second_phase, second_phase_exists
from skerry.kinds.ledger.compiled.table import find_account, find_transfer
from skerry.kinds.ledger.compiled.wide import add, below, is_max, is_zero, room, same, sum_of

RESERVED_FLAG = int(S.RESERVED_FLAG)
ID_ZERO, ID_MAX = int(S.ID_MUST_NOT_BE_ZERO), int(S.ID_MUST_NOT_BE_INT_MAX)
ID_FAILED, EXISTS = int(S.ID_ALREADY_FAILED), int(S.EXISTS)
DIFFERENT_FLAGS = int(S.EXISTS_WITH_DIFFERENT_FLAGS)
DIFFERENT_PENDING = int(S.EXISTS_WITH_DIFFERENT_PENDING_ID)
DIFFERENT_TIMEOUT = int(S.EXISTS_WITH_DIFFERENT_TIMEOUT)
DIFFERENT_DEBIT = int(S.EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID)
DIFFERENT_CREDIT = int(S.EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID)
DIFFERENT_AMOUNT = int(S.EXISTS_WITH_DIFFERENT_AMOUNT)
DIFFERENT_128 = int(S.EXISTS_WITH_DIFFERENT_USER_DATA_128)
DIFFERENT_64 = int(S.EXISTS_WITH_DIFFERENT_USER_DATA_64)
DIFFERENT_32 = int(S.EXISTS_WITH_DIFFERENT_USER_DATA_32)
DIFFERENT_LEDGER = int(S.EXISTS_WITH_DIFFERENT_LEDGER)
DIFFERENT_CODE = int(S.EXISTS_WITH_DIFFERENT_CODE)
DEBIT_ZERO = int(S.DEBIT_ACCOUNT_ID_MUST_NOT_BE_ZERO)
DEBIT_MAX = int(S.DEBIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX)
CREDIT_ZERO = int(S.CREDIT_ACCOUNT_ID_MUST_NOT_BE_ZERO)
CREDIT_MAX = int(S.CREDIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX)
ACCOUNTS_SAME = int(S.ACCOUNTS_MUST_BE_DIFFERENT)
PENDING_NOT_ZERO = int(S.PENDING_ID_MUST_BE_ZERO)
TIMEOUT_RESERVED = int(S.TIMEOUT_RESERVED_FOR_PENDING_TRANSFER)
CLOSING_PENDING = int(S.CLOSING_TRANSFER_MUST_BE_PENDING)
LEDGER_ZERO, CODE_ZERO = int(S.LEDGER_MUST_NOT_BE_ZERO), int(S.CODE_MUST_NOT_BE_ZERO)
NO_DEBIT, NO_CREDIT = int(S.DEBIT_ACCOUNT_NOT_FOUND), int(S.CREDIT_ACCOUNT_NOT_FOUND)
LEDGERS_DIFFER = int(S.ACCOUNTS_MUST_HAVE_THE_SAME_LEDGER)
OTHER_LEDGER = int(S.TRANSFER_MUST_HAVE_THE_SAME_LEDGER_AS_ACCOUNTS)
REGRESSES = int(S.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS)
BEFORE_DEBIT = int(S.IMPORTED_EVENT_TIMESTAMP_MUST_POSTDATE_DEBIT_ACCOUNT)
BEFORE_CREDIT = int(S.IMPORTED_EVENT_TIMESTAMP_MUST_POSTDATE_CREDIT_ACCOUNT)
IMPORTED_TIMEOUT = int(S.IMPORTED_EVENT_TIMEOUT_MUST_BE_ZERO)
DEBIT_CLOSED = int(S.DEBIT_ACCOUNT_ALREADY_CLOSED)
CREDIT_CLOSED = int(S.CREDIT_ACCOUNT_ALREADY_CLOSED)
OVER_DEBITS_PENDING = int(S.OVERFLOWS_DEBITS_PENDING)
OVER_CREDITS_PENDING = int(S.OVERFLOWS_CREDITS_PENDING)
OVER_DEBITS_POSTED = int(S.OVERFLOWS_DEBITS_POSTED)
OVER_CREDITS_POSTED = int(S.OVERFLOWS_CREDITS_POSTED)
OVER_DEBITS, OVER_CREDITS = int(S.OVERFLOWS_DEBITS), int(S.OVERFLOWS_CREDITS)
OVER_TIMEOUT = int(S.OVERFLOWS_TIMEOUT)
EXCEEDS_CREDITS, EXCEEDS_DEBITS = int(S.EXCEEDS_CREDITS), int(S.EXCEEDS_DEBITS)
SINGLE, TWO_PHASE = int(Change.SINGLE_PHASE), int(Change.TWO_PHASE_PENDING)
_CLOSING = CLOSING_DEBIT | CLOSING_CREDIT
_BALANCING = BALANCING_DEBIT | BALANCING_CREDIT


@part
def create_transfer(store: int, event: int, index: int, at: Any) -> Any:
    """Create a transfer; return the status and the timestamp of the result."""
    flags = flags_of(event, index)
    if flags & ~TRANSFER_FLAGS:
        return RESERVED_FLAG, at
    if is_zero(event, index, 0):
        return ID_ZERO, at
    if is_max(event, index, 0):
        return ID_MAX, at
    row = find_transfer(store, word(event, index, 0), word(event, index, 1))
    if row >= 0:
        status = _exists(store, event, index, row, flags)
        return status, word(base(store, TRANSFERS), row, 15) if status == EXISTS else at
    if row == -2:
        return ID_FAILED, at
    if flags & (POST | VOID):
        return create_second_phase(store, event, index, at)
    status = _ids(event, index)
    if status == 0:
        status = _shape(event, index, flags)
    if status:
        return status, at
    return _between(store, event, index, flags, at)


@part
def _ids(event: int, index: int) -> int:
    if is_zero(event, index, 2):
        return DEBIT_ZERO
    if is_max(event, index, 2):
        return DEBIT_MAX
    if is_zero(event, index, 4):
        return CREDIT_ZERO
    if is_max(event, index, 4):
        return CREDIT_MAX
    if same(event, index, 2, event, index, 4):
        return ACCOUNTS_SAME
    return 0


@part
def _shape(event: int, index: int, flags: int) -> int:
    if not is_zero(event, index, 8):
        return PENDING_NOT_ZERO
    if not flags & PENDING:
        if timeout_of(event, index) != ZERO:
            return TIMEOUT_RESERVED
        if flags & _CLOSING:
            return CLOSING_PENDING
    if word(event, index, 14) & LOW32 == ZERO:
        return LEDGER_ZERO
    if (word(event, index, 14) >> S32) & LOW16 == ZERO:
        return CODE_ZERO
    return 0


@part
def _between(store: int, event: int, index: int, flags: int, at: Any) -> Any:
    """Create a well-formed new transfer between its accounts."""
    debit = find_account(store, word(event, index, 2), word(event, index, 3))
    if debit < 0:
        return NO_DEBIT, at
    credit = find_account(store, word(event, index, 4), word(event, index, 5))
    if credit < 0:
        return NO_CREDIT, at
    status = _fits(store, event, index, flags, debit, credit)
    if status:
        return status, at
    time = word(event, index, 15) if flags & IMPORTED else at
    low, high = _amount(store, event, index, flags, debit, credit)
    status = _overflow(store, flags, low, high, debit, credit)
    if status == 0 and time + timeout_of(event, index) * NANOSECONDS > TIME_MAX:
        status = OVER_TIMEOUT
    if status == 0:
        status = _limits(store, low, high, debit, credit)
    if status:
        return status, at
    if count(store, IN_CHAIN):
        note_undo(store, debit, credit, -1)
    row, rows = count(store, TRANSFERS), base(store, TRANSFERS)
    for place in range(15):
        set_word(rows, row, place, word(event, index, place))
    set_word(rows, row, 6, low)
    set_word(rows, row, 7, high)
    add_transfer(store, debit, credit, time)
    if flags & PENDING:
        await_fate(store, row)
        reserve(store, debit, credit, 2, low, high)
        set_closed(store, row, flags, True)
    else:
        reserve(store, debit, credit, 4, low, high)
    kind = TWO_PHASE if flags & PENDING else SINGLE
    note_transfer(store, row, MOMENT, note_moment(store, row, time, kind))
    return CREATED, time


@part
def _fits(store: int, event: int, index: int, flags: int, debit: int, credit: int) -> int:
    """Return why a transfer does not fit its accounts, or 0."""
    ledger = word(base(store, ACCOUNTS), debit, 14) & LOW32
    if ledger != word(base(store, ACCOUNTS), credit, 14) & LOW32:
        return LEDGERS_DIFFER
    if word(event, index, 14) & LOW32 != ledger:
        return OTHER_LEDGER
    if flags & IMPORTED:
        status = _import(store, event, index, debit, credit)
        if status:
            return status
    if flags_of(base(store, ACCOUNTS), debit) & CLOSED:
        return DEBIT_CLOSED
    if flags_of(base(store, ACCOUNTS), credit) & CLOSED:
        return CREDIT_CLOSED
    return 0


@part
def _import(store: int, event: int, index: int, debit: int, credit: int) -> int:
    timestamp = word(event, index, 15)
    if timestamp <= newest(base(store, TRANSFERS), count(store, TRANSFERS)):
        return REGRESSES
    if has_timestamp(base(store, ACCOUNTS), count(store, ACCOUNTS), timestamp):
        return REGRESSES
    if timestamp <= word(base(store, ACCOUNTS), debit, 15):
        return BEFORE_DEBIT
    if timestamp <= word(base(store, ACCOUNTS), credit, 15):
        return BEFORE_CREDIT
    if timeout_of(event, index) != ZERO:
        return IMPORTED_TIMEOUT
    return 0


@part
def _amount(store: int, event: int, index: int, flags: int, debit: int, credit: int) -> Any:
    """Return what is moved: for a balancing transfer no more than balances the account."""
    low, high = word(event, index, 6), word(event, index, 7)
    if flags & BALANCING_DEBIT:
        least, above = room(base(store, ACCOUNTS), debit, 8, 2)
        if below(least, above, low, high):
            low, high = least, above
    if flags & BALANCING_CREDIT:
        least, above = room(base(store, ACCOUNTS), credit, 4, 6)
        if below(least, above, low, high):
            low, high = least, above
    return low, high


@part
def _overflows(store: int, row: int, place: int, low: Any, high: Any) -> bool:
    rows = base(store, ACCOUNTS)
    _, _, over = add(word(rows, row, place), word(rows, row, place + 1), low, high)
    return over


@part
def _both_overflow(store: int, row: int, place: int, low: Any, high: Any) -> bool:
    """Tell whether pending and posted together would overflow."""
    total, above, _ = sum_of(base(store, ACCOUNTS), row, place)
    _, _, over = add(total, above, low, high)
    return over


@part
def _overflow(store: int, flags: int, low: Any, high: Any, debit: int, credit: int) -> int:
    if flags & PENDING:
        if _overflows(store, debit, 2, low, high):
            return OVER_DEBITS_PENDING
        if _overflows(store, credit, 6, low, high):
            return OVER_CREDITS_PENDING
    if _overflows(store, debit, 4, low, high):
        return OVER_DEBITS_POSTED
    if _overflows(store, credit, 8, low, high):
        return OVER_CREDITS_POSTED
    if _both_overflow(store, debit, 2, low, high):
        return OVER_DEBITS
    if _both_overflow(store, credit, 6, low, high):
        return OVER_CREDITS
    return 0


@part
def _exceeds(store: int, row: int, pending: int, whole: int, low: Any, high: Any) -> bool:
    """Tell whether one side of an account with an amount more would exceed the other's posted."""
    rows = base(store, ACCOUNTS)
    total, above, _ = sum_of(rows, row, pending)
    total, above, _ = add(total, above, low, high)
    return below(word(rows, row, whole), word(rows, row, whole + 1), total, above)


@part
def _limits(store: int, low: Any, high: Any, debit: int, credit: int) -> int:
    limited = flags_of(base(store, ACCOUNTS), debit) & DEBITS_LIMITED
    if limited and _exceeds(store, debit, 2, 8, low, high):
        return EXCEEDS_CREDITS
    limited = flags_of(base(store, ACCOUNTS), credit) & CREDITS_LIMITED
    if limited and _exceeds(store, credit, 6, 4, low, high):
        return EXCEEDS_DEBITS
    return 0


@part
def _exists(store: int, event: int, index: int, row: int, flags: int) -> int:
    rows = base(store, TRANSFERS)
    if flags != flags_of(rows, row):
        return DIFFERENT_FLAGS
    if not same(event, index, 8, rows, row, 8):
        return DIFFERENT_PENDING
    if timeout_of(event, index) != timeout_of(rows, row):
        return DIFFERENT_TIMEOUT
    if flags & (POST | VOID):
        return second_phase_exists(store, event, index, row)
    if not same(event, index, 2, rows, row, 2):
        return DIFFERENT_DEBIT
    if not same(event, index, 4, rows, row, 4):
        return DIFFERENT_CREDIT
    if _other_amount(event, index, rows, row, flags):
        return DIFFERENT_AMOUNT
    return _other_data(event, index, rows, row)


@part
def _other_amount(event: int, index: int, rows: int, row: int, flags: int) -> bool:
    """Tell whether the amount is not the same; a balancing transfer names a limit."""
    if flags & _BALANCING:
        return below(
            word(event, index, 6), word(event, index, 7), word(rows, row, 6), word(rows, row, 7)
        )
    return not same(event, index, 6, rows, row, 6)


@part
def _other_data(event: int, index: int, rows: int, row: int) -> int:
    if not same(event, index, 10, rows, row, 10):
        return DIFFERENT_128
    if word(event, index, 12) != word(rows, row, 12):
        return DIFFERENT_64
    if word(event, index, 13) & LOW32 != word(rows, row, 13) & LOW32:
        return DIFFERENT_32
    if word(event, index, 14) & LOW32 != word(rows, row, 14) & LOW32:
        return DIFFERENT_LEDGER
    if (word(event, index, 14) >> S32) & LOW16 != (word(rows, row, 14) >> S32) & LOW16:
        return DIFFERENT_CODE
    return EXISTS
