"""A process that is forked ahead of need: whose it is, what it copies, and that it never stays."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import mmap
import os
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from skerry.app import kinds
from skerry.kernel.errors import DENIED, SkerryError
from skerry.node.node import Node
from skerry.node.spares import CALM_SECONDS, Spare
from skerry.node.written_pages import copy_ahead, written_by
from skerry.testing.nodes import deploy, open_directory, perform, running_node

HELLO = {"hello": kinds()["hello"]}
TOML = '[app]\nname = "news"\n[hello.guests]\n'
linux = pytest.mark.skipif(sys.platform != "linux", reason="it is about pages of Linux")


def is_alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.01)


async def greet(node: Node) -> int:
    """Use the app; return the process that served it."""
    await perform(node, "hello.greet", name="guests", app="news", guest="ada")
    return next(each.child.pid for cell in node.supervisor.awake() for each in cell.running())


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Node]:
    """Run a node with an app that has been used."""
    with open_directory() as home:
        async with running_node(HELLO, home) as node:
            await deploy(node, {"skerry.toml": TOML})
            await greet(node)
            yield node


async def spare_of(node: Node) -> Spare:
    await until(lambda: node.supervisor._spares._spare)
    spare = node.supervisor._spares._spare
    assert spare is not None
    return spare


@linux
async def test_the_next_wake_takes_it_and_none_outlives_the_node() -> None:
    async with serving() as node:
        spare = await spare_of(node)
        await perform(node, "branch.sleep", app="news", branch="main")
        assert await greet(node) == spare.child.pid

        killed = await spare_of(node)
        assert killed.instance != spare.instance
        os.kill(killed.child.pid, signal.SIGKILL)
        await until(lambda: node.supervisor._spares._spare is not killed)
        await perform(node, "branch.sleep", app="news", branch="main")
        assert await greet(node) not in (killed.child.pid, spare.child.pid)

        left = await spare_of(node)
    assert not is_alive(left.child.pid)
    assert not left.group.processes()


@linux
async def test_a_wake_that_is_refused_costs_at_most_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving() as node:
        spare = await spare_of(node)
        await perform(node, "branch.sleep", app="news", branch="main")

        async def refuse(*_: object) -> None:
            raise DENIED("not here")

        with monkeypatch.context() as patched:
            patched.setattr(node.workshop, "process", refuse)
            for _ in range(2):
                with pytest.raises(SkerryError, match="not here"):
                    await node.supervisor.wake("news", "main", "guests")
        await until(lambda: not is_alive(spare.child.pid))
        await asyncio.sleep(1.2 * CALM_SECONDS)
        assert node.supervisor._spares._spare is None
        await greet(node)


@linux
async def test_it_ends_with_the_zygote() -> None:
    async with serving() as node:
        spare = await spare_of(node)
        zygote = node.supervisor._processes._zygote
        assert zygote is not None
        zygote.kill()
        await until(lambda: not is_alive(spare.child.pid))
        assert node.supervisor._spares._spare is None
        assert is_alive(await greet(node))


PAGES = 64


class Memory:
    """Pages that a forked process shares with this one."""

    def __init__(self) -> None:
        self._map = mmap.mmap(
            -1, PAGES * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        )
        self.write(range(PAGES), 1)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))

    def write(self, pages: range, value: int) -> None:
        for page in pages:
            self._map[page * mmap.PAGESIZE] = value

    def of(self, spans: list[tuple[int, int]]) -> set[int]:
        """Return which of the pages are in the spans."""
        places = {
            (address + offset - self.address) // mmap.PAGESIZE
            for address, length in spans
            for offset in range(0, length, mmap.PAGESIZE)
        }
        return places & set(range(PAGES))


def in_child(work: Callable[[], bytes], wait: bool = False) -> tuple[int, bytes]:
    """Do something in a forked process; return its id (it stays if `wait`), and the answer."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, work())
            if wait:
                signal.pause()
        finally:
            os._exit(0)
    os.close(writing)
    answer = os.read(reading, 100)
    os.close(reading)
    return child, answer


@linux
def test_pages_that_one_wrote_are_copied_for_the_next() -> None:
    """In a process that is as small as a zygote: a test runner's may be over the limits."""
    done = subprocess.run(
        [sys.executable, __file__], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def check_pages() -> None:
    memory, written = Memory(), range(0, PAGES, 3)

    def write() -> bytes:
        memory.write(written, 2)
        return b"done"

    first, _ = in_child(write, wait=True)
    try:
        spans = written_by(first)
    finally:
        os.kill(first, signal.SIGKILL)
        os.waitpid(first, 0)
    assert memory.of(spans) == set(written)

    def faults(ahead: list[tuple[int, int]]) -> int:
        def work() -> bytes:
            copy_ahead(ahead)
            memory.write(range(1), 1)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            memory.write(written, 3)
            return b"%d" % (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

        child, answer = in_child(work)
        os.waitpid(child, 0)
        return int(answer)

    assert faults([]) >= len(written) - 1
    assert faults(spans) < len(written) // 2


@linux
def test_a_process_that_is_gone_wrote_nothing() -> None:
    child, _ = in_child(lambda: b"done")
    os.waitpid(child, 0)
    assert written_by(child) == []


if __name__ == "__main__":
    check_pages()
