"""The nats-server of a node as a process: started, watched, told of changes; ends with it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import sys
from collections import deque
from pathlib import Path

import msgspec

from skerry.kernel.errors import ENGINE_FAILED, EXTRA_MISSING, SkerryError

START_SECONDS = 20.0
STOP_SECONDS = 6.0
PAUSE_SECONDS, PAUSE_SECONDS_MAX = 0.2, 15.0
LINE_BYTES_MAX = 64 * 1024
_LINES_KEPT = 20
_POLL_SECONDS = 0.02

_DIES_WITH_PARENT = (
    "import ctypes, os, sys;"
    "ctypes.CDLL(None).prctl(1, 15, 0, 0, 0);"
    "os.getppid() == int(sys.argv[1]) or os._exit(1);"
    "os.execv(sys.argv[2], sys.argv[2:])"
)
"""Asks for SIGTERM at the parent's death (PR_SET_PDEATHSIG) and becomes the program."""

_log = logging.getLogger("skerry.federation")


def find_program() -> str:
    """Return the nats-server to run: one that the system has, or the one installed beside us.

    Raises EXTRA_MISSING with the command that installs it.
    """
    beside = Path(sys.executable).parent
    found = shutil.which("nats-server") or shutil.which("nats-server", path=str(beside))
    if found is None:
        raise EXTRA_MISSING(
            "There is no nats-server on this machine.",
            why="Nodes that are bound keep leases and logs in it.",
            hint="pip install 'skerry[federation]'",
        )
    return found


class Server:
    """Runs a nats-server on a configuration; starts it again when it ends by itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._program = find_program()
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._said: deque[str] = deque(maxlen=_LINES_KEPT)
        self.starts = 0
        self.port = 0

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process else None

    async def start(self) -> None:
        """Start it and wait until clients can connect; raise ENGINE_FAILED with its last words."""
        await self._start()
        self._watching = asyncio.create_task(self._watch())

    async def _start(self) -> None:
        for old in self._folder.glob("*.ports"):
            old.unlink()
        config = self._folder / "server.json"
        program = [sys.executable, "-I", "-S", "-c", _DIES_WITH_PARENT, str(os.getpid())]
        if not sys.platform.startswith("linux"):
            program = []
        self._process = await asyncio.create_subprocess_exec(
            *program,
            self._program,
            "-c",
            str(config),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8"},
            limit=LINE_BYTES_MAX,
            start_new_session=True,
        )
        self.starts += 1
        reading = asyncio.create_task(self._read(self._process))
        reading.add_done_callback(_ended)
        try:
            async with asyncio.timeout(START_SECONDS):
                self.port = await self._client_port(self._process)
        except TimeoutError as error:
            await self._end()
            raise ENGINE_FAILED(
                f"nats-server does not open its port within {START_SECONDS:.0f} s.",
                why=self.last_words(),
            ) from error

    async def _client_port(self, process: asyncio.subprocess.Process) -> int:
        """Return the port that it chose for clients, as soon as it has written it down."""
        path = self._folder / f"{Path(self._program).name}_{process.pid}.ports"
        while True:
            if process.returncode is not None:
                await asyncio.sleep(_POLL_SECONDS)
                raise ENGINE_FAILED("nats-server does not start.", why=self.last_words())
            with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
                ports = msgspec.json.decode(path.read_bytes(), type=dict[str, list[str]])
                return int(ports["nats"][0].rpartition(":")[2])
            await asyncio.sleep(_POLL_SECONDS)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while True:
            try:
                line = await process.stderr.readline()
            except ValueError:  # longer than a line may be
                continue
            if not line:
                return
            text = line.decode(errors="replace").rstrip()
            self._said.append(text)
            level = logging.WARNING if "[FTL]" in text else logging.DEBUG
            _log.log(level, "nats-server: %s", text)

    def last_words(self) -> str:
        """Return what it said last."""
        return " / ".join(self._said)

    async def _watch(self) -> None:
        """Start the server again when it has ended, ever more slowly while that does not help."""
        pause = PAUSE_SECONDS
        while True:
            assert self._process is not None
            await self._process.wait()
            _log.warning("nats-server ended; it is started again in %.1f s", pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, PAUSE_SECONDS_MAX)
            try:
                await self._start()
            except (SkerryError, OSError):
                _log.exception("nats-server could not be started again")
                continue
            pause = PAUSE_SECONDS

    def reload(self) -> None:
        """Let it read its configuration again: certificates, routes and who is trusted."""
        if self.pid is not None:
            os.kill(self.pid, signal.SIGHUP)

    async def restart(self) -> None:
        """Stop it and start it on its configuration as it is now."""
        await self.stop()
        await self.start()

    async def stop(self) -> None:
        """End it, in good order if it can."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
            self._watching = None
        await self._end()

    async def _end(self) -> None:
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        _log.error("what nats-server says cannot be read: %s", task.exception())
