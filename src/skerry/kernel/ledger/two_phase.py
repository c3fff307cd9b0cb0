"""The rules by which a pending transfer is posted or voided."""

from __future__ import annotations

from collections.abc import Callable

from skerry.kernel.ledger.records import (
    U128_MAX,
    AccountFlag,
    Change,
    PendingStatus,
    Result,
    Transfer,
    TransferFlag,
)
from skerry.kernel.ledger.state import State, expires_at
from skerry.kernel.ledger.statuses import TransferStatus as Status

POST = int(TransferFlag.POST_PENDING_TRANSFER)
VOID = int(TransferFlag.VOID_PENDING_TRANSFER)
PENDING = int(TransferFlag.PENDING)
IMPORTED = int(TransferFlag.IMPORTED)
CLOSED = int(AccountFlag.CLOSED)
_EXCLUDED = int(
    TransferFlag.PENDING
    | TransferFlag.BALANCING_DEBIT
    | TransferFlag.BALANCING_CREDIT
    | TransferFlag.CLOSING_DEBIT
    | TransferFlag.CLOSING_CREDIT
)

Check = tuple[Status, Callable[[Transfer], object]]
Comparison = tuple[Status, Callable[[Transfer, Transfer], object]]
Sameness = tuple[Status, Callable[[Transfer, Transfer, Transfer], object]]

_WELL_FORMED: tuple[Check, ...] = (
    (
        Status.FLAGS_ARE_MUTUALLY_EXCLUSIVE,
        lambda t: (t.flags & POST and t.flags & VOID) or t.flags & _EXCLUDED,
    ),
    (Status.PENDING_ID_MUST_NOT_BE_ZERO, lambda t: t.pending_id == 0),
    (Status.PENDING_ID_MUST_NOT_BE_INT_MAX, lambda t: t.pending_id == U128_MAX),
    (Status.PENDING_ID_MUST_BE_DIFFERENT, lambda t: t.pending_id == t.id),
    (Status.TIMEOUT_RESERVED_FOR_PENDING_TRANSFER, lambda t: t.timeout),
)
_FITS: tuple[Comparison, ...] = (
    (Status.PENDING_TRANSFER_NOT_PENDING, lambda t, p: not p.flags & PENDING),
    (
        Status.PENDING_TRANSFER_HAS_DIFFERENT_DEBIT_ACCOUNT_ID,
        lambda t, p: t.debit_account_id not in (0, p.debit_account_id),
    ),
    (
        Status.PENDING_TRANSFER_HAS_DIFFERENT_CREDIT_ACCOUNT_ID,
        lambda t, p: t.credit_account_id not in (0, p.credit_account_id),
    ),
    (Status.PENDING_TRANSFER_HAS_DIFFERENT_LEDGER, lambda t, p: t.ledger not in (0, p.ledger)),
    (Status.PENDING_TRANSFER_HAS_DIFFERENT_CODE, lambda t, p: t.code not in (0, p.code)),
    (Status.EXCEEDS_PENDING_TRANSFER_AMOUNT, lambda t, p: _amount(t, p) > p.amount),
    (
        Status.PENDING_TRANSFER_HAS_DIFFERENT_AMOUNT,
        lambda t, p: t.flags & VOID and _amount(t, p) < p.amount,
    ),
)
_DECIDED = {
    PendingStatus.POSTED: Status.PENDING_TRANSFER_ALREADY_POSTED,
    PendingStatus.VOIDED: Status.PENDING_TRANSFER_ALREADY_VOIDED,
    PendingStatus.EXPIRED: Status.PENDING_TRANSFER_EXPIRED,
}
_SAME: tuple[Sameness, ...] = (
    (
        Status.EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID,
        lambda t, e, p: t.debit_account_id not in (0, e.debit_account_id),
    ),
    (
        Status.EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID,
        lambda t, e, p: t.credit_account_id not in (0, e.credit_account_id),
    ),
    (Status.EXISTS_WITH_DIFFERENT_AMOUNT, lambda t, e, p: _amount(t, p) != e.amount),
    (
        Status.EXISTS_WITH_DIFFERENT_USER_DATA_128,
        lambda t, e, p: (t.user_data_128 or p.user_data_128) != e.user_data_128,
    ),
    (
        Status.EXISTS_WITH_DIFFERENT_USER_DATA_64,
        lambda t, e, p: (t.user_data_64 or p.user_data_64) != e.user_data_64,
    ),
    (
        Status.EXISTS_WITH_DIFFERENT_USER_DATA_32,
        lambda t, e, p: (t.user_data_32 or p.user_data_32) != e.user_data_32,
    ),
    (Status.EXISTS_WITH_DIFFERENT_LEDGER, lambda t, e, p: t.ledger not in (0, e.ledger)),
    (Status.EXISTS_WITH_DIFFERENT_CODE, lambda t, e, p: t.code not in (0, e.code)),
)


