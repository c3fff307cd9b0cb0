"""A ledger's whole state as flat rows, in which snapshots keep it, whichever machine runs it.

accounts    128 bytes each, as in the protocol, in the order of their timestamps
transfers   128 bytes each, likewise
fates       one byte a transfer: `PendingStatus`
moments     160 bytes each, one a movement, in the order in which they happened
burned      16 bytes each: the ids that failed for good

Rows of transfers, moments and burned ids never change once they are there.
"""

from __future__ import annotations

import bisect
import struct
from typing import NamedTuple

from skerry.kernel.ledger.machine import Machine
from skerry.kernel.ledger.records import (
    Account,
    Change,
    PendingStatus,
    Transfer,
    pack,
    pack_ids,
    unpack,
    unpack_ids,
)
from skerry.kernel.ledger.state import Moment, State

ROW_BYTES = {"transfers": 128, "moments": 160, "burned": 16}
"""The sizes of the rows that only grow in number."""

_MOMENT = struct.Struct("<16s16s16s16s16s16s16s16sQQHHB11x")
assert _MOMENT.size == ROW_BYTES["moments"]


class Rows(NamedTuple):
    """The whole state, as bytes."""

    accounts: bytes
    transfers: bytes
    fates: bytes
    moments: bytes
    burned: bytes


def pack_moment(moment: Moment, transfer: int) -> bytes:
    """Return the row of a movement; `transfer` is the place of its transfer."""
    wide = [each.to_bytes(16, "little") for each in (*moment.debit[:4], *moment.credit[:4])]
    return _MOMENT.pack(
        *wide, moment.timestamp, transfer, moment.debit[4], moment.credit[4], moment.type
    )


def unpack_moments(packed: bytes, transfers: list[Transfer]) -> list[Moment]:
    """Return the movements of which these are the rows."""
    moments = []
    for *wide, timestamp, transfer, debit_flags, credit_flags, change in _MOMENT.iter_unpack(
        packed
    ):
        a, b, c, d, e, f, g, h = (int.from_bytes(each, "little") for each in wide)
        moments.append(
            Moment(
                timestamp,
                Change(change),
                transfers[transfer],
                (a, b, c, d, debit_flags),
                (e, f, g, h, credit_flags),
            )
        )
    return moments


def rows_of(machine: Machine) -> Rows:
    """Return the rows of a machine's whole state."""
    state = machine.state
    return Rows(
        accounts=b"".join(map(pack, state.account_order)),
        transfers=b"".join(map(pack, state.transfer_order)),
        fates=fates_of(state),
        moments=b"".join(
            pack_moment(each, place_of(state, each.transfer)) for each in state.moments
        ),
        burned=pack_ids(list(state.burned)),
    )


def fates_of(state: State) -> bytes:
    """Return one byte a transfer."""
    fates = state.fates
    return bytes(fates.get(each.id, PendingStatus.NONE) for each in state.transfer_order)


def place_of(state: State, transfer: Transfer) -> int:
    """Return the place of a transfer."""
    return bisect.bisect_left(
        state.transfer_order, transfer.timestamp, key=lambda each: each.timestamp
    )


def machine_of(rows: Rows, timestamp: int) -> Machine:
    """Return the machine of which these are the rows; it is audited as a whole."""
    state = State()
    for account in unpack(Account, rows.accounts):
        state.add_account(account)
    transfers = unpack(Transfer, rows.transfers)
    for transfer, fate in zip(transfers, rows.fates, strict=True):
        state.add_transfer(transfer)
        if fate:
            state.decide(transfer, PendingStatus(fate))
    for moment in unpack_moments(rows.moments, transfers):
        state.moments.append(moment)
        if moment.type is not Change.TWO_PHASE_EXPIRED:
            state.moment_of[moment.timestamp] = moment
    for burned in unpack_ids(rows.burned):
        state.burn(burned)
    return Machine.restored(state, timestamp)
