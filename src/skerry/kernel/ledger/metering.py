"""The ledger of record: what was used, as double-entry postings, a fold over the log.

Every posting moves an integer amount of one unit from a supplier's account (`node`) to the account
of the resource that used it, so that in every unit debits equal credits at every moment.

A counter only grows. A posting names the counter and how far it had come, and the ledger posts the
growth since the last posting of it: posting twice changes nothing, and a lost report is made good
by the next one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Protocol

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


class Balance(msgspec.Struct, frozen=True):
    """What an account used of a unit (debits) and supplied of it (credits)."""

    debits: int = 0
    credits: int = 0


class Balances(Protocol):
    """Where the balances of all accounts are kept, by account and unit."""

    def get(self, account: str, unit: str) -> Balance:
        """Return a balance; that of an account that nobody has used is zero."""
        ...

    def put(self, account: str, unit: str, balance: Balance) -> None:
        """Keep a balance."""
        ...

    def below(self, prefix: str = "") -> Iterator[tuple[str, str, Balance]]:
        """Yield (account, unit, balance) at or below a prefix, or of all, in order."""
        ...

    def close(self) -> None:
        """Forget everything."""
        ...


class MemoryBalances:
    """Balances in memory."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Balance] = {}

    def get(self, account: str, unit: str) -> Balance:
        """See `Balances.get`."""
        return self._known.get((account, unit), Balance())

    def put(self, account: str, unit: str, balance: Balance) -> None:
        """See `Balances.put`."""
        self._known[account, unit] = balance

    def below(self, prefix: str = "") -> Iterator[tuple[str, str, Balance]]:
        """See `Balances.below`."""
        for (account, unit), balance in sorted(self._known.items(), key=itemgetter(0)):
            if not prefix or account == prefix or account.startswith(f"{prefix}/"):
                yield account, unit, balance

    def close(self) -> None:
        """See `Balances.close`."""
        self._known = {}


class Ledger:
    """All accounts, by account and unit.

    They are accounts of the double-entry model, one of its ledgers for each unit, moved and audited
    as there: each entry of the log is a small set of books, whose growth is then added to the
    `balances`. The transfers themselves are not kept: they are the entries of the log, and what
    makes them idempotent are the counters of what still counts.
    """

    def __init__(self, balances: Balances | None = None) -> None:
        self.counters: dict[tuple[str, str, str], int] = {}
        self.balances = balances or MemoryBalances()
        self.on_growth: list[Callable[[str, str], None]] = []
        """Called with account and unit after a balance has grown."""
        self._decoder = msgspec.json.Decoder(Posted | SourcesClosed)

    def apply(self, body: bytes) -> None:
        """Fold one entry of the log."""
        event = self._decoder.decode(body)
        if isinstance(event, SourcesClosed):
            closed = set(event.sources)
            self.counters = {key: at for key, at in self.counters.items() if key[0] not in closed}
            return
        books = _Books()
        for reading in event.readings:
            key = (reading.source, reading.account, reading.unit)
            amount = reading.total - self.counters.get(key, 0)
            if amount > 0:
                self.counters[key] = reading.total
                books.supply(reading.account, reading.unit, amount)
        for name, unit, growth in books.audited():
            before = self.balances.get(name, unit)
            after = Balance(before.debits + growth.debits, before.credits + growth.credits)
            self.balances.put(name, unit, after)
            for listener in self.on_growth:
                listener(name, unit)

    def news(self, readings: Iterator[Reading]) -> tuple[Reading, ...]:
        """Return the readings that would post something."""
        return tuple(
            each
            for each in readings
            if each.total > self.counters.get((each.source, each.account, each.unit), 0)
        )

    def balanced(self) -> bool:
        """Tell whether debits equal credits in every unit: the invariant of the whole ledger.

        It reads every account. That each entry keeps it is asserted when the entry is folded.
        """
        sums: defaultdict[str, int] = defaultdict(int)
        for _, unit, balance in self.balances.below():
            sums[unit] += balance.debits - balance.credits
        return not any(sums.values())

    def used(self, prefix: str) -> Iterator[tuple[str, str, int]]:
        """Yield (account, unit, amount) for the accounts at or below a prefix."""
        for account, unit, balance in self.balances.below(prefix):
            if balance.debits:
                yield account, unit, balance.debits


class _Books:
    """What one entry moves."""

    def __init__(self) -> None:
        self._state = State()
        self._accounts: dict[tuple[str, str], Account] = {}
        self._units: dict[str, int] = {}

    def supply(self, account: str, unit: str, amount: int) -> None:
        """Move an amount from the supplier to an account."""
        debit, credit = self._account(account, unit), self._account(SUPPLIER, unit)
        self._state.move(Transfer(0, debit.id, credit.id, amount), posted=amount)

    def _account(self, name: str, unit: str) -> Account:
        account = self._accounts.get((name, unit))
        if account is None:
            ledger = self._units.setdefault(unit, len(self._units) + 1)
            number = len(self._accounts) + 1
            account = Account(number, ledger=ledger, code=1, timestamp=number)
            self._accounts[name, unit] = account
            self._state.add_account(account)
        return account

    def audited(self) -> Iterator[tuple[str, str, Balance]]:
        """Yield by how much each account grew, after its books were found to be in order."""
        Auditor(self._state).check()
        for (name, unit), each in self._accounts.items():
            yield name, unit, Balance(each.debits_posted, each.credits_posted)


def encode(event: Posted | SourcesClosed) -> bytes:
    """Return the log entry's body for an event."""
    return msgspec.json.encode(event)
