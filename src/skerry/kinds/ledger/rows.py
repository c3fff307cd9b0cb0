"""A ledger's whole state as flat rows, in which snapshots keep it, whichever machine runs it.

accounts    128 bytes each, as in the protocol, in the order of their timestamps
transfers   128 bytes each, likewise
fates       one byte a transfer: `PendingStatus`
moments     160 bytes each, one a movement, in the order in which they happened
burned      16 bytes each: the ids that failed for good

Rows of transfers, moments and burned ids never change once they are there.
"""

from __future__ import annotations

import struct
from typing import NamedTuple, Protocol

from skerry.kernel.ledger.records import Change, Transfer
from skerry.kernel.ledger.state import Moment

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


class Kept(Protocol):
    """A book as a snapshot reads it."""

    def count(self, table: str) -> int:
        """Return how many rows a table of `ROW_BYTES` has."""
        ...

    def rows(self, table: str, start: int, stop: int) -> bytes:
        """Return rows of such a table."""
        ...

    def accounts(self) -> bytes:
        """Return the rows of all accounts."""
        ...

    def fates(self) -> bytes:
        """Return the fate of each transfer."""
        ...


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
