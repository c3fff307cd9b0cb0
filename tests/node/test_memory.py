"""A node whose branches all sleep keeps no free memory."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from skerry.node import memory


async def test_memory_is_given_back_once_all_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CALM_SECONDS", 0.0)
    given: list[bool] = []
    monkeypatch.setattr(memory, "give_back", lambda: given.append(True))
    awake = [True]
    frugality = memory.Frugality(lambda: not awake)
    frugality.ended()
    await asyncio.sleep(0.01)
    assert given == []
    awake.clear()
    for _ in range(3):
        frugality.ended()
    await asyncio.sleep(0.01)
    assert given == [True]
    frugality.ended()
    frugality.close()
    await asyncio.sleep(0.01)
    assert given == [True]


def test_any_c_library_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    memory.give_back()
    monkeypatch.setattr(memory, "_libc", object())
    memory.give_back()


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="it is not told here")
def test_memory_is_read_where_it_is_told() -> None:
    assert memory.own_bytes() > 1 << 20
    assert memory.held_bytes([2**22 + 1]) == 0
    assert memory.held_bytes([os.getpid()]) > 1 << 20
