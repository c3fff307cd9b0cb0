"""The ledger of record: what was used, as double-entry postings, a fold over the log.

Every posting moves an integer amount of one unit from a supplier's account (`node`) to the account
of the resource that used it, so that in every unit debits equal credits at every moment.

A counter only grows. A posting names the counter and how far it had come, and the ledger posts the
growth since the last posting of it: posting twice changes nothing, and a lost report is made good
by the next one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import msgspec

SUPPLIER = "node"
"""The account that supplies what is used."""


class Reading(msgspec.Struct, frozen=True, array_like=True):
    """How far the counter `source` of an account had come in a unit."""

    source: str
    account: str
    unit: str
    total: int


class Posted(msgspec.Struct, frozen=True, tag_field="event", tag="posted"):
    """Readings that were taken together; one entry of the ledger's log."""

    readings: tuple[Reading, ...]
    time: int


class SourcesClosed(msgspec.Struct, frozen=True, tag_field="event", tag="sources-closed"):
    """Counters that ended; their last readings stand."""

    sources: tuple[str, ...]


class Balance(msgspec.Struct):
    """What an account used of a unit (debits) and supplied of it (credits)."""

    debits: int = 0
    credits: int = 0


class Ledger:
    """All accounts, by account and unit."""

    def __init__(self) -> None:
        self.balances: defaultdict[tuple[str, str], Balance] = defaultdict(Balance)
        self.counters: dict[tuple[str, str, str], int] = {}
        self._decoder = msgspec.json.Decoder(Posted | SourcesClosed)

    def apply(self, body: bytes) -> None:
        """Fold one entry of the log."""
        event = self._decoder.decode(body)
        if isinstance(event, SourcesClosed):
            closed = set(event.sources)
            self.counters = {key: at for key, at in self.counters.items() if key[0] not in closed}
            return
        for reading in event.readings:
            self._post(reading)

    def _post(self, reading: Reading) -> None:
        key = (reading.source, reading.account, reading.unit)
        amount = reading.total - self.counters.get(key, 0)
        if amount <= 0:
            return
        self.counters[key] = reading.total
        self.balances[reading.account, reading.unit].debits += amount
        self.balances[SUPPLIER, reading.unit].credits += amount

    def news(self, readings: Iterator[Reading]) -> tuple[Reading, ...]:
        """Return the readings that would post something."""
        return tuple(
            each
            for each in readings
            if each.total > self.counters.get((each.source, each.account, each.unit), 0)
        )

    def balanced(self) -> bool:
        """Tell whether debits equal credits in every unit: the invariant of the whole ledger."""
        sums: defaultdict[str, int] = defaultdict(int)
        for (_, unit), balance in self.balances.items():
            sums[unit] += balance.debits - balance.credits
        return not any(sums.values())

    def used(self, prefix: str) -> Iterator[tuple[str, str, int]]:
        """Yield (account, unit, amount) for the accounts at or below a prefix."""
        for (account, unit), balance in sorted(self.balances.items()):
            if balance.debits and (account == prefix or account.startswith(f"{prefix}/")):
                yield account, unit, balance.debits


def encode(event: Posted | SourcesClosed) -> bytes:
    """Return the log entry's body for an event."""
    return msgspec.json.encode(event)
