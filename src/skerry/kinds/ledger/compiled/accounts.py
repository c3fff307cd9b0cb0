"""The rules of accounts; see `kernel.ledger.accounts`."""

from __future__ import annotations

from typing import Any

from skerry.kernel.ledger.statuses import AccountStatus as S
from skerry.kinds.ledger.compiled.changes import add_account, flags_of
from skerry.kinds.ledger.compiled.jit import part
from skerry.kinds.ledger.compiled.layout import (
    ACCOUNT_FLAGS,
    ACCOUNT_IMPORTED,
    ACCOUNTS,
    CREATED,
    CREDITS_LIMITED,
    DEBITS_LIMITED,
    LOW16,
    LOW32,
    S32,
    TRANSFERS,
    ZERO,
)
from skerry.kinds.ledger.compiled.memory import base, count, word
from skerry.kinds.ledger.compiled.table import find_account
from skerry.kinds.ledger.compiled.wide import is_max, is_zero, same

RESERVED_FIELD, RESERVED_FLAG = int(S.RESERVED_FIELD), int(S.RESERVED_FLAG)
ID_ZERO, ID_MAX = int(S.ID_MUST_NOT_BE_ZERO), int(S.ID_MUST_NOT_BE_INT_MAX)
DIFFERENT_FLAGS = int(S.EXISTS_WITH_DIFFERENT_FLAGS)
DIFFERENT_128 = int(S.EXISTS_WITH_DIFFERENT_USER_DATA_128)
DIFFERENT_64 = int(S.EXISTS_WITH_DIFFERENT_USER_DATA_64)
DIFFERENT_32 = int(S.EXISTS_WITH_DIFFERENT_USER_DATA_32)
DIFFERENT_LEDGER = int(S.EXISTS_WITH_DIFFERENT_LEDGER)
DIFFERENT_CODE = int(S.EXISTS_WITH_DIFFERENT_CODE)
EXISTS = int(S.EXISTS)
EXCLUSIVE = int(S.FLAGS_ARE_MUTUALLY_EXCLUSIVE)
DEBITS_PENDING = int(S.DEBITS_PENDING_MUST_BE_ZERO)
DEBITS_POSTED = int(S.DEBITS_POSTED_MUST_BE_ZERO)
CREDITS_PENDING = int(S.CREDITS_PENDING_MUST_BE_ZERO)
CREDITS_POSTED = int(S.CREDITS_POSTED_MUST_BE_ZERO)
LEDGER_ZERO, CODE_ZERO = int(S.LEDGER_MUST_NOT_BE_ZERO), int(S.CODE_MUST_NOT_BE_ZERO)
REGRESSES = int(S.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS)
_BOTH = DEBITS_LIMITED | CREDITS_LIMITED


@part
def has_timestamp(rows: int, size: int, timestamp: Any) -> bool:
    """Tell whether one of the rows, which are in order, has a timestamp."""
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        if word(rows, middle, 15) < timestamp:
            low = middle + 1
        else:
            high = middle
    return bool(low < size and word(rows, low, 15) == timestamp)


@part
def newest(rows: int, size: int) -> Any:
    """Return the timestamp of the last row, or 0."""
    return word(rows, size - 1, 15) if size else ZERO


@part
def _exists(store: int, event: int, index: int, row: int) -> int:
    rows = base(store, ACCOUNTS)
    if flags_of(event, index) != flags_of(rows, row):
        return DIFFERENT_FLAGS
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


@part
def _is_new(event: int, index: int, flags: int) -> int:
    """Return what is wrong with a new account, or 0."""
    if flags & _BOTH == _BOTH:
        return EXCLUSIVE
    if not is_zero(event, index, 2):
        return DEBITS_PENDING
    if not is_zero(event, index, 4):
        return DEBITS_POSTED
    if not is_zero(event, index, 6):
        return CREDITS_PENDING
    if not is_zero(event, index, 8):
        return CREDITS_POSTED
    if word(event, index, 14) & LOW32 == ZERO:
        return LEDGER_ZERO
    if (word(event, index, 14) >> S32) & LOW16 == ZERO:
        return CODE_ZERO
    return 0


@part
def create_account(store: int, event: int, index: int, at: Any) -> Any:
    """Create an account; return the status and the timestamp of the result."""
    flags = flags_of(event, index)
    if word(event, index, 13) >> S32 != ZERO:
        return RESERVED_FIELD, at
    if flags & ~ACCOUNT_FLAGS:
        return RESERVED_FLAG, at
    if is_zero(event, index, 0):
        return ID_ZERO, at
    if is_max(event, index, 0):
        return ID_MAX, at
    row = find_account(store, word(event, index, 0), word(event, index, 1))
    if row >= 0:
        status = _exists(store, event, index, row)
        return status, word(base(store, ACCOUNTS), row, 15) if status == EXISTS else at
    status = _is_new(event, index, flags)
    if status:
        return status, at
    if flags & ACCOUNT_IMPORTED:
        timestamp = word(event, index, 15)
        if timestamp <= newest(base(store, ACCOUNTS), count(store, ACCOUNTS)) or has_timestamp(
            base(store, TRANSFERS), count(store, TRANSFERS), timestamp
        ):
            return REGRESSES, at
        at = timestamp
    add_account(store, event, index, at)
    return CREATED, at
