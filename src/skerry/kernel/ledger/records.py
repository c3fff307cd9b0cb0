"""Accounts, transfers and what is asked about them: TigerBeetle's records, as values.

Every record has a packed form (`pack`, `unpack`) of fixed size, little-endian, without padding: the
bytes of TigerBeetle's client protocol, of the log, and of the compiled machine.
"""

from __future__ import annotations

import enum
import struct
from typing import NamedTuple, TypeVar

import msgspec

RECORD_BYTES = 128
"""The size of a packed account, transfer, balance or account filter."""

BATCH_MAX = 8189
"""How many events or results one batch holds: 1 MiB less a header and the trailer's record."""

CHANGES_MAX = 2730
"""How many change events one answer holds."""

U128_MAX = 2**128 - 1
TIME_MAX = 2**63 - 1
"""The last timestamp, in nanoseconds; the first one is 1."""


class AccountFlag(enum.IntFlag):
    """What an account is held to."""

    LINKED = 1
    DEBITS_MUST_NOT_EXCEED_CREDITS = 2
    CREDITS_MUST_NOT_EXCEED_DEBITS = 4
    HISTORY = 8
    IMPORTED = 16
    CLOSED = 32


class TransferFlag(enum.IntFlag):
    """What a transfer does."""

    LINKED = 1
    PENDING = 2
    POST_PENDING_TRANSFER = 4
    VOID_PENDING_TRANSFER = 8
    BALANCING_DEBIT = 16
    BALANCING_CREDIT = 32
    CLOSING_DEBIT = 64
    CLOSING_CREDIT = 128
    IMPORTED = 256


class FilterFlag(enum.IntFlag):
    """Which side of an account an `AccountFilter` means, and the order of what it finds."""

    DEBITS = 1
    CREDITS = 2
    REVERSED = 4


class QueryFlag(enum.IntFlag):
    """The order of what a `QueryFilter` finds."""

    REVERSED = 1


class PendingStatus(enum.IntEnum):
    """What became of a pending transfer."""

    NONE = 0
    PENDING = 1
    POSTED = 2
    VOIDED = 3
    EXPIRED = 4


class Account(msgspec.Struct):
    """An account; its balances are integers of the smallest unit of its ledger."""

    id: int
    debits_pending: int = 0
    debits_posted: int = 0
    credits_pending: int = 0
    credits_posted: int = 0
    user_data_128: int = 0
    user_data_64: int = 0
    user_data_32: int = 0
    reserved: int = 0
    ledger: int = 0
    code: int = 0
    flags: int = 0
    timestamp: int = 0


class Transfer(msgspec.Struct):
    """A transfer between two accounts of a ledger; `timeout` in seconds."""

    id: int
    debit_account_id: int = 0
    credit_account_id: int = 0
    amount: int = 0
    pending_id: int = 0
    user_data_128: int = 0
    user_data_64: int = 0
    user_data_32: int = 0
    timeout: int = 0
    ledger: int = 0
    code: int = 0
    flags: int = 0
    timestamp: int = 0


class Result(NamedTuple):
    """What became of an event: its timestamp (that of the original, if it exists) and status."""

    timestamp: int
    status: int


class AccountBalance(msgspec.Struct):
    """The balances of an account just after a transfer."""

    debits_pending: int
    debits_posted: int
    credits_pending: int
    credits_posted: int
    timestamp: int


class AccountFilter(msgspec.Struct):
    """Which transfers of an account are meant; fields that are zero do not filter.

    `timestamp_min` and `timestamp_max` are inclusive: the cursor of the next page is the last
    timestamp of this one plus one, or minus one when reversed.
    """

    account_id: int
    user_data_128: int = 0
    user_data_64: int = 0
    user_data_32: int = 0
    code: int = 0
    timestamp_min: int = 0
    timestamp_max: int = 0
    limit: int = BATCH_MAX
    flags: int = FilterFlag.DEBITS | FilterFlag.CREDITS
    reserved: bytes = bytes(58)


