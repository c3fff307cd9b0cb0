"""A full disk is known by what systems and engines say of it."""

from __future__ import annotations

import errno
import sqlite3

import pytest

from skerry.kernel.errors import disk_full


class SaidError(Exception):
    """An error of a library, with what it says by number."""

    def __init__(self, **said: object) -> None:
        super().__init__()
        vars(self).update(said)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "/state/a"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        SaidError(result=13),
        SaidError(sqlstate="53100"),
    ],
)
def test_a_full_disk_is_known(error: Exception) -> None:
    told = disk_full(error)
    assert told is not None
    assert told.code == "DISK_FULL"
    assert told.why.endswith(".")
    assert told.hint == "skerry doctor"


def test_sqlite_says_so_by_its_code() -> None:
    database = sqlite3.connect(":memory:")
    database.execute("PRAGMA max_page_count = 2")
    database.execute("CREATE TABLE t (x)")
    with pytest.raises(sqlite3.OperationalError) as full:
        database.execute("INSERT INTO t VALUES (zeroblob(100000))")
    database.close()
    assert disk_full(full.value) is not None


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "Input/output error"), ValueError("full"), SaidError(result=10)]
)
def test_other_errors_are_not_taken_for_it(error: Exception) -> None:
    assert disk_full(error) is None
