"""Holding off every writer of a database, in all processes."""

from __future__ import annotations

from pathlib import Path

import apsw

from skerry.kernel.errors import BUSY
from skerry.kinds._shared.sqlite_state.connection import BUSY_SECONDS, connect


class WriterHold:
    """The write lock of a database, held on a connection of its own.

    While it is held the log neither grows nor starts over. A checkpoint that had begun before may
    still move pages from the log into the database file; that does not harm a copy that is made
    file by file, because the copied log holds every such page and is read first.

    The copy must be made by another process: a process that closes any file of its own making on a
    database drops all its locks on it (POSIX; https://sqlite.org/howtocorrupt.html, 2.2).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: apsw.Connection | None = None

    @property
    def held(self) -> bool:
        """Tell whether writers are held off."""
        return self._connection is not None

    def hold(self, busy_seconds: float = BUSY_SECONDS) -> None:
        """Wait for the running write, then hold off the next; raise BUSY if it does not end.

        Blocks: call it in a thread.
        """
        assert self._connection is None, "writers are held already"
        connection = connect(self._path, busy_seconds=busy_seconds)
        try:
            connection.execute("BEGIN IMMEDIATE")
        except apsw.BusyError as error:
            connection.close()
            raise BUSY(
                f"A transaction on {self._path.name} did not end within {busy_seconds:g} s.",
                hint="Try again, or end the transaction.",
            ) from error
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def release(self) -> None:
        """Let writers go on; harmless if they are not held."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.execute("ROLLBACK")
            connection.close()
