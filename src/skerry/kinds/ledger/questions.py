"""Calls on a ledger in terms of records, over whatever carries packed bodies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from skerry.kernel.errors import TOO_LARGE
from skerry.kernel.ledger import (
    BATCH_MAX,
    Account,
    AccountBalance,
    AccountFilter,
    AccountStatus,
    ChangeEvent,
    ChangesFilter,
    QueryFilter,
    Result,
    Transfer,
    TransferStatus,
)
from skerry.kernel.ledger.records import (
    pack,
    pack_account_filter,
    pack_changes_filter,
    pack_ids,
    pack_query_filter,
    unpack,
    unpack_balances,
    unpack_changes,
    unpack_results,
)
from skerry.kinds.ledger.operations import Operation, one_batch, only_batch
from skerry.kinds.ledger.values import parse

Carry = Callable[[Operation, bytes], Awaitable[bytes]]
Fields = dict[str, Any]


class Questions:
    """A ledger, as its clients in Python call it.

    Accounts, transfers and filters are records, or mappings of their fields.
    """

    def __init__(self, carry: Carry) -> None:
        self._carry = carry

    async def create_accounts(self, accounts: Sequence[Account | Fields]) -> list[Result]:
        """Create up to 8,189 accounts; return the status (`AccountStatus`) of each, in order."""
        packed = [pack(_record(Account, each)) for each in _bounded(accounts)]
        reply = await self._ask(Operation.CREATE_ACCOUNTS, b"".join(packed))
        return [each._replace(status=AccountStatus(each.status)) for each in unpack_results(reply)]

    async def create_transfers(self, transfers: Sequence[Transfer | Fields]) -> list[Result]:
        """Create up to 8,189 transfers; return the status (`TransferStatus`) of each, in order."""
        packed = [pack(_record(Transfer, each)) for each in _bounded(transfers)]
        reply = await self._ask(Operation.CREATE_TRANSFERS, b"".join(packed))
        return [each._replace(status=TransferStatus(each.status)) for each in unpack_results(reply)]

    async def lookup_accounts(self, ids: Sequence[int]) -> list[Account]:
        """Return those of these accounts that exist."""
        reply = await self._ask(Operation.LOOKUP_ACCOUNTS, pack_ids(list(_bounded(ids))))
        return unpack(Account, reply)

    async def lookup_transfers(self, ids: Sequence[int]) -> list[Transfer]:
        """Return those of these transfers that exist."""
        reply = await self._ask(Operation.LOOKUP_TRANSFERS, pack_ids(list(_bounded(ids))))
        return unpack(Transfer, reply)

    async def get_account_transfers(self, wanted: AccountFilter | Fields) -> list[Transfer]:
        """Return the transfers of an account."""
        packed = pack_account_filter(_record(AccountFilter, wanted))
        return unpack(Transfer, await self._ask(Operation.GET_ACCOUNT_TRANSFERS, packed))

    async def get_account_balances(self, wanted: AccountFilter | Fields) -> list[AccountBalance]:
        """Return how an account with the flag `history` stood after each of its transfers."""
        packed = pack_account_filter(_record(AccountFilter, wanted))
        return unpack_balances(await self._ask(Operation.GET_ACCOUNT_BALANCES, packed))

    async def query_accounts(self, wanted: QueryFilter | Fields) -> list[Account]:
        """Return the accounts that match a filter."""
        packed = pack_query_filter(_record(QueryFilter, wanted))
        return unpack(Account, await self._ask(Operation.QUERY_ACCOUNTS, packed))

    async def query_transfers(self, wanted: QueryFilter | Fields) -> list[Transfer]:
        """Return the transfers that match a filter."""
        packed = pack_query_filter(_record(QueryFilter, wanted))
        return unpack(Transfer, await self._ask(Operation.QUERY_TRANSFERS, packed))

    async def get_change_events(self, wanted: ChangesFilter | Fields) -> list[ChangeEvent]:
        """Return what moved, in the order of time, with the balances after it."""
        packed = pack_changes_filter(_record(ChangesFilter, wanted))
        return unpack_changes(await self._ask(Operation.GET_CHANGE_EVENTS, packed))

    async def _ask(self, operation: Operation, events: bytes) -> memoryview:
        return only_batch(operation, await self._carry(operation, one_batch(operation, events)))


def _record(kind: Any, value: Any) -> Any:
    return value if isinstance(value, kind) else parse(kind, value)


def _bounded(events: Sequence[Any]) -> Sequence[Any]:
    if len(events) > BATCH_MAX:
        raise TOO_LARGE(f"{len(events)} at once are more than {BATCH_MAX}.")
    return events
