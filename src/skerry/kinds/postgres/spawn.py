"""Starting the server from a process that is dear to fork.

A forked copy of a Python process takes tens of milliseconds on a busy machine, and the original
then pays for each page that it touches. `vfork` copies nothing, but lets us run no code of ours in
the child; so util-linux's setpriv asks the kernel to end the server when we die, and becomes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from skerry.kinds.postgres.programs import dies_with_parent

_OPTION = "--pdeathsig"


class Process(Protocol):
    """A child, as `asyncio.subprocess.Process` is one."""

    @property
    def pid(self) -> int:
        """Its process id."""

    @property
    def returncode(self) -> int | None:
        """Its exit code, once it has ended."""

    @property
    def stderr(self) -> asyncio.StreamReader | None:
        """What it says."""

    def send_signal(self, signal: int) -> None:
        """Send it a signal."""

    async def wait(self) -> int:
        """Wait until it ends; return its exit code."""


async def spawn(
    argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, death_signal: signal.Signals
) -> Process:
    """Start a program in a session of its own that gets a signal when this process dies (Linux)."""
    setpriv = _setpriv()
    null = subprocess.DEVNULL
    if setpriv is not None:
        words = [setpriv, _OPTION, death_signal.name.removeprefix("SIG"), "--", *argv]
        # The kernel ends the child with the thread that started it, so it must be this one.
        child = subprocess.Popen(  # noqa: ASYNC220
            words,
            env=dict(env),
            cwd=cwd,
            stdin=null,
            stdout=null,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        return await _Child.adopt(child)
    return await asyncio.create_subprocess_exec(
        *argv,
        env=dict(env),
        cwd=cwd,
        stdin=null,
        stdout=null,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=dies_with_parent(death_signal),
    )


class _Child:
    """A child of `subprocess`, waited for by the event loop."""

    def __init__(self, child: subprocess.Popen[bytes], stderr: asyncio.StreamReader) -> None:
        self._child = child
        self.stderr = stderr
        loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = loop.create_future()
        self._handle = os.pidfd_open(child.pid)
        loop.add_reader(self._handle, self._reap)

    @classmethod
    async def adopt(cls, child: subprocess.Popen[bytes]) -> _Child:
        """Read what it says, and learn of its end."""
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), child.stderr
        )
        return cls(child, reader)

    @property
    def pid(self) -> int:
        """See `Process`."""
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        """See `Process`."""
        return self._child.returncode

    def send_signal(self, signal: int) -> None:
        """See `Process`."""
        self._child.send_signal(signal)

    async def wait(self) -> int:
        """See `Process`."""
        return await asyncio.shield(self._ended)

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._handle)
        os.close(self._handle)
        self._ended.set_result(self._child.wait())


def preload() -> None:
    """Look at setpriv, so that processes forked from this one need not."""
    with contextlib.suppress(OSError):
        _setpriv()


def _setpriv() -> str | None:
    """Return a setpriv that can do it (BusyBox's cannot), where processes can be waited for."""
    if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
        return None
    program = shutil.which("setpriv")
    if program is None:
        return None
    found = Path(program).stat()
    return program if _can(program, (found.st_ino, found.st_mtime_ns, found.st_size)) else None


@lru_cache(maxsize=4)
def _can(program: str, _found: tuple[int, int, int]) -> bool:
    """Tell whether a setpriv knows the option; once for the program that is there now."""
    return _OPTION.lstrip("-").encode() in Path(program).read_bytes()
