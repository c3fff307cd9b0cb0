"""What every kind relies on when its state is a SQLite file."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw
import pytest

from skerry.kernel.errors import BUSY, CORRUPT, INVALID, NOT_FOUND, SkerryError
from skerry.kinds._shared.sqlite_state import (
    WriterHold,
    checkpoint,
    connect,
    copy_to,
    disk_bytes,
    open_export,
    replace_with,
    writing,
)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    file = tmp_path / "state.sqlite"
    connection = connect(file, create=True)
    connection.execute("create table t(a); insert into t values (1)")
    yield file
    connection.close()


def values(file: Path) -> list[int]:
    connection = connect(file)
    try:
        return [row[0] for row in connection.execute("select a from t order by a")]
    finally:
        connection.close()


def test_commits_are_logged_and_synced(path: Path) -> None:
    connection = connect(path)
    assert connection.pragma("journal_mode") == "wal"
    assert connection.pragma("synchronous") == 2
    connection.close()


OPENER = """
import sys, time
from pathlib import Path
from skerry.kinds._shared.sqlite_state import connect
print("ready", flush=True)
began = float(sys.stdin.readline())
for number in range(100):
    while time.monotonic() < began + number * 0.005:
        pass
    connection = connect(Path(sys.argv[1]) / f"{number}.sqlite", create=True)
    assert connection.pragma("journal_mode") == "wal"
    connection.execute("create table if not exists t(a)")
    connection.close()
"""


def test_processes_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPENER, str(tmp_path)]
    with contextlib.ExitStack() as stack:
        openers = [
            stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for _ in range(4)
        ]
        for each in openers:
            assert each.stdout is not None
            assert each.stdout.readline() == "ready\n"
        began = time.monotonic() + 0.05
        for each in openers:
            assert each.stdin is not None
            each.stdin.write(f"{began}\n")
            each.stdin.flush()
        for each in openers:
            each.communicate(timeout=40)
    assert [each.returncode for each in openers] == [0] * 4


def test_a_hold_stops_writers_but_not_readers(path: Path) -> None:
    hold = WriterHold(path)
    hold.hold()
    assert hold.held
    writer = connect(path, busy_seconds=0.02)
    with pytest.raises(apsw.BusyError):
        writer.execute("insert into t values (2)")
    assert values(path) == [1]
    hold.release()
    hold.release()
    writer.execute("insert into t values (2)")
    writer.close()
    assert values(path) == [1, 2]


def test_a_hold_gives_up_on_a_writer_that_does_not_end(path: Path) -> None:
    writer = connect(path)
    writer.execute("begin immediate")
    hold = WriterHold(path)
    with pytest.raises(SkerryError) as caught:
        hold.hold(busy_seconds=0.02)
    assert caught.value.problem is BUSY
    assert not hold.held
    writer.close()


WRITER = """
import sys
from pathlib import Path
from skerry.kinds._shared.sqlite_state import connect
connection = connect(Path(sys.argv[1]))
for number in range(2, 1_000_000):
    connection.execute("insert into t values (?)", (number,))
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


def test_acknowledged_commits_survive_a_kill(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(30)]
        process.kill()
        acknowledged += [int(line) for line in process.stdout if line.endswith("\n")]
    assert {1, *acknowledged} <= set(values(path))


def test_files_cloned_one_by_one_under_a_hold_are_sound(path: Path, tmp_path: Path) -> None:
    hold = WriterHold(path)
    hold.hold()
    clone = tmp_path / "clone"
    clone.mkdir()
    subprocess.run(["cp", *tmp_path.glob("state.sqlite*"), clone], check=True)
    hold.release()
    assert values(clone / "state.sqlite") == [1]


def test_a_copy_is_exact_and_stands_alone(path: Path, tmp_path: Path) -> None:
    connection = connect(path)
    connection.execute("insert into t values (2); insert into t values (3)")
    connection.execute("delete from t where a = 2")
    checkpoint(connection)
    target = tmp_path / "export.sqlite"
    copy_to(connection, target)
    assert not target.with_name("export.sqlite-wal").exists()
    copy = open_export(target)
    assert list(copy.execute("select rowid, a from t")) == [(1, 1), (3, 3)]
    copy.close()
    connection.close()
    assert disk_bytes(path) > 0


@pytest.mark.parametrize("page_bytes", [1024, 4096, 65536])
def test_content_is_replaced_under_an_open_reader(
    path: Path, tmp_path: Path, page_bytes: int
) -> None:
    reader = connect(path)
    source = apsw.Connection(str(tmp_path / "other.sqlite"))
    source.pragma("page_size", page_bytes)
    source.execute("create table t(a); insert into t values (7)")
    live = connect(path)
    replace_with(live, source)
    assert list(reader.execute("select a from t")) == [(7,)]
    assert reader.pragma("journal_mode") == "wal"
    for each in (reader, live, source):
        each.close()


def test_writers_in_many_threads_take_turns(path: Path) -> None:
    def write() -> None:
        connection = connect(path)
        for _ in range(10):
            with writing(connection):
                connection.execute("insert into t values (9)")
        connection.close()

    with ThreadPoolExecutor(6) as threads:
        for job in [threads.submit(write) for _ in range(6)]:
            job.result(timeout=30)
    assert values(path) == [1] + [9] * 60


def test_a_failed_transaction_is_undone(path: Path) -> None:
    connection = connect(path)
    with pytest.raises(ZeroDivisionError), writing(connection):
        connection.execute("insert into t values (2)")
        raise ZeroDivisionError
    assert values(path) == [1]
    connection.close()


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"not a database at all" * 400)
    with pytest.raises(SkerryError) as caught:
        open_export(garbage)
    assert caught.value.problem is INVALID
    with pytest.raises(SkerryError) as caught:
        connect(garbage)
    assert caught.value.problem is CORRUPT
    with pytest.raises(SkerryError) as caught:
        connect(tmp_path / "absent")
    assert caught.value.problem is NOT_FOUND


def test_a_checkpoint_leaves_the_work_to_one_that_runs_already(path: Path) -> None:
    reader, writer, first, second = (connect(path) for _ in range(4))
    assert reader.execute("begin; select a from t").get == 1
    writer.execute("insert into t values (2)")
    outcomes: list[str] = []

    def while_the_first_waits_for_the_reader(_calls: int) -> bool:
        try:
            second.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.BusyError:
            outcomes.append("busy")
        checkpoint(second)
        outcomes.append("left alone")
        return False

    first.set_busy_handler(while_the_first_waits_for_the_reader)
    with pytest.raises(apsw.BusyError):
        first.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
    assert outcomes == ["busy", "left alone"]
    for each in (reader, writer, first, second):
        each.close()
