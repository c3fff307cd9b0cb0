"""A start reads a snapshot and what came after it; without a good one, all of the log."""

from __future__ import annotations

from pathlib import Path

import pytest

from skerry.kernel.clock import SystemClock
from skerry.kernel.errors import CORRUPT, SkerryError
from skerry.market import archive as archives
from skerry.market.archive import Archive


class Words:
    """A fold that keeps all that it was given."""

    def __init__(self, body: bytes = b"") -> None:
        self.text = body

    def apply(self, body: bytes) -> None:
        self.text += body + b" "

    def save(self) -> bytes:
        return self.text


def made(folder: Path) -> Archive[Words]:
    return Archive(folder, SystemClock(), Words, Words)


async def write(folder: Path, first: int, count: int) -> tuple[bytes, int]:
    """Append numbers; return what was folded in all, and how many entries the start read."""
    archive = made(folder)
    fold = await archive.open()
    folded = archive.folded
    for number in range(first, first + count):
        await archive.append(f"{number}".encode())
    await archive.close()
    return fold.text, folded


def words(count: int) -> bytes:
    return b"".join(f"{number} ".encode() for number in range(count))


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "STOP_SNAPSHOT_BYTES", 20)


async def test_a_start_reads_what_came_after(tmp_path: Path) -> None:
    assert await write(tmp_path, 0, 30) == (words(30), 0)
    assert await write(tmp_path, 30, 5) == (words(35), 0)
    assert await write(tmp_path, 35, 4) == (words(39), 5)
    assert await write(tmp_path, 39, 20) == (words(59), 9)
    assert await write(tmp_path, 59, 0) == (words(59), 0)


async def test_one_is_made_while_the_log_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "SNAPSHOT_BYTES", 40)
    monkeypatch.setattr(archives, "STOP_SNAPSHOT_BYTES", 1 << 20)
    assert await write(tmp_path, 0, 300) == (words(300), 0)
    text, folded = await write(tmp_path, 300, 0)
    assert text == words(300)
    assert folded < 300


@pytest.mark.parametrize("damage", [b"", b"nothing", bytes(100)])
async def test_a_snapshot_that_is_no_good_is_left_alone(tmp_path: Path, damage: bytes) -> None:
    await write(tmp_path, 0, 30)
    (tmp_path / archives.FILE).write_bytes(damage)
    assert await write(tmp_path, 30, 0) == (words(30), 30)


async def test_a_log_that_lost_its_end_is_told(tmp_path: Path) -> None:
    await write(tmp_path, 0, 30)
    (path,) = tmp_path.glob("*.log")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SkerryError) as told:
        await made(tmp_path).open()
    assert told.value.problem is CORRUPT
