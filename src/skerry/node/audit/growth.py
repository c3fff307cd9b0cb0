"""Which accounts have used more than the audit log has stated, until the next statement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from skerry.node.shelf import PAGE_ROWS, Index

RECENT_MAX = 500
"""Accounts that wait in memory; more wait on disk, so that a node of many branches stays small."""

_GROWN = "CREATE TABLE grown (account, unit, PRIMARY KEY (account, unit)) WITHOUT ROWID;"


class Growth:
    """A set of accounts and units. Any thread may ask it; one thread at a time changes it."""

    def __init__(self, directory: Path) -> None:
        self._recent: dict[tuple[str, str], None] = {}
        self._index = Index(directory, _GROWN)
        self._spilt = 0

    def __len__(self) -> int:
        """How many wait, or a few more: one may wait both in memory and on disk."""
        return len(self._recent) + self._spilt

    def add(self, account: str, unit: str) -> None:
        """Let an account wait."""
        self._recent[account, unit] = None
        if len(self._recent) > RECENT_MAX:
            recent, self._recent = self._recent, {}
            for each in recent:
                self._index.rows("INSERT OR IGNORE INTO grown VALUES (?, ?)", *each)
            self._spilt = int(self._index.row("SELECT count(*) FROM grown")[0])

    def update(self, accounts: Iterable[tuple[str, str]]) -> None:
        """Let several wait."""
        for account, unit in accounts:
            self.add(account, unit)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Yield each once, those on disk first."""
        account = unit = ""
        while rows := self._index.rows(
            "SELECT account, unit FROM grown WHERE (account, unit) > (?, ?) "
            "ORDER BY account, unit LIMIT ?",
            account, unit, PAGE_ROWS,
        ):  # fmt: skip
            yield from rows
            account, unit = rows[-1]
        find = "SELECT 1 FROM grown WHERE account = ? AND unit = ?"
        yield from (each for each in self._recent if not self._index.rows(find, *each))

    def clear(self) -> None:
        """Let none wait any more."""
        self._recent = {}
        if self._spilt:
            self._index.rows("DELETE FROM grown")
            self._spilt = 0

    def close(self) -> None:
        """Give the file back to the disk."""
        self._index.close()
