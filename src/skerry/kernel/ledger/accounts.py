"""The rules by which an account is created."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from skerry.kernel.ledger.records import U128_MAX, Account, AccountFlag, Result
from skerry.kernel.ledger.state import State
from skerry.kernel.ledger.statuses import AccountStatus as Status

IMPORTED = int(AccountFlag.IMPORTED)
KNOWN = 0b11_1111
_BOTH_LIMITS = int(
    AccountFlag.DEBITS_MUST_NOT_EXCEED_CREDITS | AccountFlag.CREDITS_MUST_NOT_EXCEED_DEBITS
)

Check = tuple[Status, Callable[[Account], object]]
Comparison = tuple[Status, Callable[[Account, Account], object]]

_WELL_FORMED: tuple[Check, ...] = (
    (Status.RESERVED_FIELD, lambda a: a.reserved != 0),
    (Status.RESERVED_FLAG, lambda a: a.flags & ~KNOWN),
    (Status.ID_MUST_NOT_BE_ZERO, lambda a: a.id == 0),
    (Status.ID_MUST_NOT_BE_INT_MAX, lambda a: a.id == U128_MAX),
)
_NEW: tuple[Check, ...] = (
    (Status.FLAGS_ARE_MUTUALLY_EXCLUSIVE, lambda a: a.flags & _BOTH_LIMITS == _BOTH_LIMITS),
    (Status.DEBITS_PENDING_MUST_BE_ZERO, lambda a: a.debits_pending),
    (Status.DEBITS_POSTED_MUST_BE_ZERO, lambda a: a.debits_posted),
    (Status.CREDITS_PENDING_MUST_BE_ZERO, lambda a: a.credits_pending),
    (Status.CREDITS_POSTED_MUST_BE_ZERO, lambda a: a.credits_posted),
    (Status.LEDGER_MUST_NOT_BE_ZERO, lambda a: a.ledger == 0),
    (Status.CODE_MUST_NOT_BE_ZERO, lambda a: a.code == 0),
)
_SAME: tuple[Comparison, ...] = (
    (Status.EXISTS_WITH_DIFFERENT_FLAGS, lambda a, e: a.flags != e.flags),
    (Status.EXISTS_WITH_DIFFERENT_USER_DATA_128, lambda a, e: a.user_data_128 != e.user_data_128),
    (Status.EXISTS_WITH_DIFFERENT_USER_DATA_64, lambda a, e: a.user_data_64 != e.user_data_64),
    (Status.EXISTS_WITH_DIFFERENT_USER_DATA_32, lambda a, e: a.user_data_32 != e.user_data_32),
    (Status.EXISTS_WITH_DIFFERENT_LEDGER, lambda a, e: a.ledger != e.ledger),
    (Status.EXISTS_WITH_DIFFERENT_CODE, lambda a, e: a.code != e.code),
)


def create(state: State, account: Account, at: int) -> Result:
    """Create an account at a moment, or tell why not."""
    for status, wrong in _WELL_FORMED:
        if wrong(account):
            return Result(at, status)
    existing = state.accounts.get(account.id)
    if existing is not None:
        return _exists(account, existing, at)
    for status, wrong in _NEW:
        if wrong(account):
            return Result(at, status)
    if account.flags & IMPORTED:
        if account.timestamp <= state.newest_account() or state.is_of_transfer(account.timestamp):
            return Result(at, Status.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS)
        at = account.timestamp
    state.add_account(msgspec.structs.replace(account, timestamp=at))
    return Result(at, Status.CREATED)


def _exists(account: Account, existing: Account, at: int) -> Result:
    for status, differs in _SAME:
        if differs(account, existing):
            return Result(at, status)
    return Result(existing.timestamp, Status.EXISTS)
