"""Writes the files of rows that are full while the ledger goes on, so that a snapshot has little to
write and holds nobody up for long.

Rows that a batch has left behind never change, so they can be copied beside the batches that come
after. A snapshot writes what is not there yet itself: nothing depends on how far this has come.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from pathlib import Path

from skerry.kernel.ledger.rows import ROW_BYTES
from skerry.kinds.ledger import snapshot
from skerry.kinds.ledger.rows import Kept

NICENESS = 10
CLOSE_SECONDS = 10.0

_log = logging.getLogger(__name__)


class Archivist:
    """A thread that writes files of rows."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files = threading.Lock()
        self._work = threading.Condition()
        self._book: Kept | None = None
        self._generation = 0
        self._full: dict[str, int] = {}
        self._closing = False
        self._thread: threading.Thread | None = None

    def left_behind(self, book: Kept, generation: int) -> None:
        """Take note, between two batches, of how many rows will never change."""
        full = {table: book.count(table) // snapshot.FILE_ROWS for table in ROW_BYTES}
        if full == self._full:
            return
        with self._work:
            self._book, self._generation, self._full = book, generation, full
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="ledger-rows", daemon=True)
                self._thread.start()
            self._work.notify()

    def hold(self) -> None:
        """Write nothing until `release`, and forget the book; blocks until nothing is written."""
        with self._work:
            self._book, self._full = None, {}
        self._files.acquire()

    def release(self) -> None:
        """Go on."""
        self._files.release()

    def close(self) -> None:
        """End, after the file that is being written; one that is held is left behind."""
        with self._work:
            self._closing = True
            self._book = None
            self._work.notify()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)
            self._thread = None

    def _run(self) -> None:
        if sys.platform == "linux":
            # Priorities are a thread's own there; whoever waits for a reply goes first.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while True:
            with self._work:
                while self._book is None and not self._closing:
                    self._work.wait()
                if self._closing:
                    return
            try:
                self._write()
            except OSError as error:
                # The snapshot will write them, or say why it cannot.
                _log.warning("files of rows are not written beforehand: %s", error)
                with self._work:
                    self._book = None

    def _write(self) -> None:
        """Write one file after the other, letting go in between."""
        for table in ROW_BYTES:
            while True:
                with self._files:
                    with self._work:
                        book, generation = self._book, self._generation
                        full = self._full.get(table, 0)
                    if book is None or not snapshot.fill_next(
                        self._directory, book, table, generation, full
                    ):
                        break
        with self._work:
            if self._is_done():
                self._book = None

    def _is_done(self) -> bool:
        done = (
            snapshot.is_full(self._directory, table, self._generation, count)
            for table, count in self._full.items()
        )
        return all(done)
