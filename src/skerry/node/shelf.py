"""What a node knows of many things that mostly sleep, on its disk instead of in its memory.

These are indexes of what the logs tell: filled anew at each start, of no use to anybody else, and
gone with the process, so their file has no name and nothing of it is ever synced. They hold a few
hundred KiB of pages in memory, however much they know.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from skerry.kernel.branch import Branch
from skerry.kernel.errors import ENGINE_FAILED, disk_full
from skerry.kernel.ledger import Balance

CACHE_KIB = 256
RECENT_MAX = 128
"""Branches that are kept decoded: those that requests go to."""
PAGE_ROWS = 256
_AMOUNT_BYTES = 16

_BRANCHES = """
CREATE TABLE branches (app, name, directory, body, UNIQUE (app, name));
CREATE INDEX directories ON branches (directory);
CREATE TABLE places (id PRIMARY KEY, app, branch, name) WITHOUT ROWID;
CREATE TABLE elsewhere (id PRIMARY KEY, app) WITHOUT ROWID;
"""
_BALANCES = """
CREATE TABLE balances (account, unit, debits, credits, PRIMARY KEY (account, unit)) WITHOUT ROWID;
"""

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Branch)


class Index:
    """A database without a name in a directory. Any thread may use it.

    All of it raises DISK_FULL, or ENGINE_FAILED if the disk fails.
    """

    def __init__(self, directory: Path, schema: str) -> None:
        self._lock = threading.RLock()
        with _told():
            descriptor, path = tempfile.mkstemp(suffix=".index", dir=directory)
        os.close(descriptor)
        try:
            with _told():
                self._database = _open(path, schema)
        finally:
            os.unlink(path)  # noqa: PTH108 (the file lives on while it is open)

    def rows(self, statement: str, *values: Any) -> list[Any]:
        """Run a statement; return what it found."""
        with _told(), self._lock:
            return self._database.execute(statement, values).fetchall()

    def row(self, statement: str, *values: Any) -> Any:
        """Return the first row that a statement finds, or None."""
        found = self.rows(statement, *values)
        return found[0] if found else None

    def close(self) -> None:
        """Give the file back to the disk."""
        with self._lock:
            self._database.close()


def _open(path: str, schema: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        database.executescript(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = OFF;"
            f"PRAGMA synchronous = OFF; PRAGMA cache_size = -{CACHE_KIB};" + schema
        )
        # One transaction that never ends: pages are written when memory for them runs out.
        database.execute("BEGIN IMMEDIATE")
    except BaseException:
        database.close()
        raise
    return database


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Raise what a disk says as an error of ours."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise disk_full(error) or ENGINE_FAILED(
            "An index of the node failed.", why=str(error), hint="skerry doctor"
        ) from error


class DiskShelf:
    """The branches of a catalogue on disk; see `kernel.branch.Shelf`."""

    def __init__(self, directory: Path) -> None:
        self._index = Index(directory, _BRANCHES)
        self._recent: OrderedDict[tuple[str, str], Branch] = OrderedDict()
        self._lock = threading.RLock()

    def get(self, app: str, name: str) -> Branch | None:
        """See `Shelf.get`."""
        with self._lock:
            branch = self._recent.get((app, name))
            if branch is None:
                found = self._index.row(
                    "SELECT body FROM branches WHERE app = ? AND name = ?", app, name
                )
                if found is None:
                    return None
                branch = self._recent[app, name] = _decoder.decode(found[0])
                if len(self._recent) > RECENT_MAX:
                    self._recent.popitem(last=False)
            else:
                self._recent.move_to_end((app, name))
            return branch

    def put(self, branch: Branch) -> None:
        """See `Shelf.put`."""
        with self._lock:
            self._recent.pop((branch.app, branch.name), None)
            self._index.rows(
                "INSERT INTO branches VALUES (?, ?, ?, ?) ON CONFLICT (app, name) DO UPDATE "
                "SET directory = excluded.directory, body = excluded.body",
                branch.app, branch.name, branch.directory, _encode(branch),
            )  # fmt: skip
            for record in branch.resources.values():
                self._index.rows(
                    "INSERT OR REPLACE INTO places VALUES (?, ?, ?, ?)",
                    record.id, branch.app, branch.name, record.name,
                )  # fmt: skip
            for away in branch.away.values():
                self._index.rows("DELETE FROM places WHERE id = ?", away.record.id)

    def remove(self, app: str, name: str) -> None:
        """See `Shelf.remove`."""
        with self._lock:
            branch = self.get(app, name)
            if branch is None:
                return
            self._recent.pop((app, name), None)
            for record in branch.resources.values():
                self._index.rows("DELETE FROM places WHERE id = ?", record.id)
            self._index.rows("DELETE FROM branches WHERE app = ? AND name = ?", app, name)

    def names(self, app: str) -> list[str]:
        """See `Shelf.names`."""
        found = self._index.rows("SELECT name FROM branches WHERE app = ? ORDER BY rowid", app)
        return [name for (name,) in found]

    def count(self, app: str) -> int:
        """See `Shelf.count`."""
        return int(self._index.row("SELECT count(*) FROM branches WHERE app = ?", app)[0])

    def place_of(self, resource_id: str) -> tuple[str, str, str] | None:
        """See `Shelf.place_of`."""
        found: tuple[str, str, str] | None = self._index.row(
            "SELECT app, branch, name FROM places WHERE id = ?", resource_id
        )
        return found

    def has_directory(self, directory: str) -> bool:
        """See `Shelf.has_directory`."""
        return bool(self._index.rows("SELECT 1 FROM branches WHERE directory = ?", directory))

    def note_elsewhere(self, app: str, ids: Iterable[str]) -> None:
        """See `Shelf.note_elsewhere`."""
        for each in ids:
            self._index.rows("INSERT OR REPLACE INTO elsewhere VALUES (?, ?)", each, app)

    def app_elsewhere(self, resource_id: str) -> str | None:
        """See `Shelf.app_elsewhere`."""
        found = self._index.row("SELECT app FROM elsewhere WHERE id = ?", resource_id)
        return str(found[0]) if found else None

    def elsewhere(self) -> Iterator[tuple[str, str]]:
        """See `Shelf.elsewhere`."""
        after = ""
        while rows := self._index.rows(
            "SELECT id, app FROM elsewhere WHERE id > ? ORDER BY id LIMIT ?", after, PAGE_ROWS
        ):
            yield from rows
            after = rows[-1][0]

    def close(self) -> None:
        """See `Shelf.close`."""
        self._index.close()


class DiskBalances:
    """The balances of a ledger on disk; see `kernel.ledger.Balances`."""

    def __init__(self, directory: Path) -> None:
        self._index = Index(directory, _BALANCES)

    def get(self, account: str, unit: str) -> Balance:
        """See `Balances.get`."""
        found = self._index.row(
            "SELECT debits, credits FROM balances WHERE account = ? AND unit = ?", account, unit
        )
        return Balance(_number(found[0]), _number(found[1])) if found else Balance()

    def put(self, account: str, unit: str, balance: Balance) -> None:
        """See `Balances.put`."""
        self._index.rows(
            "INSERT OR REPLACE INTO balances VALUES (?, ?, ?, ?)",
            account, unit, _bytes(balance.debits), _bytes(balance.credits),
        )  # fmt: skip

    def below(self, prefix: str = "") -> Iterator[tuple[str, str, Balance]]:
        """See `Balances.below`."""
        # "0" is the sign after "/": all that begins with "<prefix>/" sorts before "<prefix>0".
        after, least = prefix, ""
        last = f"{prefix}0" if prefix else "\U0010ffff"
        while rows := self._index.rows(
            "SELECT account, unit, debits, credits FROM balances "
            "WHERE (account, unit) > (?, ?) AND account < ? ORDER BY account, unit LIMIT ?",
            after, least, last, PAGE_ROWS,
        ):  # fmt: skip
            for account, unit, debited, credited in rows:
                if not prefix or account == prefix or account.startswith(f"{prefix}/"):
                    yield account, unit, Balance(_number(debited), _number(credited))
            after, least = rows[-1][:2]

    def close(self) -> None:
        """See `Balances.close`."""
        self._index.close()


def _bytes(amount: int) -> bytes:
    """Return an amount as SQLite's integers, of 64 bits, cannot hold it."""
    return amount.to_bytes(_AMOUNT_BYTES)


def _number(data: bytes) -> int:
    return int.from_bytes(data)
