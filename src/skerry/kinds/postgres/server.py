"""The `postgres` process of one resource: start, readiness, stop, freeze."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections import deque
from collections.abc import Callable
from pathlib import Path

from skerry.kernel.clock import Clock
from skerry.kernel.errors import ENGINE_FAILED, TIMED_OUT
from skerry.kinds.postgres.programs import environment
from skerry.kinds.postgres.spawn import Process, spawn

SOCKET = ".s.PGSQL.5432"
_POLL_SECONDS = 0.001
_READY_LINE = 8
_READY_WORDS = "database system is ready to accept connections"
_READY_SECONDS = 0.02
"""How often the server's file is looked at, should it log less than that it is ready."""
_START_SECONDS = 600.0
_STOP_SECONDS = 30.0
_QUIT_SECONDS = 5.0
_FREEZE_SECONDS = 10.0
_LOG_LINES = 20
_STOPPED_STATES = "TtZX"
_PROCESSES = Path("/proc")
_SHARED_MEMORY_LINE = 7
_START_SLACK_SECONDS = 5.0


class Server:
    """One postmaster and its children; `hear` is given each line of its log, and may keep it."""

    def __init__(
        self,
        data: Path,
        run: Path,
        clock: Clock,
        log: logging.Logger,
        hear: Callable[[str], bool],
    ) -> None:
        self._hear = hear
        self._data = data
        self._run = run
        self._clock = clock
        self._log = log
        self._process: Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._words: deque[str] = deque(maxlen=_LOG_LINES)
        self._frozen: list[int] = []
        self._said_ready = asyncio.Event()

    @property
    def running(self) -> bool:
        """Whether the postmaster lives."""
        return self._process is not None and self._process.returncode is None

    @property
    def last_words(self) -> str:
        """The last lines of its log."""
        return "\n".join(self._words)

    async def start(self, program: str, until_ready: bool = True) -> None:
        """Spawn the postmaster and wait until it takes connections; raise ENGINE_FAILED."""
        self._words.clear()
        self._said_ready.clear()
        settings = f"config_file={self._run / 'postgresql.conf'}"
        self._process = await spawn(
            [program, "-D", str(self._data), "-c", settings],
            env=environment(),
            cwd=self._run,
            death_signal=signal.SIGQUIT,
        )
        self._reader = asyncio.create_task(self._read_log(self._process))
        if until_ready:
            try:
                await self._ready()
            except BaseException:
                await self.stop()
                raise

    async def ended(self, seconds: float) -> int:
        """Wait until the postmaster ends by itself; return its exit code."""
        assert self._process is not None
        try:
            async with asyncio.timeout(seconds):
                code = await self._process.wait()
        except TimeoutError as error:
            raise TIMED_OUT(f"PostgreSQL did not end within {seconds:.0f} s.") from error
        await self._finish()
        return code

    async def stop(self) -> None:
        """Shut down with a checkpoint; be blunt if that takes too long."""
        process = self._process
        if process is None:
            return
        await self.thaw()
        for sent, seconds in (
            (signal.SIGINT, _STOP_SECONDS),
            (signal.SIGQUIT, _QUIT_SECONDS),
            (signal.SIGKILL, _QUIT_SECONDS),
        ):
            if process.returncode is not None:
                break
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(sent)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await process.wait()
        await self._finish()

    def reload(self) -> None:
        """Have the server read its settings again, if it runs."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGHUP)

    async def freeze(self) -> None:
        """Stop every process of the server, the postmaster first so that it makes no more.

        A stopped process is never inside a write. Raises TIMED_OUT, thawed, if one does not stop.
        """
        assert self._process is not None and not self._frozen
        postmaster = self._process.pid
        deadline = self._clock.monotonic() + _FREEZE_SECONDS
        self._halt(postmaster)
        while True:
            for child in _children(postmaster):
                if child not in self._frozen:
                    self._halt(child)
            alive = [pid for pid in self._frozen if _state(pid) not in _STOPPED_STATES]
            if not alive and set(_children(postmaster)) <= set(self._frozen):
                return
            if self._clock.monotonic() > deadline:
                await self.thaw()
                raise TIMED_OUT(
                    "PostgreSQL could not be frozen for the copy.",
                    why=f"{len(alive)} of its processes are stuck in the disk.",
                )
            await asyncio.sleep(_POLL_SECONDS)

    async def thaw(self) -> None:
        """Let every process go on."""
        frozen, self._frozen = self._frozen, []
        for pid in reversed(frozen):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _halt(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            self._frozen.append(pid)

    async def _ready(self) -> None:
        assert self._process is not None
        deadline = self._clock.monotonic() + _START_SECONDS
        own = str(self._process.pid)
        while True:
            lines = _lines(self._data / "postmaster.pid")
            if len(lines) >= _READY_LINE and lines[0] == own and lines[-1].strip() == "ready":
                return
            if self._process.returncode is not None:
                await self._finish()
                raise ENGINE_FAILED(
                    "PostgreSQL did not start.", why=self.last_words, hint="skerry logs engines"
                )
            if self._clock.monotonic() > deadline:
                raise TIMED_OUT(
                    f"PostgreSQL was not ready within {_START_SECONDS:.0f} s.", why=self.last_words
                )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_READY_SECONDS):
                    await self._said_ready.wait()
            if self._said_ready.is_set():
                return

    async def _read_log(self, process: Process) -> None:
        assert process.stderr is not None
        while line := await _line(process.stderr):
            text = line.decode("utf-8", "replace").rstrip()
            if text.endswith(_READY_WORDS):
                self._said_ready.set()
            if self._hear(text):
                continue
            self._words.append(text)
            serious = text.startswith(("FATAL", "PANIC", "ERROR", "WARNING"))
            self._log.log(logging.WARNING if serious else logging.INFO, "%s", text)

    async def _finish(self) -> None:
        if self._reader is not None:
            await self._reader
        self._process = self._reader = None


async def end_leftovers(data: Path, clock: Clock) -> None:
    """End the server that a killed engine left on this directory, if there still is one.

    It was told to quit when its engine died; what does not listen (it may be frozen) is killed.
    Raises TIMED_OUT if a process cannot be killed.
    """
    lines = _lines(data / "postmaster.pid")
    if not lines:
        return
    started = clock.monotonic()
    while True:
        left = await asyncio.to_thread(_processes_of, data, lines)
        if not left and not await asyncio.to_thread(_attached, lines):
            return
        waited = clock.monotonic() - started
        if waited > 2 * _QUIT_SECONDS:
            raise TIMED_OUT(f"An older PostgreSQL still holds the directory {data}.")
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL if waited > _QUIT_SECONDS / 5 else signal.SIGQUIT)
                os.kill(pid, signal.SIGCONT)
        await asyncio.sleep(0.01)


def _processes_of(data: Path, lines: list[str]) -> list[int]:
    """Return the processes of the server that wrote `lines` into its postmaster.pid.

    Only a server's processes work in its data directory. Where that cannot be seen (they may be in
    another user namespace), the postmaster is known by its name and the time of its start.
    """
    if not _PROCESSES.is_dir():
        return []
    found = set()
    place = data.resolve()
    for entry in list(_PROCESSES.iterdir()):
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "cwd").readlink() == place:
                found.add(int(entry.name))
    if len(lines) > 2 and lines[0].isdigit() and lines[2].isdigit():
        postmaster = int(lines[0])
        began = _began(postmaster)
        if began is not None and abs(began - int(lines[2])) <= _START_SLACK_SECONDS:
            found |= {postmaster, *_children(postmaster)}
    return sorted(found)


def _began(pid: int) -> float | None:
    """Return when a process called postgres began, in seconds since 1970; None if it is none."""
    try:
        stat = (_PROCESSES / str(pid) / "stat").read_text()
        boot = next(
            line for line in (_PROCESSES / "stat").read_text().splitlines() if "btime" in line
        )
    except (FileNotFoundError, ProcessLookupError):
        return None
    if "(postgres)" not in stat:
        return None
    ticks = int(stat.rpartition(")")[2].split()[19])
    return int(boot.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")


def _attached(lines: list[str]) -> bool:
    """Tell whether a process still has the server's shared memory."""
    table = _PROCESSES / "sysvipc" / "shm"
    if len(lines) < _SHARED_MEMORY_LINE or not table.exists():
        return False
    key = lines[_SHARED_MEMORY_LINE - 1].split()
    for row in table.read_text().splitlines()[1:]:
        fields = row.split()
        if len(key) == 2 and fields[1] == key[1]:
            return int(fields[6]) > 0
    return False


def _children(pid: int) -> list[int]:
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:
        return []


async def _line(stream: asyncio.StreamReader) -> bytes:
    """Read a line; one that is too long for the buffer comes in pieces."""
    try:
        return await stream.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        return error.partial
    except asyncio.LimitOverrunError as error:
        return await stream.readexactly(error.consumed)