def create_second_phase(state: State, transfer: Transfer, at: int) -> Result:
    """Post or void a pending transfer, or tell why not."""
    for status, wrong in _WELL_FORMED:
        if wrong(transfer):
            return Result(at, status)
    pending = state.transfers.get(transfer.pending_id)
    if pending is None:
        return Result(at, Status.PENDING_TRANSFER_NOT_FOUND)
    for status, differs in _FITS:
        if differs(transfer, pending):
            return Result(at, status)
    refused = (
        _decided(state, pending, at)
        or _import(state, transfer)
        or _closed(state, transfer, pending)
    )
    if refused:
        return Result(at, refused)
    if transfer.flags & IMPORTED:
        at = transfer.timestamp
    created = _completed(transfer, pending, at)
    state.add_transfer(created)
    if created.flags & POST:
        state.decide(pending, PendingStatus.POSTED)
        state.move(pending, pending=-pending.amount, posted=created.amount)
        state.note(at, Change.TWO_PHASE_POSTED, created)
    else:
        state.decide(pending, PendingStatus.VOIDED)
        state.move(pending, pending=-pending.amount, close=False)
        state.note(at, Change.TWO_PHASE_VOIDED, created)
    return Result(at, Status.CREATED)


def _decided(state: State, pending: Transfer, at: int) -> int:
    fate = state.fates[pending.id]
    if fate is not PendingStatus.PENDING:
        return _DECIDED[fate]
    if pending.timeout and expires_at(pending) <= at:
        return Status.PENDING_TRANSFER_EXPIRED
    return 0


def _import(state: State, transfer: Transfer) -> int:
    if not transfer.flags & IMPORTED:
        return 0
    regresses = transfer.timestamp <= state.newest_transfer()
    if regresses or state.is_of_account(transfer.timestamp):
        return Status.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS
    return 0


def _closed(state: State, transfer: Transfer, pending: Transfer) -> int:
    """Nothing but voiding moves anything in a closed account."""
    if transfer.flags & VOID:
        return 0
    if state.accounts[pending.debit_account_id].flags & CLOSED:
        return Status.DEBIT_ACCOUNT_ALREADY_CLOSED
    if state.accounts[pending.credit_account_id].flags & CLOSED:
        return Status.CREDIT_ACCOUNT_ALREADY_CLOSED
    return 0


def _amount(transfer: Transfer, pending: Transfer) -> int:
    """Return what is posted or voided; the largest number posts all, zero voids all."""
    everything = U128_MAX if transfer.flags & POST else 0
    return pending.amount if transfer.amount == everything else transfer.amount


def _completed(transfer: Transfer, pending: Transfer, at: int) -> Transfer:
    """Return the transfer with what it leaves open taken from the pending one."""
    return Transfer(
        id=transfer.id,
        debit_account_id=pending.debit_account_id,
        credit_account_id=pending.credit_account_id,
        amount=_amount(transfer, pending),
        pending_id=transfer.pending_id,
        user_data_128=transfer.user_data_128 or pending.user_data_128,
        user_data_64=transfer.user_data_64 or pending.user_data_64,
        user_data_32=transfer.user_data_32 or pending.user_data_32,
        timeout=0,
        ledger=pending.ledger,
        code=pending.code,
        flags=transfer.flags,
        timestamp=at,
    )


def second_phase_exists(transfer: Transfer, existing: Transfer, pending: Transfer) -> int | None:
    """Return what differs from the transfer of the same id, flags and pending id, or None."""
    return next((status for status, differs in _SAME if differs(transfer, existing, pending)), None)
