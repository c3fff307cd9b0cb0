"""What a program says is followed without losing a line or saying one twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from skerry.kernel.clock import SystemClock
from skerry.node.workload import output
from skerry.node.workload.output import Follower, LogWriter, tail


def texts(found: list[output.LogLine]) -> list[str]:
    return [each.text for each in found]


def test_nothing_is_lost_between_the_last_lines_and_the_next(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = LogWriter(path, SystemClock())
    writer.feed("stdout", b"one\ntwo\n")
    follower = Follower(path)
    writer.feed("stdout", b"three\n")
    assert texts(follower.first(2)) == ["two", "three"]
    writer.feed("stdout", b"four\n")
    assert texts(follower.read()) == ["four"]
    assert follower.read() == []
    follower.close()
    writer._file.close()


def test_a_full_file_is_followed_into_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "LOG_BYTES_MAX", 100)
    path = tmp_path / "log"
    follower = Follower(path)
    assert follower.first(5) == []
    writer = LogWriter(path, SystemClock())
    said = []
    for number in range(20):
        writer.feed("stdout", f"line {number}\n".encode())
        said += texts(follower.read())
    assert said == [f"line {number}" for number in range(20)]
    late = Follower(path)
    assert texts(late.first(3)) == texts(tail(path, 3)) == said[-3:]
    late.close()
    follower.close()
    writer._file.close()
