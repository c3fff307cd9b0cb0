"""A node whose branches all sleep keeps no free memory."""

from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from skerry.app import kinds
from skerry.node import memory
from skerry.testing.nodes import deploy, perform, running_node


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


async def test_memory_is_given_back_after_copying_though_nothing_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "CALM_SECONDS", 0.0)
    given: list[bool] = []
    monkeypatch.setattr(memory, "give_back", lambda: given.append(True))
    hello = {"hello": kinds()["hello"]}
    async with running_node(hello) as node:
        await deploy(node, {"skerry.toml": '[app]\nname = "news"\n[hello.guests]\n'})
        assert not node.supervisor.awake()
        for command in ("branch.create", "branch.reset"):
            given.clear()
            await perform(node, command, name="one", app="news")
            async with asyncio.timeout(10):
                while not given:
                    await asyncio.sleep(0.01)


async def test_copies_are_enough_whatever_is_awake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CALM_SECONDS", 0.0)
    given: list[bool] = []
    monkeypatch.setattr(memory, "give_back", lambda: given.append(True))
    frugality = memory.Frugality(lambda: False)
    frugality.copied()
    frugality.copied()
    await asyncio.sleep(0.01)
    assert given == [True]
    frugality.ended()
    await asyncio.sleep(0.01)
    assert given == [True]


_THREADS = """
import ctypes, threading
from skerry.node.memory import keep_in_one

keep_in_one()
barrier = threading.Barrier(6)


def work():
    kept = [bytes(2000) for _ in range(1000)]
    barrier.wait()


threads = [threading.Thread(target=work) for _ in range(6)]
for each in threads:
    each.start()
for each in threads:
    each.join()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="no glibc")
def test_threads_share_one_arena() -> None:
    said = subprocess.run(
        [sys.executable, "-c", _THREADS], capture_output=True, text=True, check=True
    )
    assert said.stdout.count("<heap nr=") == 1


def test_any_c_library_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    memory.give_back()
    monkeypatch.setattr(memory, "_libc", object())
    memory.give_back()
    memory.keep_in_one()


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="it is not told here")
def test_memory_is_read_where_it_is_told() -> None:
    assert memory.own_bytes() > 1 << 20
    assert memory.held_bytes([2**22 + 1]) == 0
    assert memory.held_bytes([os.getpid()]) > 1 << 20