class QueryFilter(msgspec.Struct):
    """Which accounts or transfers are meant; fields that are zero do not filter."""

    user_data_128: int = 0
    user_data_64: int = 0
    user_data_32: int = 0
    ledger: int = 0
    code: int = 0
    timestamp_min: int = 0
    timestamp_max: int = 0
    limit: int = BATCH_MAX
    flags: int = 0
    reserved: bytes = bytes(6)


class ChangesFilter(msgspec.Struct):
    """Which change events are meant, in the order of their timestamps."""

    timestamp_min: int = 0
    timestamp_max: int = 0
    limit: int = CHANGES_MAX
    reserved: bytes = bytes(44)


class Change(enum.IntEnum):
    """What a change event tells."""

    SINGLE_PHASE = 0
    TWO_PHASE_PENDING = 1
    TWO_PHASE_POSTED = 2
    TWO_PHASE_VOIDED = 3
    TWO_PHASE_EXPIRED = 4


class ChangeEvent(msgspec.Struct):
    """A movement: the transfer, and both accounts as they were just after it."""

    type: Change
    timestamp: int
    transfer: Transfer
    debit_account: Account
    credit_account: Account


_RECORD = struct.Struct("<16s16s16s16s16s16sQIIIHHQ")
_RESULT = struct.Struct("<QII")
_BALANCE = struct.Struct("<16s16s16s16sQ56x")
_ACCOUNT_FILTER = struct.Struct("<16s16sQIH58sQQII")
_QUERY_FILTER = struct.Struct("<16sQIIH6sQQII")
_CHANGES_FILTER = struct.Struct("<QQI44s")
_CHANGE = struct.Struct("<16s16s16s16sQIIHHIB39x" + "16s16s16s16s16s16sQIHH" * 2 + "QQQQ")

assert _RECORD.size == _BALANCE.size == _ACCOUNT_FILTER.size == RECORD_BYTES
assert _QUERY_FILTER.size == _CHANGES_FILTER.size == 64
assert _CHANGE.size == 384


def _wide(number: int) -> bytes:
    return number.to_bytes(16, "little")


def _number(wide: bytes) -> int:
    return int.from_bytes(wide, "little")


Record = TypeVar("Record", Account, Transfer)


def pack(record: Account | Transfer) -> bytes:
    """Return the 128 bytes of an account or a transfer; OverflowError if a field is too wide."""
    values = msgspec.structs.astuple(record)
    return _RECORD.pack(*map(_wide, values[:6]), *values[6:])


def unpack(kind: type[Record], packed: bytes | memoryview) -> list[Record]:
    """Return the accounts or transfers that lie one after the other in `packed`."""
    return [kind(*map(_number, each[:6]), *each[6:]) for each in _RECORD.iter_unpack(packed)]


def pack_ids(ids: list[int]) -> bytes:
    """Return ids as 16 bytes each."""
    return b"".join(map(_wide, ids))


def unpack_ids(packed: bytes | memoryview) -> list[int]:
    """Return the ids that lie one after the other in `packed`."""
    return [_number(bytes(packed[at : at + 16])) for at in range(0, len(packed), 16)]


def pack_results(results: list[Result]) -> bytes:
    """Return results as 16 bytes each."""
    return b"".join(_RESULT.pack(each.timestamp, each.status, 0) for each in results)


def unpack_results(packed: bytes | memoryview) -> list[Result]:
    """Return the results that lie one after the other in `packed`."""
    return [Result(timestamp, status) for timestamp, status, _ in _RESULT.iter_unpack(packed)]


def pack_balance(balance: AccountBalance) -> bytes:
    """Return the 128 bytes of a balance."""
    *wide, timestamp = msgspec.structs.astuple(balance)
    return _BALANCE.pack(*map(_wide, wide), timestamp)


def unpack_balances(packed: bytes | memoryview) -> list[AccountBalance]:
    """Return the balances that lie one after the other in `packed`."""
    return [
        AccountBalance(_number(a), _number(b), _number(c), _number(d), timestamp)
        for a, b, c, d, timestamp in _BALANCE.iter_unpack(packed)
    ]


