"""The local log and a power cut: what was acknowledged is there, what was not may be, in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from skerry.kernel.clock import SystemClock
from skerry.kernel.errors import SkerryError
from skerry.kernel.log import Entry
from skerry.node.log_file import LogFile
from skerry.testing.power import PowerCut


class DarkError(Exception):
    """The power is gone."""


class Dark(PowerCut):
    """Goes dark at a chosen sync: before it, or after it and before anybody hears of it."""

    at_sync = 0
    after = False
    is_dark = False

    def _go_dark(self) -> None:
        self.is_dark = True
        raise DarkError

    def _note(self, descriptor: int, offset: int, new: bytes) -> None:
        if self.is_dark:
            raise DarkError
        super()._note(descriptor, offset, new)

    def _sync(self, descriptor: int) -> None:
        if self.is_dark or (self.syncs + 1 == self.at_sync and not self.after):
            self._go_dark()
        super()._sync(descriptor)
        if self.syncs == self.at_sync:
            self._go_dark()


async def write_until_dark(folder: Path, cut: Dark, first: int) -> tuple[list[int], list[int]]:
    """Append numbers from several tasks; return what was acknowledged, and all that was tried."""
    acknowledged: list[int] = []
    tried: list[int] = []
    log = LogFile(folder, SystemClock(), lambda _: None, segment_bytes=400)

    async def write(start: int) -> None:
        for number in range(start, start + 12):
            tried.append(number)
            await log.append(b"%d" % number)
            acknowledged.append(number)

    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    writers = [asyncio.create_task(write(first + start)) for start in (0, 100, 200)]
    while not cut.is_dark and not all(each.done() for each in writers):
        await asyncio.sleep(0.001)
    for each in writers:
        each.cancel()
    await asyncio.gather(*writers, return_exceptions=True)
    return acknowledged, tried


def play(folder: Path, seed: int) -> int:
    """Cut the power at some moment, several times; return how many entries survived."""
    chance = random.Random(seed)
    kept: list[int] = []
    for round_ in range(3):
        cut = Dark(folder, chance)
        cut.at_sync, cut.after = chance.randrange(1, 12), chance.random() < 0.5
        acknowledged: list[int] = []
        tried: list[int] = []
        with cut.watching(), contextlib.suppress(DarkError):  # at the opening, perhaps
            work = write_until_dark(folder, cut, (round_ + 1) * 1000)
            acknowledged, tried = asyncio.run(work)
        cut.cut()
        bodies: list[bytes] = []
        log = LogFile(folder, SystemClock(), bodies.append)
        found = list(map(int, bodies))
        assert [int(each.body) for each in log.read()] == found
        assert found[: len(kept)] == kept, f"an older entry changed (seed {seed})"
        new = found[len(kept) :]
        missing = set(acknowledged) - set(new)
        assert not missing, f"{missing} were acknowledged and lost (seed {seed})"
        assert set(new) <= set(tried), f"entries that nobody wrote (seed {seed})"
        kept = found
        asyncio.run(log.close())
    return len(kept)


@pytest.mark.parametrize("block", range(3))
def test_a_power_cut_takes_nothing_that_was_acknowledged(tmp_path: Path, block: int) -> None:
    survived = 0
    for seed in range(block * 60, block * 60 + 60):
        folder = tmp_path / str(seed)
        folder.mkdir()
        survived += play(folder, seed)
    assert survived > 60


def test_the_simulation_takes_what_was_not_synced(tmp_path: Path) -> None:
    """A writer that says it is done before the sync loses what it said."""
    lost = 0
    for seed in range(20):
        cut = PowerCut(tmp_path, random.Random(seed))
        path = tmp_path / f"{seed}"
        with cut.watching():
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
            os.pwrite(descriptor, b"durable", 0)
            os.fdatasync(descriptor)
            folder = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
            os.fsync(folder)
            os.close(folder)
            os.pwrite(descriptor, b" and not", 7)
            os.ftruncate(descriptor, 3)
            os.close(descriptor)
        cut.cut()
        data = path.read_bytes()
        assert data.startswith(b"dur")
        lost += data != b"dur"
    assert 0 < lost <= 20


def test_a_log_that_skips_its_sync_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LogFile, "_write", _unsynced(LogFile._write))
    with pytest.raises((AssertionError, SkerryError)):
        for seed in range(40):
            folder = tmp_path / str(seed)
            folder.mkdir()
            play(folder, seed)


def _unsynced(write: Callable[[LogFile, list[Entry]], int]) -> Callable[..., int]:
    def skipping(self: LogFile, entries: list[Entry]) -> int:
        with mock.patch.object(os, "fdatasync"):
            return write(self, entries)

    return skipping
