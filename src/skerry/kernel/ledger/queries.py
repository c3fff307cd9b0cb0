"""What can be asked of a ledger: look-ups by id, queries by filter, balances, change events.

A filter that makes no sense finds nothing; it is not an error. The cursor of the next page is a
timestamp: the last one of this page plus one (or minus one when reversed).
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TypeVar

import msgspec

from skerry.kernel.ledger.records import (
    BATCH_MAX,
    CHANGES_MAX,
    TIME_MAX,
    U128_MAX,
    Account,
    AccountBalance,
    AccountFilter,
    AccountFlag,
    ChangeEvent,
    ChangesFilter,
    FilterFlag,
    QueryFilter,
    QueryFlag,
    Transfer,
)
from skerry.kernel.ledger.state import Balances, Moment, State

_FIELDS = QueryFilter.__struct_fields__[:5]
"""User data, ledger and code."""

Row = TypeVar("Row", Account, Transfer, Moment)
Filter = AccountFilter | QueryFilter | ChangesFilter


class Queries:
    """A ledger as it is read; what is returned is the caller's own."""

    def __init__(self, state: State) -> None:
        self.state = state

    def lookup_accounts(self, ids: Sequence[int]) -> list[Account]:
        """Return the accounts of these ids that exist, in the order of the ids."""
        found = map(self.state.accounts.get, ids)
        return [msgspec.structs.replace(each) for each in found if each is not None]

    def lookup_transfers(self, ids: Sequence[int]) -> list[Transfer]:
        """Return the transfers of these ids that exist, in the order of the ids."""
        found = map(self.state.transfers.get, ids)
        return [msgspec.structs.replace(each) for each in found if each is not None]

    def get_account_transfers(self, wanted: AccountFilter) -> list[Transfer]:
        """Return the transfers of an account."""
        return [msgspec.structs.replace(each) for each in self._of_account(wanted)]

    def get_account_balances(self, wanted: AccountFilter) -> list[AccountBalance]:
        """Return how an account with `AccountFlag.HISTORY` stood after each of its transfers."""
        account = self.state.accounts.get(wanted.account_id)
        if account is None or not account.flags & AccountFlag.HISTORY:
            return []
        balances = []
        for transfer in self._of_account(wanted):
            moment = self.state.moment_of[transfer.timestamp]
            debits = transfer.debit_account_id == wanted.account_id
            side = moment.debit if debits else moment.credit
            balances.append(AccountBalance(*side[:4], timestamp=transfer.timestamp))
        return balances

    def query_accounts(self, wanted: QueryFilter) -> list[Account]:
        """Return the accounts that match a filter."""
        found = _matching(self.state.account_order, wanted)
        return [msgspec.structs.replace(each) for each in found]

    def query_transfers(self, wanted: QueryFilter) -> list[Transfer]:
        """Return the transfers that match a filter."""
        found = _matching(self.state.transfer_order, wanted)
        return [msgspec.structs.replace(each) for each in found]

    def get_change_events(self, wanted: ChangesFilter) -> list[ChangeEvent]:
        """Return what moved, with the balances after it, in the order of time."""
        if not _makes_sense(wanted):
            return []
        moments = islice(
            _between(self.state.moments_by_time(), wanted), min(wanted.limit, CHANGES_MAX)
        )
        return [self._change(each) for each in moments]

    def _of_account(self, wanted: AccountFilter) -> Iterator[Transfer]:
        sides = wanted.flags & (FilterFlag.DEBITS | FilterFlag.CREDITS)
        known = sides | (wanted.flags & FilterFlag.REVERSED)
        if not sides or known != wanted.flags or wanted.account_id in (0, U128_MAX):
            return iter(())
        if not _makes_sense(wanted):
            return iter(())
        transfers = self.state.transfers_of.get(wanted.account_id, [])
        rows = _between(transfers, wanted, reverse=bool(wanted.flags & FilterFlag.REVERSED))
        found = (each for each in rows if _on(each, wanted, sides) and _has(each, wanted))
        return islice(found, min(wanted.limit, BATCH_MAX))

    def _change(self, moment: Moment) -> ChangeEvent:
        transfer = msgspec.structs.replace(moment.transfer)
        return ChangeEvent(
            moment.type,
            moment.timestamp,
            transfer,
            _as_of(self.state.accounts[transfer.debit_account_id], moment.debit),
            _as_of(self.state.accounts[transfer.credit_account_id], moment.credit),
        )


def _matching(rows: list[Row], wanted: QueryFilter) -> Iterator[Row]:
    if wanted.flags & ~QueryFlag.REVERSED or not _makes_sense(wanted):
        return iter(())
    reverse = bool(wanted.flags & QueryFlag.REVERSED)
    found = (row for row in _between(rows, wanted, reverse=reverse) if _has(row, wanted))
    return islice(found, min(wanted.limit, BATCH_MAX))


def _makes_sense(wanted: Filter) -> bool:
    low, high = wanted.timestamp_min, wanted.timestamp_max
    in_order = high == 0 or low <= high
    return in_order and max(low, high) <= TIME_MAX and wanted.limit > 0 and not any(wanted.reserved)


def _between(rows: list[Row], wanted: Filter, *, reverse: bool = False) -> Iterator[Row]:
    """Yield the rows whose timestamps lie within the filter's, both ends included."""
    low = bisect.bisect_left(rows, wanted.timestamp_min, key=_timestamp)
    high = len(rows)
    if wanted.timestamp_max:
        high = bisect.bisect_right(rows, wanted.timestamp_max, key=_timestamp)
    places = range(high - 1, low - 1, -1) if reverse else range(low, high)
    return (rows[at] for at in places)


def _timestamp(row: Account | Transfer | Moment) -> int:
    return row.timestamp


def _on(transfer: Transfer, wanted: AccountFilter, sides: int) -> bool:
    debits = sides & FilterFlag.DEBITS and transfer.debit_account_id == wanted.account_id
    return bool(
        debits or (sides & FilterFlag.CREDITS and transfer.credit_account_id == wanted.account_id)
    )


def _has(row: Row, wanted: AccountFilter | QueryFilter) -> bool:
    """Tell whether a row has all the values that a filter sets."""
    return all(
        getattr(row, field) == value for field in _FIELDS if (value := getattr(wanted, field, 0))
    )


def _as_of(account: Account, then: Balances) -> Account:
    pending, posted, credits_pending, credits_posted, flags = then
    return msgspec.structs.replace(
        account,
        debits_pending=pending,
        debits_posted=posted,
        credits_pending=credits_pending,
        credits_posted=credits_posted,
        flags=flags,
    )
