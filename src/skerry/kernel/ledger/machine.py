"""The ledger as a deterministic state machine, in TigerBeetle's model: plain, and the oracle.

It is a fold: what it holds follows from the batches that it was given and their timestamps, and
from nothing else. It has no clock and touches no disk. Whoever drives it gives each batch a
timestamp in nanoseconds; event `i` of `n` gets `timestamp - n + i + 1`, so the timestamp must be at
least `n` above the one before. Before a batch, whoever drives it calls `expire` while
`next_expiry` is not after the batch's timestamp.

The model, flags, statuses and their precedence are TigerBeetle's (release 0.17, Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from skerry.kernel.ledger import accounts, transfers
from skerry.kernel.ledger.audit import Auditor
from skerry.kernel.ledger.queries import Queries
from skerry.kernel.ledger.records import (
    BATCH_MAX,
    TIME_MAX,
    Account,
    Change,
    PendingStatus,
    Result,
    Transfer,
    TransferFlag,
)
from skerry.kernel.ledger.state import State, expires_at
from skerry.kernel.ledger.statuses import TRANSIENT, AccountStatus, TransferStatus

_LINKED = int(TransferFlag.LINKED)

Event = TypeVar("Event", Account, Transfer)
Statuses = type[AccountStatus] | type[TransferStatus]


class Machine(Queries):
    """A ledger: accounts, and the transfers between them."""

    def __init__(self) -> None:
        super().__init__(State())
        self.timestamp = 0
        self._auditor = Auditor(self.state)

    @classmethod
    def restored(cls, state: State, timestamp: int) -> Machine:
        """Return a ledger that goes on from a state that was kept; it is audited as a whole."""
        machine = cls()
        machine.state = state
        machine._auditor = Auditor(state)
        machine._finish(timestamp)
        return machine

    @property
    def digest(self) -> int:
        """The 64-bit digest of the whole state; equal states have equal digests."""
        return self._auditor.digest(self.timestamp)

    @property
    def next_expiry(self) -> int | None:
        """When the next pending transfer times out, in nanoseconds, or None."""
        pending = self.state.next_expiry()
        return None if pending is None else expires_at(pending)

    def create_accounts(self, events: Sequence[Account], timestamp: int) -> list[Result]:
        """Create accounts; return what became of each, in order."""

        def create(event: Account, at: int) -> Result:
            return accounts.create(self.state, event, at)

        return self._batch(AccountStatus, events, timestamp, create)

    def create_transfers(self, events: Sequence[Transfer], timestamp: int) -> list[Result]:
        """Create transfers; return what became of each, in order."""

        def create(event: Transfer, at: int) -> Result:
            return transfers.create(self.state, event, at)

        return self._batch(TransferStatus, events, timestamp, create)

    def expire(self, timestamp: int) -> int:
        """Expire what timed out by `timestamp`, up to a batch of it; return how many did."""
        due: list[Transfer] = []
        while len(due) < BATCH_MAX:
            pending = self.state.next_expiry()
            if pending is None or expires_at(pending) > timestamp:
                break
            self.state.decide(pending, PendingStatus.EXPIRED)
            due.append(pending)
        self._check_time(len(due), timestamp)
        for index, pending in enumerate(due):
            self.state.move(pending, pending=-pending.amount, close=False)
            at = timestamp - len(due) + index + 1
            self.state.note(at, Change.TWO_PHASE_EXPIRED, pending)
        self._finish(timestamp)
        return len(due)

    def _batch(
        self,
        statuses: Statuses,
        events: Sequence[Event],
        timestamp: int,
        create: Callable[[Event, int], Result],
    ) -> list[Result]:
        """Carry out events one after the other, and each chain of linked ones as a whole."""
        self._check_time(len(events), timestamp)
        batch = _Batch(statuses, timestamp, events)
        results: list[Result] = []
        chain: int | None = None
        broken = False
        for index, event in enumerate(events):
            linked = bool(event.flags & _LINKED)
            if linked and chain is None:
                chain = index
                self.state.open_chain()
            at = timestamp - len(events) + index + 1
            status = batch.refusal(event, broken=broken, open_end=linked and at == timestamp)
            result = Result(at, status) if status is not None else create(event, at)
            results.append(result)
            if result.status != statuses.CREATED:
                if chain is not None and not broken:
                    broken = True
                    self.state.close_chain(keep=False)
                    _fail(results, chain, statuses.LINKED_EVENT_FAILED)
                self._burn(statuses, event.id, result.status)
            if chain is not None and (not linked or at == timestamp):
                if not broken:
                    self.state.close_chain(keep=True)
                chain, broken = None, False
        self._finish(timestamp)
        return results

    def _burn(self, statuses: Statuses, id_: int, status: int) -> None:
        if statuses is TransferStatus and status in TRANSIENT:
            self.state.burn(id_)

    def _check_time(self, count: int, timestamp: int) -> None:
        assert count <= BATCH_MAX, "a batch is bounded"
        assert self.timestamp + count <= timestamp <= TIME_MAX, "timestamps rise"

    def _finish(self, timestamp: int) -> None:
        self.timestamp = timestamp
        self._auditor.check()


class _Batch:
    """What is told of an event before it is looked at as an account or a transfer."""

    def __init__(
        self, statuses: Statuses, timestamp: int, events: Sequence[Account] | Sequence[Transfer]
    ) -> None:
        self._statuses = statuses
        self._timestamp = timestamp
        self._flag = int(accounts.IMPORTED if statuses is AccountStatus else transfers.IMPORTED)
        # The first event decides whether the batch imports.
        self._imports = bool(events) and bool(events[0].flags & self._flag)

    def refusal(self, event: Account | Transfer, *, broken: bool, open_end: bool) -> int | None:
        """Return why an event is not even tried, or None."""
        statuses = self._statuses
        if open_end:
            return statuses.LINKED_EVENT_CHAIN_OPEN
        if broken:
            return statuses.LINKED_EVENT_FAILED
        imported = bool(event.flags & self._flag)
        if imported != self._imports:
            if imported:
                return statuses.IMPORTED_EVENT_NOT_EXPECTED
            return statuses.IMPORTED_EVENT_EXPECTED
        if not imported:
            return statuses.TIMESTAMP_MUST_BE_ZERO if event.timestamp else None
        if not 1 <= event.timestamp <= TIME_MAX:
            return statuses.IMPORTED_EVENT_TIMESTAMP_OUT_OF_RANGE
        if event.timestamp >= self._timestamp:
            return statuses.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_ADVANCE
        return None


def _fail(results: list[Result], chain: int, failed: int) -> None:
    """Let all events of a chain before the one that broke it have failed."""
    for at in range(chain, len(results) - 1):
        results[at] = Result(results[at].timestamp, failed)
