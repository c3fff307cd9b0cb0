"""Builds an environment for a stack, with progress; nothing is there until all of it is."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path

from skerry.kernel.errors import ENGINE_FAILED, TIMED_OUT, UNSUPPORTED
from skerry.kinds.quantum.stacks import COMPLETE, Stack

INSTALL_SECONDS = 1800.0
_LINE_BYTES_MAX = 1 << 20
_LAST_LINES = 8
Progress = Callable[[int, int, str], None]


async def install(stack: Stack, target: Path, progress: Progress) -> None:
    """Make the environment of a stack at `target`; one that is complete is left as it is.

    Packages come from the indexes that the operator configured for pip. Raises ENGINE_FAILED with
    what pip said, TIMED_OUT, UNSUPPORTED if this Python is older than the packages take.
    """
    if sys.version_info < stack.python:
        needed = ".".join(map(str, stack.python))
        raise UNSUPPORTED(
            f"This stack needs Python {needed} or newer.",
            why=f"The node runs on Python {sys.version_info.major}.{sys.version_info.minor}.",
            hint=f"python{needed} dev.py up (in another clone), or make the environment by hand.",
        )
    if (target / COMPLETE).exists():
        progress(1, 1, "It is installed already.")
        return
    await asyncio.to_thread(_clear, target)
    try:
        async with asyncio.timeout(INSTALL_SECONDS):
            progress(0, 0, "making an environment")
            await _run([sys.executable, "-m", "venv", str(target)], progress)
            pip = [str(target / "bin" / "python"), "-m", "pip", "install", "--no-input"]
            options = ["--progress-bar", "off", "--disable-pip-version-check", "--prefer-binary"]
            await _run([*pip, *options, *stack.packages], progress)
        await asyncio.to_thread(_open_to_cells, target)
        (target / COMPLETE).touch()
    except TimeoutError as error:
        raise TIMED_OUT(f"Installing took longer than {INSTALL_SECONDS:g} seconds.") from error
    finally:
        if not (target / COMPLETE).exists():
            await asyncio.to_thread(shutil.rmtree, target, ignore_errors=True)


def _clear(target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.parent.chmod(0o755)


def _open_to_cells(target: Path) -> None:
    """Let the users of cells read and run what was installed, whatever the umask was."""
    for folder, _, files in os.walk(target):
        Path(folder).chmod(0o755)
        for name in files:
            path = Path(folder, name)
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


async def _run(command: list[str], progress: Progress) -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=_LINE_BYTES_MAX,
        start_new_session=True,
    )
    assert process.stdout is not None
    last: deque[str] = deque(maxlen=_LAST_LINES)
    try:
        async for line in process.stdout:
            text = line.decode(errors="replace").strip()
            last.append(text)
            if text.startswith(("Collecting", "Downloading", "Installing", "Successfully")):
                progress(0, 0, text[:100])
        code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if code != 0:
        raise ENGINE_FAILED("The stack could not be installed.", why="\n".join(last))
