"""The engine: restic, a program of its own, driven by its JSON output.

It is found on the PATH and never fetched. Its password comes from a file of mode 0600, the store's
credentials from its environment, and it ends with the node: a run without its node would read a cut
that the next start removes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from skerry.kernel.errors import EXTRA_MISSING, TIMED_OUT
from skerry.node.backup.destination import Destination
from skerry.node.backup.failures import explain
from skerry.node.backup.gate import reached
from skerry.node.backup.rate import Rate

SECONDS_MAX = 48 * 3600.0
OLDEST = (0, 14)
"""The first version with compression and sizes of packs."""

_LINE_BYTES_MAX = 1 << 20
_WORDS_BYTES_MAX = 64 * 1024
_OUTPUT_BYTES_MAX = 256 << 20
_COUNT_SECONDS = 0.5
_INSTALL = "apt-get install restic"
_DIES_WITH_PARENT = (
    "import ctypes, os, sys;"
    "ctypes.CDLL(None).prctl(1, 9, 0, 0, 0);"
    "os.getppid() == int(sys.argv[1]) or os._exit(1);"
    "os.execv(sys.argv[2], sys.argv[2:])"
)
"""Asks for SIGKILL at the parent's death (PR_SET_PDEATHSIG) and becomes the program."""

OnLine = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Program:
    """An installed restic."""

    path: str
    version: tuple[int, ...]


def find(path: str | None = None) -> Program:
    """Return the restic on the PATH; raise EXTRA_MISSING with the command that installs it."""
    found = shutil.which("restic", path=path)
    if found is None:
        raise EXTRA_MISSING(
            "Backups need restic, which is not on the PATH.",
            why="It is a program of its own (BSD licence) and is not installed by pip.",
            hint=_INSTALL,
        )
    return Program(found, ())


async def version(program: Program) -> Program:
    """Ask a program for its version; raise EXTRA_MISSING if it is too old."""
    process = await asyncio.create_subprocess_exec(
        program.path, "version", stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL
    )
    output, _ = await process.communicate()
    words = output.decode(errors="replace")
    number = re.search(r"restic (\d+)\.(\d+)\.(\d+)", words)
    found = tuple(int(part) for part in number.groups()) if number else (0,)
    if found < OLDEST:
        raise EXTRA_MISSING(
            f"Backups need restic {'.'.join(map(str, OLDEST))} or newer.",
            why=f"{program.path} says: {words.strip()[:100]}",
            hint=_INSTALL,
        )
    return Program(program.path, found)


@dataclass(frozen=True, slots=True)
class Places:
    """Where the engine may keep things here: the password, its cache, its temporary files."""

    password: Path
    cache: Path
    temporary: Path

    def make(self) -> None:
        """Make the folders; what an interrupted run left in the temporary one is removed."""
        shutil.rmtree(self.temporary, ignore_errors=True)
        for each in (self.cache, self.temporary):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)


