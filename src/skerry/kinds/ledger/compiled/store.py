"""A store: its tables as numpy arrays, which grow before a batch and never in one."""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
from typing import Any

import numpy as np

from skerry.kernel.ledger.records import BATCH_MAX
from skerry.kinds.ledger.compiled import filling
from skerry.kinds.ledger.compiled.layout import (
    ACCOUNT_MASK,
    ACCOUNT_NOTES,
    ACCOUNT_SLOTS,
    ACCOUNTS,
    ADDRESSES,
    BURNED,
    DECIDED,
    HEAP,
    LEDGER_MASK,
    LEDGER_SLOTS,
    LEDGERS,
    PAGE_WORDS,
    SEED,
    TOUCHED,
    TRANSFER_MASK,
    TRANSFER_NOTES,
    TRANSFER_SLOTS,
    TRANSFERS,
    UNDO,
    WIDTHS,
)

FIRST = 1 << 10
"""How many rows an empty table has room for."""

GROWTH, STEADY = 8, 1 << 22
"""Young tables grow eightfold, up to some size: room that is not used yet costs no memory."""

HUGE_FROM = 16 << 20
"""How many bytes make a table worth huge pages."""

_FIXED = {TOUCHED: 4 * BATCH_MAX, DECIDED: 4 * BATCH_MAX, UNDO: BATCH_MAX + 1}
_MASKS = {ACCOUNT_SLOTS: ACCOUNT_MASK, TRANSFER_SLOTS: TRANSFER_MASK, LEDGER_SLOTS: LEDGER_MASK}
_NOTES = {ACCOUNTS: ACCOUNT_NOTES, TRANSFERS: TRANSFER_NOTES}


def _bytes(table: int, size: int) -> int:
    """Return how many bytes a table of so many rows takes, in whole pages."""
    return -(-8 * WIDTHS[table] * size // mmap.PAGESIZE) * mmap.PAGESIZE


def _area(table: int, size: int) -> mmap.mmap:
    """Return memory of zeros for a table; pages that nobody wrote to do not exist yet."""
    area = mmap.mmap(-1, _bytes(table, size), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE") and len(area) >= HUGE_FROM:
        # A kernel without huge pages says no, and small ones do as well.
        with contextlib.suppress(OSError):
            area.madvise(mmap.MADV_HUGEPAGE)
    return area


class Tables:
    """The memory of a ledger. `address` is what compiled functions call the store."""

    def __init__(self) -> None:
        self.moving = threading.Lock()
        """Held while a table is moved: whoever copies rows in another thread holds it too."""
        self._page = np.zeros(PAGE_WORDS, dtype=np.uint64)
        self.address = int(self._page.ctypes.data)
        self._page[SEED] = int.from_bytes(os.urandom(8), "little")
        self._tables: list[Any] = [None] * len(WIDTHS)
        self._areas: list[mmap.mmap | None] = [None] * len(WIDTHS)
        for table in range(len(WIDTHS)):
            self._set(table, _FIXED.get(table, FIRST), _area(table, _FIXED.get(table, FIRST)))
        for slots in _MASKS:
            self._set(slots, 4 * FIRST, _area(slots, 4 * FIRST))

    def count(self, table: int) -> int:
        """Return how many rows are in use, or another counter."""
        return int(self._page[table])

    def set_count(self, table: int, value: int) -> None:
        """Set a counter."""
        self._page[table] = value

    def rows(self, table: int) -> Any:
        """Return the rows of a table that are in use."""
        return self._tables[table][: self.count(table)]

    def notes(self, table: int) -> Any:
        """Return the notes of all rows of accounts or transfers."""
        return self._tables[_NOTES[table]]

    def room(self, table: int, more: int) -> None:
        """Make room for more rows of a table, and for what is noted of them."""
        needed = self.count(table) + more
        size = len(self._tables[table])
        if needed > size:
            while size < needed:
                size *= GROWTH if size < STEADY else 2
            for each in (table, *([_NOTES[table]] if table in _NOTES else [])):
                self._grow(each, size)
        if table == ACCOUNTS:
            self._slots(ACCOUNT_SLOTS, needed, filling.enter_accounts)
        elif table == LEDGERS:
            self._slots(LEDGER_SLOTS, needed, filling.enter_ledgers)
        elif table in (TRANSFERS, BURNED):
            ids = self.count(TRANSFERS) + self.count(BURNED) + more
            self._slots(TRANSFER_SLOTS, ids, filling.enter_transfers)

    def _slots(self, slots: int, ids: int, enter: Any) -> None:
        """Keep a hash table at most half full."""
        size = len(self._tables[slots])
        if 2 * ids <= size:
            return
        while size < 2 * ids:
            size *= GROWTH if size < STEADY else 2
        self._set(slots, size, _area(slots, size))
        enter(self.address)

    def _grow(self, table: int, size: int) -> None:
        """Make a table larger: its pages are moved, not copied, where the system can."""
        with self.moving:
            area, self._tables[table] = self._areas[table], None
            assert area is not None
            try:
                area.resize(_bytes(table, size))
            except (BufferError, OSError, SystemError, ValueError):
                larger = _area(table, size)
                larger[: len(area)] = area[:]
                area = larger
            self._set(table, size, area)

    def _set(self, table: int, size: int, area: mmap.mmap) -> None:
        words = np.frombuffer(area, dtype=np.uint64, count=size * WIDTHS[table])
        rows = words.reshape(size, WIDTHS[table])
        self._tables[table], self._areas[table] = rows, area
        self._page[ADDRESSES + table] = rows.ctypes.data
        if table in _MASKS:
            self._page[_MASKS[table]] = len(rows) - 1

    def fill(self, table: int, rows: Any) -> None:
        """Put loaded rows into an empty table."""
        self.room(table, len(rows))
        self._tables[table][: len(rows)] = rows
        self.set_count(table, len(rows))

    def connect(self, fates: Any) -> int:
        """Enter, link and audit all rows that were filled in; return what is broken, or 0."""
        accounts, transfers = self.count(ACCOUNTS), self.count(TRANSFERS)
        for table, size in ((TOUCHED, accounts), (DECIDED, transfers)):
            if size > len(self._tables[table]):
                self._grow(table, size)
        filling.enter_accounts(self.address)
        filling.enter_transfers(self.address)
        self.room(LEDGERS, accounts)
        self.room(HEAP, transfers)
        return int(filling.connect(self.address, fates))
