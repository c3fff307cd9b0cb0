"""What a snapshot reads of a book, whichever machine runs it."""

from __future__ import annotations

from typing import Protocol


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
