"""A copy that is given every change of a state is that state, whatever was written in between."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from skerry.kernel.errors import SkerryError
from skerry.kernel.journal import forget_journal, keep_journal
from skerry.kernel.replica import REMOVE, WRITE, Change, Mark
from skerry.kinds._shared.replica import StateReplica
from skerry.kinds._shared.sqlite_state import checkpoint, connect

FILE = "some.sqlite"
FOREIGN = "../outside"


class Link:
    """A journal that carries every write to a copy at once, or after a while."""

    replicated = True

    def __init__(self, directory: Path, copy: Path) -> None:
        self.source = StateReplica(directory)
        self.target = StateReplica(copy)
        self.directory = directory
        self.waiting: list[Change] = []
        self.holds = False

    def wrote(self, *paths: Path) -> None:
        for path in paths:
            self._take(path, replaced=False)

    announce = wrote

    def replaced(self, path: Path) -> None:
        self._take(path, replaced=True)

    removed = replaced

    def _take(self, path: Path, *, replaced: bool) -> None:
        name = path.relative_to(self.directory).as_posix()
        found = self.source.changes(name, replaced=replaced)
        self.waiting += [self.source.load(each) for each in found]
        if not self.holds:
            self.deliver()

    def deliver(self) -> None:
        for change in self.waiting:
            self.target.apply(change)
        self.target.sync()
        self.waiting.clear()


def content(path: Path) -> list[tuple[int, bytes]]:
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return connection.execute("SELECT k, v FROM t ORDER BY k").fetchall()
    finally:
        connection.close()


class Databases(RuleBasedStateMachine):
    """Writers come and go, logs start over, the copy lags, and is always one commit or another."""

    def __init__(self) -> None:
        super().__init__()
        self.top = Path(tempfile.mkdtemp())
        self.here, self.copy = self.top / "here", self.top / "copy"
        self.here.mkdir()
        self.copy.mkdir()
        self.link = Link(self.here, self.copy)
        keep_journal(self.here, self.link)
        self.open: list[apsw.Connection] = [connect(self.here / FILE, create=True)]
        self.open[0].execute("CREATE TABLE t (k INTEGER PRIMARY KEY, v BLOB)")
        self.model: dict[int, bytes] = {}
        self.delivered: dict[int, bytes] = {}

    @rule(key=st.integers(0, 5), size=st.sampled_from([1, 300, 20_000, 200_000]))
    def write(self, key: int, size: int) -> None:
        value = os.urandom(size)
        self.open[-1].execute("INSERT OR REPLACE INTO t VALUES (?, ?)", (key, value))
        self.model[key] = value

    @rule(key=st.integers(0, 5))
    def delete(self, key: int) -> None:
        self.open[-1].execute("DELETE FROM t WHERE k = ?", (key,))
        self.model.pop(key, None)

    @rule()
    def fail(self) -> None:
        self.open[-1].execute("BEGIN IMMEDIATE")
        self.open[-1].execute("INSERT OR REPLACE INTO t VALUES (0, zeroblob(9000))")
        self.open[-1].execute("ROLLBACK")

    @rule()
    def move_the_log(self) -> None:
        checkpoint(self.open[0])

    @rule()
    def shrink(self) -> None:
        self.open[0].execute("VACUUM")

    @precondition(lambda self: len(self.open) < 3)
    @rule()
    def another_writer(self) -> None:
        self.open.append(connect(self.here / FILE))

    @rule()
    def restart_the_reader(self) -> None:
        self.link.source = StateReplica(self.here)

    @rule()
    def all_close(self) -> None:
        for each in self.open:
            each.close()
        self.open = [connect(self.here / FILE)]

    @rule()
    def lag(self) -> None:
        self.link.holds = True

    @rule()
    def catch_up(self) -> None:
        self.link.holds = False
        self.link.deliver()

    @invariant()
    def the_copy_is_the_state(self) -> None:
        if not self.link.holds:
            self.delivered = dict(self.model)
        opened = self.top / "opened"
        shutil.copytree(self.copy, opened)
        try:
            assert dict(content(opened / FILE)) == self.delivered
        finally:
            shutil.rmtree(opened)

    def teardown(self) -> None:
        for each in self.open:
            each.close()
        forget_journal(self.here)
        shutil.rmtree(self.top)


TestDatabases = Databases.TestCase
TestDatabases.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)


@pytest.fixture
def link(tmp_path: Path) -> Iterator[Link]:
    here, copy = tmp_path / "here", tmp_path / "copy"
    here.mkdir()
    copy.mkdir()
    yield Link(here, copy)


def test_files_grow_are_replaced_and_go(link: Link) -> None:
    path = link.directory / "folder" / "file"
    path.parent.mkdir()
    copy = link.target.directory / "folder" / "file"
    path.write_bytes(b"one")
    link.wrote(path)
    assert copy.read_bytes() == b"one"
    path.write_bytes(b"one and two")
    link.wrote(path)
    assert copy.read_bytes() == b"one and two"
    path.write_bytes(b"new")
    link.replaced(path)
    assert copy.read_bytes() == b"new"
    large = os.urandom(3_000_000)
    path.write_bytes(large)
    link.replaced(path)
    assert copy.read_bytes() == large
    assert link.source.marks() == link.target.marks() == {"folder/file": Mark(len(large))}
    path.unlink()
    link.removed(path)
    assert not copy.exists()


@pytest.mark.parametrize("path", [FOREIGN, "/etc/passwd", "a/../../b", "link/file", "linked", ""])
def test_no_path_leads_out(link: Link, tmp_path: Path, path: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("secret")
    for side in (link.source.directory, link.target.directory):
        (side / "link").symlink_to(outside)
        (side / "linked").symlink_to(outside / "file")
    with contextlib.suppress(SkerryError, OSError):
        assert [each.what for each in link.source.changes(path)] == [REMOVE]
    for what in (WRITE, REMOVE):
        with contextlib.suppress(SkerryError, OSError):
            link.target.apply(Change(path, what, 0, b"x"))
    assert (outside / "file").read_text() == "secret"
    assert sorted(each.name for each in outside.iterdir()) == ["file"]


def test_a_log_without_its_database_asks_for_a_snapshot(link: Link) -> None:
    with pytest.raises(SkerryError) as raised:
        link.target.apply(Change("some.sqlite-wal", WRITE, 0, b"x" * 100))
    assert raised.value.code == "CONFLICT"
