"""The compiled ledger behind packed records; see `operations.Book` and `rows.Kept`."""

from __future__ import annotations

from typing import Any

import numpy as np

from skerry.kernel.ledger import digest as digests
from skerry.kernel.ledger.records import (
    BATCH_MAX,
    CHANGES_MAX,
    TIME_MAX,
    U128_MAX,
    AccountFilter,
    AccountFlag,
    Change,
    ChangeEvent,
    ChangesFilter,
    FilterFlag,
    QueryFilter,
    QueryFlag,
    pack_change,
    unpack_account_filter,
    unpack_changes_filter,
    unpack_query_filter,
)
from skerry.kernel.ledger.rows import Rows
from skerry.kinds.ledger.compiled import batch, filling, search
from skerry.kinds.ledger.compiled.audit import EXCEEDS, OVERFLOW, REGRESSES, UNBALANCED
from skerry.kinds.ledger.compiled.changed import change_event
from skerry.kinds.ledger.compiled.layout import (
    ACCOUNTS,
    BURNED,
    CREDIT,
    DEBIT,
    DIGEST,
    HEAP,
    LEDGERS,
    MOMENT,
    MOMENTS,
    TRANSFERS,
)
from skerry.kinds.ledger.compiled.store import Tables

_BROKEN = {
    OVERFLOW: "pending and posted balances do not overflow",
    EXCEEDS: "no balance exceeds its limit",
    UNBALANCED: "debits equal credits in every ledger",
    REGRESSES: "timestamps rise",
    filling.ABSENT: "transfers have their accounts",
}
_TABLES = {"transfers": TRANSFERS, "moments": MOMENTS, "burned": BURNED}


