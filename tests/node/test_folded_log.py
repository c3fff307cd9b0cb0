"""A start reads a snapshot and what came after it; without a good one, all of the log."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry.kernel.clock import SystemClock
from skerry.kernel.errors import CORRUPT, SkerryError
from skerry.node import folded_log
from skerry.node.folded_log import FoldedLog


class Words:
    """A fold that keeps all that it was given."""

    def __init__(self, body: bytes = b"") -> None:
        self.text = body

    def apply(self, body: bytes) -> None:
        self.text += body + b" "


def in_parts(words: Words) -> Iterator[bytes]:
    for start in range(0, len(words.text), 7):
        yield words.text[start : start + 7]


def made(
    folder: Path, *, snapshot_bytes: int = 1 << 20, stop_bytes: int = 20, code: str = "this"
) -> FoldedLog[Words]:
    return FoldedLog(
        folder,
        SystemClock(),
        Words,
        in_parts,
        lambda parts: Words(b"".join(parts)),
        code=code,
        snapshot_bytes=snapshot_bytes,
        stop_bytes=stop_bytes,
    )


async def write(folder: Path, first: int, count: int, code: str = "this") -> tuple[bytes, int]:
    """Append numbers; return what was folded in all, and how many entries the start read."""
    log = made(folder, code=code)
    fold = await log.open()
    folded = log.folded
    for number in range(first, first + count):
        await log.append(f"{number}".encode())
    await log.close()
    return fold.text, folded


def words(count: int) -> bytes:
    return b"".join(f"{number} ".encode() for number in range(count))


async def test_a_start_reads_what_came_after(tmp_path: Path) -> None:
    assert await write(tmp_path, 0, 30) == (words(30), 0)
    assert await write(tmp_path, 30, 5) == (words(35), 0)
    assert await write(tmp_path, 35, 40) == (words(75), 5)
    assert await write(tmp_path, 75, 0) == (words(75), 0)


async def test_one_is_made_while_the_log_goes_on(tmp_path: Path) -> None:
    log = made(tmp_path, snapshot_bytes=40, stop_bytes=1 << 20)
    await log.open()
    for number in range(300):
        await log.append(f"{number}".encode())
        await asyncio.sleep(0.001)
    await log.close()
    text, folded = await write(tmp_path, 300, 0)
    assert text == words(300)
    assert folded < 300


@pytest.mark.parametrize("damage", ["", "nothing", "zeros", "a bit", "short"])
async def test_a_snapshot_that_is_no_good_is_left_alone(tmp_path: Path, damage: str) -> None:
    await write(tmp_path, 0, 30)
    path = tmp_path / folded_log.FILE
    good = path.read_bytes()
    bad = {
        "": b"",
        "nothing": b"nothing",
        "zeros": bytes(100),
        "a bit": good[:20] + bytes([good[20] ^ 1]) + good[21:],
        "short": good[:-1],
    }
    path.write_bytes(bad[damage])
    assert await write(tmp_path, 30, 0) == (words(30), 30)
    assert await write(tmp_path, 30, 0) == (words(30), 0), "a good one was made again"


async def test_one_that_other_code_made_is_left_alone(tmp_path: Path) -> None:
    await write(tmp_path, 0, 30)
    assert await write(tmp_path, 30, 0, code="other") == (words(30), 30)


async def test_one_that_a_crash_left_unfinished_counts_for_nothing(tmp_path: Path) -> None:
    await write(tmp_path, 0, 30)
    whole = (tmp_path / folded_log.FILE).read_bytes()
    (tmp_path / f".{folded_log.FILE}.new").write_bytes(whole[: len(whole) // 2])
    assert await write(tmp_path, 30, 40) == (words(70), 0)
    assert await write(tmp_path, 70, 0) == (words(70), 0)


async def test_a_disk_that_is_full_spares_the_snapshot_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    await write(tmp_path, 0, 30)
    with monkeypatch.context() as patched:
        patched.setattr(folded_log, "write_secret_parts", full)
        assert await write(tmp_path, 30, 40) == (words(70), 0)
    assert await write(tmp_path, 70, 0) == (words(70), 40)


async def test_a_log_that_lost_its_end_is_told(tmp_path: Path) -> None:
    await write(tmp_path, 0, 30)
    (path,) = tmp_path.glob("*.log")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SkerryError) as told:
        await made(tmp_path).open()
    assert told.value.problem is CORRUPT


async def test_damage_before_the_snapshot_is_found_and_nothing_more_is_appended(
    tmp_path: Path,
) -> None:
    """Whatever bit is turned: the start reads none of it, and the check finds it."""
    await write(tmp_path, 0, 30)
    (path,) = tmp_path.glob("*.log")
    whole = path.read_bytes()
    chance = random.Random(1)
    for _ in range(20):
        log = made(tmp_path)
        assert (await log.open()).text == words(30)
        at = chance.randrange(log.log.position.frame)
        path.write_bytes(
            whole[:at] + bytes([whole[at] ^ 1 << chance.randrange(8)]) + whole[at + 1 :]
        )
        log.check()
        await log.checked()
        with pytest.raises(SkerryError) as told:
            await log.append(b"more")
        assert told.value.problem is CORRUPT
        await log.close()
        path.write_bytes(whole)


async def test_a_log_in_order_is_checked_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folded_log, "CHECK_WORK_SECONDS", 0.0)
    monkeypatch.setattr(folded_log, "CHECK_REST_SECONDS", 0.001)
    await write(tmp_path, 0, 30)
    log = made(tmp_path)
    await log.open()
    log.check()
    await asyncio.gather(*(log.append(b"more") for _ in range(5)))
    await log.checked()
    await log.append(b"more")
    assert log.fold.text == words(30) + b"more " * 6
    await log.close()


async def test_a_log_that_was_written_anew_before_the_snapshot_is_found(tmp_path: Path) -> None:
    """Each entry of it follows the one before, and yet it is another log."""
    ours, other = tmp_path / "ours", tmp_path / "other"
    await write(ours, 0, 30)
    log = made(other)
    await log.open()
    for number in range(30):
        await log.append(f"{number + 1}".encode())
    (path,), (theirs,) = ours.glob("*.log"), other.glob("*.log")
    await log.close()
    log = made(ours)
    await log.open()
    path.write_bytes(theirs.read_bytes())
    log.check()
    await log.checked()
    with pytest.raises(SkerryError) as told:
        await log.append(b"more")
    assert told.value.problem is CORRUPT
    await log.close()


async def test_a_fold_beside_is_of_at_most_so_many(tmp_path: Path) -> None:
    await write(tmp_path, 0, 30)
    log = made(tmp_path)
    await log.open()
    fold, head = log.beside(30)
    assert (fold.text, head) == (words(30), log.position)
    fold, head = log.beside(29)
    assert (fold.text, head.sequence) == (b"", 0)
    await log.close()
