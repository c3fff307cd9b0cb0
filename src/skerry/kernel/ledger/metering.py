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
from operator import itemgetter

import msgspec

from skerry.kernel.ledger.audit import Auditor
from skerry.kernel.ledger.records import Account, Transfer
from skerry.kernel.ledger.state import State

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
    """All accounts, by account and unit.

    They are accounts of the double-entry model, one of its ledgers for each unit, moved and audited
    as there. The transfers themselves are not kept in memory: they are the entries of the log, and
    what makes them idempotent are the counters.
    """

    def __init__(self) -> None:
        self.counters: dict[tuple[str, str, str], int] = {}
        self._books = State()
        self._auditor = Auditor(self._books)
        self._accounts: dict[tuple[str, str], Account] = {}
        self._units: dict[str, int] = {}
        self._decoder = msgspec.json.Decoder(Posted | SourcesClosed)

    @property
    def balances(self) -> dict[tuple[str, str], Balance]:
        """What every account used and supplied of every unit."""
        return {
            key: Balance(each.debits_posted, each.credits_posted)
            for key, each in self._accounts.items()
        }

    def apply(self, body: bytes) -> None:
        """Fold one entry of the log."""
        event = self._decoder.decode(body)
        if isinstance(event, SourcesClosed):
            closed = set(event.sources)
            self.counters = {key: at for key, at in self.counters.items() if key[0] not in closed}
            return
        for reading in event.readings:
            self._post(reading)
        self._auditor.check()

    def _post(self, reading: Reading) -> None:
        key = (reading.source, reading.account, reading.unit)
        amount = reading.total - self.counters.get(key, 0)
        if amount <= 0:
            return
        self.counters[key] = reading.total
        debit = self._account(reading.account, reading.unit)
        credit = self._account(SUPPLIER, reading.unit)
        self._books.move(Transfer(0, debit.id, credit.id, amount), posted=amount)

    def _account(self, name: str, unit: str) -> Account:
        """Return the account of a name and unit, opening it at its first use."""
        account = self._accounts.get((name, unit))
        if account is None:
            ledger = self._units.setdefault(unit, len(self._units) + 1)
            number = len(self._accounts) + 1
            account = Account(number, ledger=ledger, code=1, timestamp=number)
            self._accounts[name, unit] = account
            self._books.add_account(account)
        return account

    def news(self, readings: Iterator[Reading]) -> tuple[Reading, ...]:
        """Return the readings that would post something."""
        return tuple(
            each
            for each in readings
            if each.total > self.counters.get((each.source, each.account, each.unit), 0)
        )

    def balanced(self) -> bool:
        """Tell whether debits equal credits in every unit: the invariant of the whole ledger."""
        sums: defaultdict[int, int] = defaultdict(int)
        for account in self._accounts.values():
            sums[account.ledger] += account.debits_posted - account.credits_posted
        return not any(sums.values())

    def used(self, prefix: str) -> Iterator[tuple[str, str, int]]:
        """Yield (account, unit, amount) for the accounts at or below a prefix."""
        for (account, unit), balance in sorted(self._accounts.items(), key=itemgetter(0)):
            if balance.debits_posted and (account == prefix or account.startswith(f"{prefix}/")):
                yield account, unit, balance.debits_posted


def encode(event: Posted | SourcesClosed) -> bytes:
    """Return the log entry's body for an event."""
    return msgspec.json.encode(event)