class CompiledBook:
    """A ledger whose batches are carried out by compiled code."""

    name = "compiled"

    def __init__(self) -> None:
        self._tables = Tables()
        self._store = self._tables.address
        self._due = np.empty(BATCH_MAX, dtype=np.uint64)
        self._found = np.empty(BATCH_MAX, dtype=np.int64)
        self.timestamp = 0
        self.next_expiry: int | None = None

    @classmethod
    def from_rows(cls, rows: Rows, timestamp: int) -> CompiledBook:
        """Return the book of which these are the rows; it is audited as a whole."""
        book = cls()
        tables = book._tables
        tables.fill(ACCOUNTS, _words(rows.accounts, 16))
        tables.fill(TRANSFERS, _words(rows.transfers, 16))
        tables.fill(MOMENTS, _words(rows.moments, 20))
        tables.fill(BURNED, _words(rows.burned, 2))
        _audited(tables.connect(np.frombuffer(rows.fates, dtype=np.uint8)))
        book._finish(timestamp)
        return book

    @property
    def digest(self) -> int:
        """See `operations.Book`."""
        return (self._tables.count(DIGEST) + digests.mixed(self.timestamp)) & digests.MASK

    def create_accounts(self, events: memoryview, timestamp: int) -> bytes:
        """See `operations.Book`."""
        return self._run(events, timestamp, of_transfers=False)

    def create_transfers(self, events: memoryview, timestamp: int) -> bytes:
        """See `operations.Book`."""
        return self._run(events, timestamp, of_transfers=True)

    def _run(self, packed: memoryview, timestamp: int, *, of_transfers: bool) -> bytes:
        events = _words(packed, 16)
        size = len(events)
        self._check_time(size, timestamp)
        for table in (TRANSFERS, MOMENTS, BURNED, HEAP) if of_transfers else (ACCOUNTS, LEDGERS):
            self._tables.room(table, size)
        results = np.empty((size, 2), dtype=np.uint64)
        addresses = events.ctypes.data, results.ctypes.data
        moment = np.uint64(timestamp)
        _audited(batch.run(self._store, addresses[0], size, moment, addresses[1], of_transfers))
        self._finish(timestamp)
        return results.tobytes()

    def expire(self, timestamp: int) -> int:
        """See `operations.Book`."""
        self._check_time(0, timestamp)
        self._tables.room(MOMENTS, BATCH_MAX)
        due = self._due.ctypes.data
        broken, count = batch.expire(self._store, np.uint64(timestamp), due, BATCH_MAX)
        assert self.timestamp + count <= timestamp, "timestamps rise"
        _audited(broken)
        self._finish(timestamp)
        return int(count)

    def lookup_accounts(self, ids: memoryview) -> bytes:
        """See `Queries.lookup_accounts`."""
        return self._lookup(ids, of_transfers=False)

    def lookup_transfers(self, ids: memoryview) -> bytes:
        """See `Queries.lookup_transfers`."""
        return self._lookup(ids, of_transfers=True)

    def _lookup(self, ids: memoryview, *, of_transfers: bool) -> bytes:
        wanted = _words(ids, 2)
        found = np.empty(len(wanted), dtype=np.int64)
        count = search.lookup(self._store, wanted, of_transfers, found)
        return self._packed(TRANSFERS if of_transfers else ACCOUNTS, found[:count])

    def get_account_transfers(self, wanted: memoryview) -> bytes:
        """See `Queries.get_account_transfers`."""
        return self._packed(TRANSFERS, self._of_account(unpack_account_filter(wanted)))

    def get_account_balances(self, wanted: memoryview) -> bytes:
        """See `Queries.get_account_balances`."""
        asked = unpack_account_filter(wanted)
        account = self._account(asked.account_id)
        flags = int(self._tables.rows(ACCOUNTS)[account, 14]) >> 48 if account >= 0 else 0
        if not flags & AccountFlag.HISTORY:
            return b""
        found = self._of_account(asked)
        notes = self._tables.notes(TRANSFERS)
        moments = self._tables.rows(MOMENTS)[notes[found, MOMENT]]
        balances = np.zeros((len(found), 16), dtype=np.uint64)
        is_credit = notes[found, CREDIT] == np.uint64(account)
        balances[:, :8] = np.where(is_credit[:, None], moments[:, 8:16], moments[:, :8])
        balances[:, 8] = moments[:, 16]
        return balances.tobytes()

    def query_accounts(self, wanted: memoryview) -> bytes:
        """See `Queries.query_accounts`."""
        return self._packed(ACCOUNTS, self._query(ACCOUNTS, unpack_query_filter(wanted)))

    def query_transfers(self, wanted: memoryview) -> bytes:
        """See `Queries.query_transfers`."""
        return self._packed(TRANSFERS, self._query(TRANSFERS, unpack_query_filter(wanted)))

    def get_change_events(self, wanted: memoryview) -> bytes:
        """See `Queries.get_change_events`."""
        asked = unpack_changes_filter(wanted)
        if not _makes_sense(asked):
            return b""
        times = self._tables.rows(MOMENTS)[:, 16]
        order = None
        if bool((times[1:] < times[:-1]).any()):
            # An imported transfer may lie before an expiry that came earlier.
            order = np.argsort(times, kind="stable")
            times = times[order]
        low = int(np.searchsorted(times, np.uint64(asked.timestamp_min), "left"))
        high = len(times)
        if asked.timestamp_max:
            high = int(np.searchsorted(times, np.uint64(asked.timestamp_max), "right"))
        high = min(high, low + min(asked.limit, CHANGES_MAX))
        places = range(low, high) if order is None else order[low:high]
        return b"".join(pack_change(self._change(int(place))) for place in places)

    def _change(self, place: int) -> ChangeEvent:
        tables = self._tables
        moment = tables.rows(MOMENTS)[place]
        row = int(moment[17])
        sides = tables.notes(TRANSFERS)[row]
        return change_event(
            Change(int(moment[18]) >> 32 & 0xFF),
            moment,
            tables.rows(TRANSFERS)[row],
            tables.rows(ACCOUNTS)[int(sides[DEBIT])],
            tables.rows(ACCOUNTS)[int(sides[CREDIT])],
        )

    def account_count(self) -> int:
        """Return how many accounts there are."""
        return self._tables.count(ACCOUNTS)

    def count(self, table: str) -> int:
        """See `rows.Kept`."""
        return self._tables.count(_TABLES[table])

    def rows(self, table: str, start: int, stop: int) -> bytes:
        """See `rows.Kept`."""
        with self._tables.moving:
            packed: bytes = self._tables.rows(_TABLES[table])[start:stop].tobytes()
        return packed

    def accounts(self) -> bytes:
        """See `rows.Kept`."""
        packed: bytes = self._tables.rows(ACCOUNTS).tobytes()
        return packed

    def fates(self) -> bytes:
        """See `rows.Kept`."""
        fates = np.empty(self._tables.count(TRANSFERS), dtype=np.uint8)
        filling.all_fates(self._store, fates)
        return fates.tobytes()

    def _account(self, id_: int) -> int:
        found = np.empty(1, dtype=np.int64)
        wanted = _words(id_.to_bytes(16, "little"), 2)
        count = search.lookup(self._store, wanted, False, found)
        return int(found[0]) if count else -1

    def _of_account(self, asked: AccountFilter) -> Any:
        sides = asked.flags & (FilterFlag.DEBITS | FilterFlag.CREDITS)
        known = sides | (asked.flags & FilterFlag.REVERSED)
        nobody = asked.account_id in (0, U128_MAX)
        if not sides or known != asked.flags or nobody or not _makes_sense(asked):
            return self._found[:0]
        account = self._account(asked.account_id)
        if account < 0:
            return self._found[:0]
        found = self._found[: min(asked.limit, BATCH_MAX)]
        backwards = bool(asked.flags & FilterFlag.REVERSED)
        terms, span = _terms(asked), _span(asked)
        count = search.of_account(self._store, account, terms, span, int(sides), backwards, found)
        return found[:count]

    def _query(self, table: int, asked: QueryFilter) -> Any:
        if asked.flags & ~QueryFlag.REVERSED or not _makes_sense(asked):
            return self._found[:0]
        found = self._found[: min(asked.limit, BATCH_MAX)]
        backwards = bool(asked.flags & QueryFlag.REVERSED)
        count = search.query(self._store, table, _terms(asked), _span(asked), backwards, found)
        return found[:count]

    def _packed(self, table: int, found: Any) -> bytes:
        packed: bytes = self._tables.rows(table)[found].tobytes()
        return packed

    def _check_time(self, count: int, timestamp: int) -> None:
        assert count <= BATCH_MAX, "a batch is bounded"
        assert self.timestamp + count <= timestamp <= TIME_MAX, "timestamps rise"

    def _finish(self, timestamp: int) -> None:
        self.timestamp = timestamp
        self.next_expiry = int(batch.next_expiry(self._store)) or None


def _words(packed: bytes | memoryview, words: int) -> Any:
    """Return packed rows as rows of 64-bit words."""
    return np.frombuffer(packed, dtype=np.uint64).reshape(-1, words)


def _makes_sense(asked: AccountFilter | QueryFilter | ChangesFilter) -> bool:
    low, high = asked.timestamp_min, asked.timestamp_max
    in_order = high == 0 or low <= high
    return in_order and max(low, high) <= TIME_MAX and asked.limit > 0 and not any(asked.reserved)


def _terms(asked: AccountFilter | QueryFilter) -> Any:
    wide = asked.user_data_128
    ledger = asked.ledger if isinstance(asked, QueryFilter) else 0
    terms = (wide & digests.MASK, wide >> 64, asked.user_data_64, asked.user_data_32, ledger)
    return np.array([*terms, asked.code], dtype=np.uint64)


def _span(asked: AccountFilter | QueryFilter) -> Any:
    """Return the first timestamp that is meant, and the first one after those."""
    last = asked.timestamp_max or TIME_MAX
    return np.array([asked.timestamp_min, last + 1], dtype=np.uint64)


def _audited(broken: int) -> None:
    assert broken == 0, _BROKEN[int(broken)]
