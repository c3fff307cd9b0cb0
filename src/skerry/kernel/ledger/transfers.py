"""The rules by which a transfer is created, in their order of precedence."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from skerry.kernel.ledger.records import (
    TIME_MAX,
    U128_MAX,
    Account,
    AccountFlag,
    Change,
    Result,
    Transfer,
    TransferFlag,
)
from skerry.kernel.ledger.state import NANOSECONDS, State
from skerry.kernel.ledger.statuses import TransferStatus as Status
from skerry.kernel.ledger.two_phase import create_second_phase, second_phase_exists

IMPORTED = int(TransferFlag.IMPORTED)
KNOWN = 0b1_1111_1111
PENDING = int(TransferFlag.PENDING)
SECOND_PHASE = int(TransferFlag.POST_PENDING_TRANSFER | TransferFlag.VOID_PENDING_TRANSFER)
BALANCING_DEBIT = int(TransferFlag.BALANCING_DEBIT)
BALANCING_CREDIT = int(TransferFlag.BALANCING_CREDIT)
CLOSING = int(TransferFlag.CLOSING_DEBIT | TransferFlag.CLOSING_CREDIT)
CLOSED = int(AccountFlag.CLOSED)
DEBITS_LIMITED = int(AccountFlag.DEBITS_MUST_NOT_EXCEED_CREDITS)
CREDITS_LIMITED = int(AccountFlag.CREDITS_MUST_NOT_EXCEED_DEBITS)

Check = tuple[Status, Callable[[Transfer], object]]
Comparison = tuple[Status, Callable[[Transfer, Transfer], object]]

_WELL_FORMED: tuple[Check, ...] = (
    (Status.DEBIT_ACCOUNT_ID_MUST_NOT_BE_ZERO, lambda t: t.debit_account_id == 0),
    (Status.DEBIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX, lambda t: t.debit_account_id == U128_MAX),
    (Status.CREDIT_ACCOUNT_ID_MUST_NOT_BE_ZERO, lambda t: t.credit_account_id == 0),
    (Status.CREDIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX, lambda t: t.credit_account_id == U128_MAX),
    (Status.ACCOUNTS_MUST_BE_DIFFERENT, lambda t: t.debit_account_id == t.credit_account_id),
    (Status.PENDING_ID_MUST_BE_ZERO, lambda t: t.pending_id),
    (
        Status.TIMEOUT_RESERVED_FOR_PENDING_TRANSFER,
        lambda t: t.timeout and not t.flags & PENDING,
    ),
    (
        Status.CLOSING_TRANSFER_MUST_BE_PENDING,
        lambda t: t.flags & CLOSING and not t.flags & PENDING,
    ),
    (Status.LEDGER_MUST_NOT_BE_ZERO, lambda t: t.ledger == 0),
    (Status.CODE_MUST_NOT_BE_ZERO, lambda t: t.code == 0),
)
_SAME: tuple[Comparison, ...] = (
    (
        Status.EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID,
        lambda t, e: t.debit_account_id != e.debit_account_id,
    ),
    (
        Status.EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID,
        lambda t, e: t.credit_account_id != e.credit_account_id,
    ),
    # A balancing transfer names a limit, and moved at most that much.
    (
        Status.EXISTS_WITH_DIFFERENT_AMOUNT,
        lambda t, e: t.amount < e.amount if _balances(t) else t.amount != e.amount,
    ),
    (Status.EXISTS_WITH_DIFFERENT_USER_DATA_128, lambda t, e: t.user_data_128 != e.user_data_128),
    (Status.EXISTS_WITH_DIFFERENT_USER_DATA_64, lambda t, e: t.user_data_64 != e.user_data_64),
    (Status.EXISTS_WITH_DIFFERENT_USER_DATA_32, lambda t, e: t.user_data_32 != e.user_data_32),
    (Status.EXISTS_WITH_DIFFERENT_LEDGER, lambda t, e: t.ledger != e.ledger),
    (Status.EXISTS_WITH_DIFFERENT_CODE, lambda t, e: t.code != e.code),
)


def create(state: State, transfer: Transfer, at: int) -> Result:
    """Create a transfer at a moment, or tell why not."""
    if transfer.flags & ~KNOWN:
        return Result(at, Status.RESERVED_FLAG)
    if transfer.id == 0:
        return Result(at, Status.ID_MUST_NOT_BE_ZERO)
    if transfer.id == U128_MAX:
        return Result(at, Status.ID_MUST_NOT_BE_INT_MAX)
    existing = state.transfers.get(transfer.id)
    if existing is not None:
        return _exists(state, transfer, existing, at)
    if transfer.id in state.burned:
        return Result(at, Status.ID_ALREADY_FAILED)
    if transfer.flags & SECOND_PHASE:
        return create_second_phase(state, transfer, at)
    for status, wrong in _WELL_FORMED:
        if wrong(transfer):
            return Result(at, status)
    return _between(state, transfer, at)


def _between(state: State, transfer: Transfer, at: int) -> Result:
    """Create a well-formed new transfer between its accounts."""
    debit = state.accounts.get(transfer.debit_account_id)
    credit = state.accounts.get(transfer.credit_account_id)
    if debit is None:
        return Result(at, Status.DEBIT_ACCOUNT_NOT_FOUND)
    if credit is None:
        return Result(at, Status.CREDIT_ACCOUNT_NOT_FOUND)
    event_time = at
    if transfer.flags & IMPORTED:
        at = transfer.timestamp
    amount = _amount(transfer, debit, credit)
    status = (
        _ledgers(transfer, debit, credit)
        or _import(state, transfer, debit, credit)
        or _closed(debit, credit)
        or _overflow(transfer, amount, debit, credit, at)
        or _limits(amount, debit, credit)
    )
    if status:
        return Result(event_time, status)
    created = msgspec.structs.replace(transfer, amount=amount, timestamp=at)
    state.add_transfer(created)
    if created.flags & PENDING:
        state.move(created, pending=amount, close=True)
        state.note(at, Change.TWO_PHASE_PENDING, created)
    else:
        state.move(created, posted=amount)
        state.note(at, Change.SINGLE_PHASE, created)
    return Result(at, Status.CREATED)


def _ledgers(transfer: Transfer, debit: Account, credit: Account) -> int:
    if debit.ledger != credit.ledger:
        return Status.ACCOUNTS_MUST_HAVE_THE_SAME_LEDGER
    if transfer.ledger != debit.ledger:
        return Status.TRANSFER_MUST_HAVE_THE_SAME_LEDGER_AS_ACCOUNTS
    return 0


def _import(state: State, transfer: Transfer, debit: Account, credit: Account) -> int:
    timestamp = transfer.timestamp
    if not transfer.flags & IMPORTED:
        return 0
    if timestamp <= state.newest_transfer() or state.is_of_account(timestamp):
        return Status.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS
    if timestamp <= debit.timestamp:
        return Status.IMPORTED_EVENT_TIMESTAMP_MUST_POSTDATE_DEBIT_ACCOUNT
    if timestamp <= credit.timestamp:
        return Status.IMPORTED_EVENT_TIMESTAMP_MUST_POSTDATE_CREDIT_ACCOUNT
    if transfer.timeout:
        return Status.IMPORTED_EVENT_TIMEOUT_MUST_BE_ZERO
    return 0


def _closed(debit: Account, credit: Account) -> int:
    if debit.flags & CLOSED:
        return Status.DEBIT_ACCOUNT_ALREADY_CLOSED
    if credit.flags & CLOSED:
        return Status.CREDIT_ACCOUNT_ALREADY_CLOSED
    return 0


def _amount(transfer: Transfer, debit: Account, credit: Account) -> int:
    """Return what is moved: for a balancing transfer no more than balances the account."""
    amount = transfer.amount
    if transfer.flags & BALANCING_DEBIT:
        room = debit.credits_posted - debit.debits_posted - debit.debits_pending
        amount = min(amount, max(room, 0))
    if transfer.flags & BALANCING_CREDIT:
        room = credit.debits_posted - credit.credits_posted - credit.credits_pending
        amount = min(amount, max(room, 0))
    return amount


def _overflow(transfer: Transfer, amount: int, debit: Account, credit: Account, at: int) -> int:
    room = U128_MAX - amount
    if transfer.flags & PENDING:
        if debit.debits_pending > room:
            return Status.OVERFLOWS_DEBITS_PENDING
        if credit.credits_pending > room:
            return Status.OVERFLOWS_CREDITS_PENDING
    if debit.debits_posted > room:
        return Status.OVERFLOWS_DEBITS_POSTED
    if credit.credits_posted > room:
        return Status.OVERFLOWS_CREDITS_POSTED
    if debit.debits_pending + debit.debits_posted > room:
        return Status.OVERFLOWS_DEBITS
    if credit.credits_pending + credit.credits_posted > room:
        return Status.OVERFLOWS_CREDITS
    if at + transfer.timeout * NANOSECONDS > TIME_MAX:
        return Status.OVERFLOWS_TIMEOUT
    return 0


def _limits(amount: int, debit: Account, credit: Account) -> int:
    debits = debit.debits_pending + debit.debits_posted + amount
    credits_ = credit.credits_pending + credit.credits_posted + amount
    if debit.flags & DEBITS_LIMITED and debits > debit.credits_posted:
        return Status.EXCEEDS_CREDITS
    if credit.flags & CREDITS_LIMITED and credits_ > credit.debits_posted:
        return Status.EXCEEDS_DEBITS
    return 0


def _balances(transfer: Transfer) -> int:
    return transfer.flags & (BALANCING_DEBIT | BALANCING_CREDIT)


def _exists(state: State, transfer: Transfer, existing: Transfer, at: int) -> Result:
    """Tell whether a transfer of the same id is the same transfer."""
    if transfer.flags != existing.flags:
        return Result(at, Status.EXISTS_WITH_DIFFERENT_FLAGS)
    if transfer.pending_id != existing.pending_id:
        return Result(at, Status.EXISTS_WITH_DIFFERENT_PENDING_ID)
    if transfer.timeout != existing.timeout:
        return Result(at, Status.EXISTS_WITH_DIFFERENT_TIMEOUT)
    if transfer.flags & SECOND_PHASE:
        pending = state.transfers[transfer.pending_id]
        status = second_phase_exists(transfer, existing, pending)
    else:
        status = next((each for each, differs in _SAME if differs(transfer, existing)), None)
    if status is None:
        return Result(existing.timestamp, Status.EXISTS)
    return Result(at, status)
