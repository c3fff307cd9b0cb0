"""A transaction that writes, from its beginning to its end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import apsw


@contextlib.contextmanager
def writing(connection: apsw.Connection) -> Iterator[apsw.Connection]:
    """Take the write lock, commit at the end, undo everything after an exception.

    Use this and never `with connection:`, which waits for the lock and for the disk without letting
    other threads run, among them the one that has the lock.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
