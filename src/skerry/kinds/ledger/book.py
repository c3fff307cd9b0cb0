"""Which machine runs a ledger: the plain one, or the compiled one where numba is installed.

A small ledger runs on the plain machine, which is there at once. When it gets busy, the compiled
machine is made ready beside it, and takes over between two batches.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import threading
from typing import Any, Protocol

from skerry.kernel.errors import EXTRA_MISSING
from skerry.kernel.ledger.rows import Rows
from skerry.kinds.ledger.operations import Book
from skerry.kinds.ledger.plain import PlainBook
from skerry.kinds.ledger.rows import Kept

AUTO, COMPILED, PLAIN = MACHINES = ("auto", "compiled", "plain")
_WARM = "skerry.kinds.ledger.compiled.warm"
_MODULE = "skerry.kinds.ledger.compiled.book"
_log = logging.getLogger(__name__)


class AnyBook(Book, Kept, Protocol):
    """A book that can be kept."""

    name: str

    def account_count(self) -> int:
        """Return how many accounts there are."""
        ...


def has_compiler() -> bool:
    """Tell whether numba is installed."""
    return importlib.util.find_spec("numba") is not None


def open_book(rows: Rows | None, timestamp: int, *, compiled: bool) -> AnyBook:
    """Return the book of which these are the rows, or an empty one.

    Raises EXTRA_MISSING if the compiled machine is asked for and numba is not installed.
    """
    kind: Any = PlainBook
    if compiled:
        if not has_compiler():
            raise EXTRA_MISSING(
                "The compiled machine of ledgers needs numba.",
                hint="pip install 'skerry[ledger]'",
            )
        importlib.import_module(_WARM).warm()
        kind = importlib.import_module(_MODULE).CompiledBook
    book: AnyBook = kind() if rows is None else kind.from_rows(rows, timestamp)
    return book


class Switch:
    """Makes the compiled machine ready in a thread of its own, and moves a book to it."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._is_ready = False

    def ready(self) -> bool:
        """Tell whether the machine is there; the first call begins to make it."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._prepare, name="ledger-compile", daemon=True
            )
            self._thread.start()
        return self._is_ready

    def _prepare(self) -> None:
        try:
            importlib.import_module(_WARM).warm()
        except Exception:
            _log.exception("the compiled machine cannot be made; the plain one goes on")
            return
        self._is_ready = True

    def convert(self, book: AnyBook) -> AnyBook:
        """Return the same book on the compiled machine."""
        rows = Rows(
            book.accounts(),
            book.rows("transfers", 0, book.count("transfers")),
            book.fates(),
            *(book.rows(table, 0, book.count(table)) for table in ("moments", "burned")),
        )
        made = open_book(rows, book.timestamp, compiled=True)
        assert made.digest == book.digest, "both machines come to the same state"
        return made
