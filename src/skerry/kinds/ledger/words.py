"""The words of kind ledger, for the command line and the API."""

from __future__ import annotations

from typing import Any

from skerry.kernel.clock import SystemEntropy
from skerry.kernel.errors import CONFLICT, NOT_FOUND, SkerryError
from skerry.kernel.ledger import (
    Account,
    AccountFilter,
    AccountStatus,
    QueryFilter,
    Result,
    Transfer,
    TransferStatus,
)
from skerry.kernel.ledger.records import AccountFlag, FilterFlag, QueryFlag
from skerry.kinds.ledger.manifest import (
    AccountsParams,
    BalancesParams,
    OpenParams,
    Outcome,
    Row,
    TransferParams,
    TransfersParams,
)
from skerry.kinds.ledger.questions import Questions
from skerry.kinds.ledger.values import parse, shown

_BOTH = int(FilterFlag.DEBITS | FilterFlag.CREDITS)


async def accounts(ledger: Questions, params: AccountsParams) -> list[Row]:
    """Return accounts by id or by filter."""
    if params.id:
        return [shown(each) for each in await ledger.lookup_accounts(_ids(params.id))]
    return [shown(each) for each in await ledger.query_accounts(_query(params))]


async def transfers(ledger: Questions, params: TransfersParams) -> list[Row]:
    """Return transfers by id, of an account, or by filter."""
    if params.id:
        found = await ledger.lookup_transfers(_ids(params.id))
    elif params.account:
        fields = {
            "account_id": params.account,
            "user_data_128": params.user_data_128,
            "user_data_64": params.user_data_64,
            "user_data_32": params.user_data_32,
            "code": params.code,
            **_range(params),
            "flags": _BOTH | (FilterFlag.REVERSED if params.reversed else 0),
        }
        found = await ledger.get_account_transfers(parse(AccountFilter, fields))
    else:
        found = await ledger.query_transfers(_query(params))
    return [shown(each) for each in found]


async def balances(ledger: Questions, params: BalancesParams) -> list[Row]:
    """Return an account's balances: after each transfer if it keeps a history, else as they are."""
    fields = {
        "account_id": params.account,
        **_range(params),
        "flags": _BOTH | (FilterFlag.REVERSED if params.reversed else 0),
    }
    wanted = parse(AccountFilter, fields)
    found = await ledger.lookup_accounts([wanted.account_id])
    if not found:
        raise NOT_FOUND(f"There is no account {params.account}.")
    (account,) = found
    if account.flags & AccountFlag.HISTORY:
        return [shown(each) for each in await ledger.get_account_balances(wanted)]
    row = shown(account)
    names = ("debits_pending", "debits_posted", "credits_pending", "credits_posted")
    return [{name: row[name] for name in names}]


async def open_account(ledger: Questions, params: OpenParams) -> Outcome:
    """Create an account; raise CONFLICT with the status if it is not created and not there."""
    fields = {
        "id": params.account,
        "ledger": params.ledger,
        "code": params.code,
        "flags": params.flags,
        "user_data_128": params.user_data_128,
        "user_data_64": params.user_data_64,
        "user_data_32": params.user_data_32,
    }
    account = parse(Account, fields)
    (result,) = await ledger.create_accounts([account])
    return _outcome(account.id, AccountStatus(result.status), result)


async def transfer(ledger: Questions, params: TransferParams, now: int) -> Outcome:
    """Create a transfer; raise CONFLICT with the status if it is not created and not there."""
    fields = {
        "id": params.id or now // 1_000_000 << 80 | int.from_bytes(SystemEntropy().bytes(10)),
        "debit_account_id": params.debit,
        "credit_account_id": params.credit,
        "amount": params.amount,
        "pending_id": params.pending_id,
        "ledger": params.ledger,
        "code": params.code,
        "flags": params.flags,
        "timeout": params.timeout,
        "user_data_128": params.user_data_128,
        "user_data_64": params.user_data_64,
        "user_data_32": params.user_data_32,
    }
    made = parse(Transfer, fields)
    (result,) = await ledger.create_transfers([made])
    return _outcome(made.id, TransferStatus(result.status), result)


def _outcome(id_: int, status: AccountStatus | TransferStatus, result: Result) -> Outcome:
    name = status.name.lower()
    if name not in ("created", "exists"):
        raise refused(name)
    return Outcome(str(id_), name, str(result.timestamp))


def refused(status: str) -> SkerryError:
    """Return the error that tells why an account or a transfer was not created."""
    return CONFLICT(
        f"The ledger refused it: {status}.",
        why="The status is TigerBeetle's; its documentation explains each.",
    )


def _query(params: AccountsParams) -> QueryFilter:
    fields = {
        "user_data_128": params.user_data_128,
        "user_data_64": params.user_data_64,
        "user_data_32": params.user_data_32,
        "ledger": params.ledger,
        "code": params.code,
        **_range(params),
        "flags": int(QueryFlag.REVERSED) if params.reversed else 0,
    }
    return parse(QueryFilter, fields)


def _range(params: AccountsParams | BalancesParams) -> dict[str, Any]:
    return {
        "timestamp_min": params.since,
        "timestamp_max": params.until,
        "limit": params.limit,
    }


def _ids(text: str) -> list[int]:
    return [parse(Account, {"id": each.strip()}).id for each in text.split(",")]