class Restic:
    """Runs the program on one repository."""

    def __init__(
        self,
        program: Program,
        destination: Destination,
        places: Places,
        rate: Rate | None = None,
    ) -> None:
        self._program = program
        self._destination = destination
        self._places = places
        self._rate = rate

    @property
    def program(self) -> Program:
        """What is run."""
        return self._program

    async def run(
        self,
        words: Sequence[str],
        *,
        doing: str,
        cwd: Path | None = None,
        on_line: OnLine | None = None,
        seconds: float = SECONDS_MAX,
        accept: Sequence[int] = (0,),
        complaints: bool = False,
        on_written: Callable[[int], None] | None = None,
    ) -> str:
        """Run it to its end; return what it printed, with what it complained of if that is wanted.

        `on_line` gets each line of JSON as it comes; then only other lines are returned.
        `on_written` is told how many bytes it has written, where the system knows. Raises
        what `failures.explain` makes of its last words, TIMED_OUT after `seconds`. It is killed
        when the caller is cancelled.
        """
        async with reached(self._destination, self._rate) as destination:
            process = await self._start(destination, words, cwd)
            counting = asyncio.create_task(_count_written(process.pid, on_written))
            try:
                async with asyncio.timeout(seconds):
                    said, complained = await self._talk(process, on_line)
                    code = await process.wait()
            except TimeoutError as error:
                raise TIMED_OUT(f"restic took longer than {seconds:.0f} s {doing}.") from error
            finally:
                counting.cancel()
                await _end(process)
        if code not in accept:
            words = f"{said[-_WORDS_BYTES_MAX:]}\n{complained}"
            raise explain(words, self._destination.url, doing)
        return f"{said}\n{complained}" if complaints else said

    async def _start(
        self, destination: Destination, words: Sequence[str], cwd: Path | None
    ) -> Process:
        options = destination.options(self._places.password.with_name("known_hosts"))
        return await asyncio.create_subprocess_exec(
            *self._launcher(),
            self._program.path,
            *options,
            *words,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            cwd=cwd,
            env=self._environment(destination),
            limit=_LINE_BYTES_MAX,
            start_new_session=True,
        )

    async def _talk(self, process: Process, on_line: OnLine | None) -> tuple[str, str]:
        assert process.stdout is not None
        assert process.stderr is not None
        listening = _read_lines(process.stdout, on_line) if on_line else _read_all(process.stdout)
        said, complained = await asyncio.gather(listening, _tail(process.stderr))
        return said, complained

    def _launcher(self) -> list[str]:
        if sys.platform != "linux":
            return []
        return [sys.executable, "-I", "-S", "-c", _DIES_WITH_PARENT, str(os.getpid())]

    def _environment(self, destination: Destination) -> dict[str, str]:
        """Return the engine's whole environment; of ours only paths and the ssh agent's socket."""
        kept = {
            key: os.environ[key] for key in ("PATH", "HOME", "SSH_AUTH_SOCK") if key in os.environ
        }
        return {
            **kept,
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "TMPDIR": str(self._places.temporary),
            "RESTIC_CACHE_DIR": str(self._places.cache),
            "RESTIC_PASSWORD_FILE": str(self._places.password),
            "RESTIC_PROGRESS_FPS": "2",
            **destination.environment(),
        }


async def _count_written(pid: int, on_written: Callable[[int], None] | None) -> None:
    """Tell what a process has written, twice a second (`wchar` of proc_pid_io(5))."""
    if on_written is None or sys.platform != "linux":
        return
    while True:
        await asyncio.sleep(_COUNT_SECONDS)
        try:
            text = await asyncio.to_thread(Path(f"/proc/{pid}/io").read_text)
        except OSError:
            return
        on_written(int(text.split("wchar:")[1].split()[0]))


async def _read_lines(stream: asyncio.StreamReader, on_line: OnLine) -> str:
    """Hand on lines of JSON; return the last lines that were none, which are complaints."""
    rest = ""
    while line := await stream.readline():
        try:
            found = msgspec.json.decode(line)
        except msgspec.DecodeError:
            rest = (rest + line.decode(errors="replace"))[-_WORDS_BYTES_MAX:]
            continue
        if isinstance(found, dict):
            on_line(found)
            if found.get("message_type") == "error":
                rest = (rest + line.decode(errors="replace"))[-_WORDS_BYTES_MAX:]
    return rest


async def _read_all(stream: asyncio.StreamReader) -> str:
    parts: list[bytes] = []
    total = 0
    while chunk := await stream.read(1 << 16):
        total += len(chunk)
        if total <= _OUTPUT_BYTES_MAX:
            parts.append(chunk)
    return b"".join(parts).decode(errors="replace")


async def _tail(stream: asyncio.StreamReader) -> str:
    """Read to the end; return the beginning and the last of it."""
    words = b""
    while chunk := await stream.read(1 << 14):
        words = (words + chunk)[-_WORDS_BYTES_MAX:]
    return words.decode(errors="replace")


async def _end(process: Process) -> None:
    """Kill what still runs, and collect it."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