def pack_account_filter(each: AccountFilter) -> bytes:
    """Return the 128 bytes of a filter."""
    head = (_wide(each.account_id), _wide(each.user_data_128), each.user_data_64)
    middle = (each.user_data_32, each.code, each.reserved)
    return _ACCOUNT_FILTER.pack(
        *head, *middle, each.timestamp_min, each.timestamp_max, each.limit, each.flags
    )


def unpack_account_filter(packed: bytes | memoryview) -> AccountFilter:
    """Return the filter that `packed` is."""
    account, wide, u64, u32, code, reserved, low, high, limit, flags = _ACCOUNT_FILTER.unpack(
        packed
    )
    wides = _number(account), _number(wide)
    return AccountFilter(*wides, u64, u32, code, low, high, limit, flags, reserved)


def pack_query_filter(each: QueryFilter) -> bytes:
    """Return the 64 bytes of a filter."""
    head = (_wide(each.user_data_128), each.user_data_64, each.user_data_32, each.ledger)
    return _QUERY_FILTER.pack(
        *head,
        each.code,
        each.reserved,
        each.timestamp_min,
        each.timestamp_max,
        each.limit,
        each.flags,
    )


def unpack_query_filter(packed: bytes | memoryview) -> QueryFilter:
    """Return the filter that `packed` is."""
    wide, u64, u32, ledger, code, reserved, low, high, limit, flags = _QUERY_FILTER.unpack(packed)
    return QueryFilter(_number(wide), u64, u32, ledger, code, low, high, limit, flags, reserved)


def pack_changes_filter(each: ChangesFilter) -> bytes:
    """Return the 64 bytes of a filter."""
    return _CHANGES_FILTER.pack(each.timestamp_min, each.timestamp_max, each.limit, each.reserved)


def unpack_changes_filter(packed: bytes | memoryview) -> ChangesFilter:
    """Return the filter that `packed` is."""
    return ChangesFilter(*_CHANGES_FILTER.unpack(packed))


def pack_change(event: ChangeEvent) -> bytes:
    """Return the 384 bytes of a change event."""
    moved = event.transfer
    return _CHANGE.pack(
        *map(_wide, (moved.id, moved.amount, moved.pending_id, moved.user_data_128)),
        moved.user_data_64,
        moved.user_data_32,
        moved.timeout,
        moved.code,
        moved.flags,
        moved.ledger,
        event.type,
        *_side(event.debit_account),
        *_side(event.credit_account),
        event.timestamp,
        moved.timestamp,
        event.debit_account.timestamp,
        event.credit_account.timestamp,
    )


def _side(account: Account) -> tuple[bytes | int, ...]:
    values = msgspec.structs.astuple(account)
    return *map(_wide, values[:6]), *values[6:8], account.code, account.flags


def unpack_changes(packed: bytes | memoryview) -> list[ChangeEvent]:
    """Return the change events that lie one after the other in `packed`."""
    return [_change(each) for each in _CHANGE.iter_unpack(packed)]


def _change(each: tuple[bytes | int, ...]) -> ChangeEvent:
    found = [_number(value) if isinstance(value, bytes) else value for value in each]
    moved, debit, credit, times = found[:11], found[11:21], found[21:31], found[31:]
    ledger = moved[9]
    transfer = Transfer(
        id=moved[0],
        debit_account_id=debit[0],
        credit_account_id=credit[0],
        amount=moved[1],
        pending_id=moved[2],
        user_data_128=moved[3],
        user_data_64=moved[4],
        user_data_32=moved[5],
        timeout=moved[6],
        ledger=ledger,
        code=moved[7],
        flags=moved[8],
        timestamp=times[1],
    )
    accounts = (
        Account(*[*side[:8], 0, ledger, *side[8:], timestamp])
        for side, timestamp in ((debit, times[2]), (credit, times[3]))
    )
    return ChangeEvent(Change(moved[10]), times[0], transfer, *accounts)
