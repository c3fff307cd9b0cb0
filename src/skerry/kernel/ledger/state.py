"""What a ledger holds, and the few ways in which it changes; each can be taken back.

While a chain of linked events is open, every change is noted with how to undo it, so that a chain
that breaks leaves nothing behind.
"""

from __future__ import annotations

import bisect
import heapq
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from skerry.kernel.ledger.records import (
    Account,
    AccountFlag,
    Change,
    PendingStatus,
    Transfer,
    TransferFlag,
)

NANOSECONDS = 1_000_000_000
CLOSED = int(AccountFlag.CLOSED)
PENDING = int(TransferFlag.PENDING)
CLOSING_DEBIT = int(TransferFlag.CLOSING_DEBIT)
CLOSING_CREDIT = int(TransferFlag.CLOSING_CREDIT)

Balances = tuple[int, int, int, int, int]
"""Debits pending and posted, credits pending and posted, and the account's flags."""


class Moment(NamedTuple):
    """A movement, and how both accounts stood just after it."""

    timestamp: int
    type: Change
    transfer: Transfer
    debit: Balances
    credit: Balances


class State:
    """Accounts, transfers, and what follows from them."""

    def __init__(self) -> None:
        self.accounts: dict[int, Account] = {}
        self.account_order: list[Account] = []
        self.transfers: dict[int, Transfer] = {}
        self.transfer_order: list[Transfer] = []
        self.transfers_of: defaultdict[int, list[Transfer]] = defaultdict(list)
        self.fates: dict[int, PendingStatus] = {}
        self.burned: dict[int, None] = {}
        self.moments: list[Moment] = []
        self.moment_of: dict[int, Moment] = {}
        self.touched: dict[int, None] = {}
        self.changed_fates: dict[int, None] = {}
        self.burned_now: list[int] = []
        self._expiries: list[tuple[int, int, int]] = []
        self._undo: list[Callable[[], object]] | None = None

    def open_chain(self) -> None:
        """Begin to note how each change is taken back."""
        assert self._undo is None
        self._undo = []

    def close_chain(self, *, keep: bool) -> None:
        """Keep what the open chain did, or take it back."""
        assert self._undo is not None
        undo, self._undo = self._undo, None
        if not keep:
            for take_back in reversed(undo):
                take_back()

    def add_account(self, account: Account) -> None:
        """Keep a new account."""
        self.accounts[account.id] = account
        self.account_order.append(account)
        self.touched[account.id] = None
        if self._undo is not None:
            self._undo += (self.account_order.pop, lambda: self.accounts.pop(account.id))

    def add_transfer(self, transfer: Transfer) -> None:
        """Keep a new transfer; a pending one awaits its fate."""
        debit = self.transfers_of[transfer.debit_account_id]
        credit = self.transfers_of[transfer.credit_account_id]
        self.transfers[transfer.id] = transfer
        for order in (self.transfer_order, debit, credit):
            order.append(transfer)
        if self._undo is not None:
            self._undo += (self.transfer_order.pop, debit.pop, credit.pop)
            self._undo.append(lambda: self.transfers.pop(transfer.id))
        if transfer.flags & PENDING:
            self.decide(transfer, PendingStatus.PENDING)
            if transfer.timeout:
                entry = (expires_at(transfer), transfer.timestamp, transfer.id)
                heapq.heappush(self._expiries, entry)

    def decide(self, pending: Transfer, fate: PendingStatus) -> None:
        """Set the fate of a pending transfer."""
        before = self.fates.get(pending.id)
        self.fates[pending.id] = fate
        self.changed_fates[pending.id] = None
        if self._undo is not None:
            self._undo.append(lambda: _put_back(self.fates, pending.id, before))

    def move(
        self, transfer: Transfer, *, pending: int = 0, posted: int = 0, close: bool | None = None
    ) -> None:
        """Add to the pending and posted balances of a transfer's two accounts.

        `close` closes or opens again those of them that the transfer's flags name.
        """
        debit = self.accounts[transfer.debit_account_id]
        credit = self.accounts[transfer.credit_account_id]
        if self._undo is not None:
            for account in (debit, credit):
                self._undo.append(partial(_restore, account, balances(account)))
        debit.debits_pending += pending
        debit.debits_posted += posted
        credit.credits_pending += pending
        credit.credits_posted += posted
        if close is not None:
            _close(debit, transfer.flags & CLOSING_DEBIT, close)
            _close(credit, transfer.flags & CLOSING_CREDIT, close)
        self.touched[debit.id] = self.touched[credit.id] = None

    def note(self, timestamp: int, change: Change, transfer: Transfer) -> None:
        """Remember a movement and both accounts as they are now."""
        debit = self.accounts[transfer.debit_account_id]
        credit = self.accounts[transfer.credit_account_id]
        moment = Moment(timestamp, change, transfer, balances(debit), balances(credit))
        self.moments.append(moment)
        if change is not Change.TWO_PHASE_EXPIRED:
            self.moment_of[timestamp] = moment
        if self._undo is not None:
            self._undo += (self.moments.pop, lambda: self.moment_of.pop(timestamp))

    def burn(self, transfer_id: int) -> None:
        """Let an id fail for ever; a chain that breaks does not take this back."""
        assert self._undo is None
        self.burned[transfer_id] = None
        self.burned_now.append(transfer_id)

    def forget_changes(self) -> None:
        """Begin to collect anew what changes."""
        self.touched.clear()
        self.changed_fates.clear()
        self.burned_now.clear()

    def next_expiry(self) -> Transfer | None:
        """Return the pending transfer that times out first."""
        assert self._undo is None
        while self._expiries:
            _, timestamp, id_ = self._expiries[0]
            transfer = self.transfers.get(id_)
            waits = self.fates.get(id_) is PendingStatus.PENDING
            if waits and transfer is not None and transfer.timestamp == timestamp:
                return transfer
            heapq.heappop(self._expiries)
        return None

    def moments_by_time(self) -> list[Moment]:
        """Return the movements in the order of their timestamps.

        An imported transfer may lie before an expiry that came earlier.
        """
        return sorted(self.moments, key=_timestamp)

    def newest_account(self) -> int:
        """Return the timestamp of the newest account, or 0."""
        return self.account_order[-1].timestamp if self.account_order else 0

    def newest_transfer(self) -> int:
        """Return the timestamp of the newest transfer, or 0."""
        return self.transfer_order[-1].timestamp if self.transfer_order else 0

    def is_of_account(self, timestamp: int) -> bool:
        """Tell whether an account has this timestamp."""
        return _has(self.account_order, timestamp)

    def is_of_transfer(self, timestamp: int) -> bool:
        """Tell whether a transfer has this timestamp."""
        return _has(self.transfer_order, timestamp)


def expires_at(pending: Transfer) -> int:
    """Return when a pending transfer with a timeout expires."""
    return pending.timestamp + pending.timeout * NANOSECONDS


def balances(account: Account) -> Balances:
    """Return what can change of an account."""
    return (
        account.debits_pending,
        account.debits_posted,
        account.credits_pending,
        account.credits_posted,
        account.flags,
    )


def _restore(account: Account, before: Balances) -> None:
    (
        account.debits_pending,
        account.debits_posted,
        account.credits_pending,
        account.credits_posted,
        account.flags,
    ) = before


def _close(account: Account, named: int, close: bool) -> None:
    if named:
        account.flags = account.flags | CLOSED if close else account.flags & ~CLOSED


def _put_back(
    fates: dict[int, PendingStatus], transfer_id: int, before: PendingStatus | None
) -> None:
    if before is None:
        del fates[transfer_id]
    else:
        fates[transfer_id] = before


def _timestamp(row: Account | Transfer | Moment) -> int:
    return row.timestamp


def _has(order: list[Account] | list[Transfer], timestamp: int) -> bool:
    at = bisect.bisect_left(order, timestamp, key=_timestamp)
    return at < len(order) and order[at].timestamp == timestamp
