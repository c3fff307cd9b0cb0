"""Accounts and transfers as people and programs write them: JSON, keyword arguments, exports.

JSON has no 128-bit numbers, so whatever is wider than 32 bits is written as a decimal string there;
numbers are understood as well. Flags are lists of names, such as `["linked", "pending"]`; what is
zero is left out.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from skerry.kernel.errors import INVALID
from skerry.kernel.ledger import (
    Account,
    AccountBalance,
    AccountFilter,
    AccountFlag,
    AccountStatus,
    Change,
    ChangeEvent,
    ChangesFilter,
    FilterFlag,
    QueryFilter,
    QueryFlag,
    Result,
    Transfer,
    TransferFlag,
    TransferStatus,
)

_BITS = {
    "ledger": 32,
    "code": 16,
    "flags": 16,
    "user_data_32": 32,
    "reserved": 32,
    "timeout": 32,
    "limit": 32,
    "user_data_64": 64,
    "timestamp": 64,
    "timestamp_min": 64,
    "timestamp_max": 64,
}
_TEXT_ABOVE = 32
_FLAGS: dict[type, type[enum.IntFlag]] = {
    Account: AccountFlag,
    Transfer: TransferFlag,
    AccountFilter: FilterFlag,
    QueryFilter: QueryFlag,
}

Value = TypeVar("Value", Account, Transfer, AccountFilter, QueryFilter, ChangesFilter)


def parse(kind: type[Value], fields: Any) -> Value:
    """Return the record or filter that a mapping describes; raise INVALID where it is wrong."""
    noun = kind.__name__
    if not isinstance(fields, Mapping):
        raise INVALID(f"An object is needed for {noun}, not {type(fields).__name__}.")
    known = _names(kind)
    values = {}
    for name, value in fields.items():
        if name not in known:
            raise INVALID(f"{noun} has no field {name!r}.", why=f"It has {', '.join(known)}.")
        values[name] = _flags(kind, value) if name == "flags" else _number(name, value)
    missing = [name for name in ("id", "account_id") if name in known and name not in values]
    if missing:
        raise INVALID(f"{noun} needs {missing[0]}.")
    make: Any = kind
    made: Value = make(**values)
    return made


@functools.cache
def _names(kind: type) -> tuple[str, ...]:
    names = (field.name for field in msgspec.structs.fields(kind))
    return tuple(name for name in names if kind is Account or name != "reserved")


def _number(name: str, value: Any) -> int:
    bits = _BITS.get(name, 128)
    if isinstance(value, str):
        try:
            value = int(value, 16 if value.startswith("0x") else 10)
        except ValueError as error:
            raise INVALID(f"{name} is not a number: {value[:60]!r}.") from error
    if isinstance(value, bool) or not isinstance(value, int):
        raise INVALID(f"{name} is not a whole number.")
    if not 0 <= value < 1 << bits:
        raise INVALID(f"{name} does not fit {bits} bits: {value}.")
    return value


def _flags(kind: type, value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return _number("flags", value)
    names = value.split(",") if isinstance(value, str) else value
    flag = _FLAGS.get(kind)
    if flag is None or not isinstance(names, list | tuple):
        raise INVALID("flags is a list of names.")
    total = 0
    for name in filter(None, names):
        found = flag.__members__.get(str(name).strip().upper().replace("-", "_"))
        if found is None:
            known = ", ".join(each.lower() for each in flag.__members__)
            raise INVALID(f"There is no flag {name!r}.", why=f"There are {known}.")
        total |= found
    return total


def shown(record: Account | Transfer | AccountBalance) -> dict[str, Any]:
    """Return a record as JSON shows it."""
    fields: dict[str, Any] = {}
    for name in record.__struct_fields__:
        value = getattr(record, name)
        keep = (
            value or name in ("id", "amount", "timestamp") or name.endswith(("posted", "pending"))
        )
        if name == "flags":
            if value:
                fields[name] = [str(each.name).lower() for each in _FLAGS[type(record)](value)]
        elif keep:
            fields[name] = str(value) if _BITS.get(name, 128) > _TEXT_ABOVE else value
    return fields


def shown_change(event: ChangeEvent) -> dict[str, Any]:
    """Return a change event as JSON shows it."""
    return {
        "type": Change(event.type).name.lower(),
        "timestamp": str(event.timestamp),
        "transfer": shown(event.transfer),
        "debit_account": shown(event.debit_account),
        "credit_account": shown(event.credit_account),
    }


def shown_result(
    status: type[AccountStatus] | type[TransferStatus], result: Result
) -> dict[str, str]:
    """Return what became of an event as JSON shows it."""
    return {"status": status(result.status).name.lower(), "timestamp": str(result.timestamp)}
