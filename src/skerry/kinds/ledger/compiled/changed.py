"""A change event out of rows."""

from __future__ import annotations

from typing import Any

from skerry.kernel.ledger.records import Account, Change, ChangeEvent, Transfer, unpack


def change_event(kind: Change, moment: Any, transfer: Any, debit: Any, credit: Any) -> ChangeEvent:
    """Return the event of a moment: its transfer, and both accounts as they were then."""
    (moved,) = unpack(Transfer, transfer.tobytes())
    return ChangeEvent(
        kind,
        int(moment[16]),
        moved,
        _as_of(debit, moment[:8], int(moment[18]) & 0xFFFF),
        _as_of(credit, moment[8:16], int(moment[18]) >> 16 & 0xFFFF),
    )


def _as_of(row: Any, balances: Any, flags: int) -> Account:
    then = row.copy()
    then[2:10] = balances
    (account,) = unpack(Account, then.tobytes())
    account.flags = flags
    return account
