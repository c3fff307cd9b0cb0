"""What a function starts and leaves behind ends without control groups too."""

from __future__ import annotations

import asyncio
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from skerry.kernel.clock import SystemEntropy
from skerry.node.home import Home

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="orphans are found on Linux alone")

TOML = '[app]\nname = "news"\n[functions.web]\nentry = "web:fetch"\n'
CODE = """
import os, time

def left_behind(leaves_its_group):
    read, write = os.pipe()
    if os.fork() == 0:
        if leaves_its_group:
            os.setsid()
        if os.fork() == 0:
            os.write(write, str(os.getpid()).encode())
            time.sleep(1000)
        os._exit(0)
    os.wait()
    return int(os.read(read, 20))

def fetch(request, env):
    return [os.getpid(), left_behind(False), left_behind(True)]
"""
NODE = """
import asyncio, sys
from pathlib import Path
import httpx
from skerry.app import kinds
from skerry.node import node as node_module
from skerry.node.sandbox.cgroup import Cgroups
from skerry.testing.nodes import deploy, perform, running_node

node_module.detect = lambda: Cgroups(0, {})

async def main():
    found = kinds()
    chosen = {name: found[name] for name in ("functions", "hello")}
    async with running_node(chosen, Path(sys.argv[1])) as node:
        await deploy(node, {"skerry.toml": sys.argv[2], "web.py": sys.argv[3]})
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            print((await client.get(f"{node.url}/@news/")).text, flush=True)
        for line in iter(sys.stdin.readline, "stop\\n"):
            await perform(node, "branch.sleep", app="news", branch="main")
            print("asleep", flush=True)

asyncio.run(main())
"""


@contextmanager
def running() -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """Yield a node without control groups, and the processes that a function left there."""
    with tempfile.TemporaryDirectory(prefix="skr-") as made:
        Path(made).chmod(0o711)
        command = [sys.executable, "-c", NODE, str(Path(made, "h")), TOML, CODE]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            pids = [int(each) for each in process.stdout.readline().strip("[]\n").split(",")]
            assert all(map(alive, pids))
            yield process, pids
            process.kill()


def alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


async def ended(pids: list[int]) -> None:
    async with asyncio.timeout(20):
        while any(map(alive, pids)):
            await asyncio.sleep(0.02)


def tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


async def test_what_stays_in_the_group_ends_with_the_function() -> None:
    with running() as (process, pids):
        tell(process, "sleep")
        await ended(pids[:2])
        tell(process, "stop")
        await ended(pids)


async def test_all_of_it_ends_with_a_node_that_is_killed() -> None:
    with running() as (process, pids):
        process.send_signal(signal.SIGKILL)
        await ended(pids)


def test_what_branches_left_in_the_directory_of_sockets_is_out_of_the_way_at_once(
    tmp_path: Path,
) -> None:
    home = Home(tmp_path / "home")
    home.create(SystemEntropy())
    (home.run / "0123456789abcdef").mkdir()
    (home.run / "0123456789abcdef" / "old.sock").touch()
    gone = home.renew_run(SystemEntropy())
    assert list(home.run.iterdir()) == [] and stat.S_IMODE(home.run.stat().st_mode) == 0o711
    assert [each.name for each in gone.rglob("*.sock")] == ["old.sock"]
    assert stat.S_IMODE(gone.stat().st_mode) == 0o700
    home.renew_run(SystemEntropy())
    assert len(list(gone.iterdir())) == 2, "one that was not removed yet is in nobody's way"
