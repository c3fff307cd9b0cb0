"""Which machine runs a ledger: the compiled one where numba is installed, else the plain one."""

from __future__ import annotations

import importlib.util
from typing import Protocol

from skerry.kinds.ledger.operations import Book
from skerry.kinds.ledger.plain import PlainBook
from skerry.kinds.ledger.rows import Kept, Rows


class AnyBook(Book, Kept, Protocol):
    """A book that can be kept."""

    name: str

    def account_count(self) -> int:
        """Return how many accounts there are."""
        ...


def open_book(rows: Rows | None, timestamp: int, *, compiled: bool | None = None) -> AnyBook:
    """Return the book of which these are the rows, or an empty one."""
    if rows is None:
        return PlainBook()
    return PlainBook.from_rows(rows, timestamp)


def has_compiler() -> bool:
    """Tell whether numba is installed."""
    return importlib.util.find_spec("numba") is not None
