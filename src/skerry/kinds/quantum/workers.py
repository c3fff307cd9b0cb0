"""Worker processes: started when first asked, kept warm, asleep when idle, killed to cancel."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import msgspec

from skerry.kernel.clock import Clock
from skerry.kernel.errors import ENGINE_FAILED, INVALID, TIMED_OUT, TOO_LARGE, SkerryError
from skerry.kinds.quantum import stacks

IDLE_SECONDS = 120.0
ANSWER_BYTES_MAX = 256 << 20
_TRIES = 2
_FOLDER = Path(__file__).parent / "worker"
_START = (
    "import sys, importlib.util as u;"
    "s = u.spec_from_file_location('skerry_quantum_worker', sys.argv[1] + '/__init__.py',"
    " submodule_search_locations=[sys.argv[1]]);"
    "m = u.module_from_spec(s); sys.modules[s.name] = m; s.loader.exec_module(m);"
    "import skerry_quantum_worker.__main__"
)
"""Loads the worker's package under a name of its own, with nothing of ours on the path."""


class StoppedError(Exception):
    """The worker was stopped while it worked."""


class _DiedError(Exception):
    """The process ended while it worked, and nobody here had stopped it."""


class Worker:
    """One process of one stack; it does one thing at a time, in the order of asking."""

    def __init__(
        self,
        stack: str,
        clock: Clock,
        environments: Path | None = None,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self.stack = stack
        self._environments = environments
        self._clock = clock
        self._idle_seconds = idle_seconds
        self._lock = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._sleeper: asyncio.Task[None] | None = None
        self._number = 0
        self._stops = 0
        self._last_used = clock.monotonic()

    @property
    def awake(self) -> bool:
        """Tell whether a process runs."""
        return self._process is not None and self._process.returncode is None

    async def ask(self, what: str, params: dict[str, Any], seconds: float) -> Any:
        """Return what the worker answers.

        What it answers depends on nothing else, so that a process which is killed is asked once
        more, in a new one. Raises INVALID with line and reason where the program cannot be run,
        TIMED_OUT, ENGINE_FAILED if a library failed or the process died twice, StoppedError if
        `stop` was called.
        """
        async with self._lock:
            try:
                async with asyncio.timeout(seconds):
                    answer = await self._answer(what, params)
            except TimeoutError as error:
                await self.stop()
                raise TIMED_OUT(f"It took longer than {seconds:g} seconds.") from error
            except (ConnectionError, asyncio.LimitOverrunError, ValueError) as error:
                await self.stop()
                raise TOO_LARGE("The worker's answer is too large.", why=str(error)) from error
            except asyncio.CancelledError:
                await self.stop()
                raise
            finally:
                self._last_used = self._clock.monotonic()
        return _result(answer)

    async def _answer(self, what: str, params: dict[str, Any]) -> dict[str, Any]:
        stops = self._stops
        why = ""
        for _ in range(_TRIES):
            process = await self._running()
            if self._stops != stops:
                raise StoppedError
            try:
                return await self._exchange(process, what, params)
            except _DiedError as error:
                why = str(error)
        raise ENGINE_FAILED(f"The worker of stack {self.stack} ended twice at this.", why=why)

    async def _exchange(
        self, process: asyncio.subprocess.Process, what: str, params: dict[str, Any]
    ) -> dict[str, Any]:
        assert process.stdin is not None
        assert process.stdout is not None
        self._number += 1
        request = {"id": self._number, "do": what, "params": params}
        with contextlib.suppress(ConnectionError):
            process.stdin.write(msgspec.json.encode(request) + b"\n")
            await process.stdin.drain()
        line = await process.stdout.readline()
        if not line:
            code = await process.wait()
            stopped, self._process = self._process is None, None
            if stopped:
                raise StoppedError
            raise _DiedError(_how(code))
        found: dict[str, Any] = msgspec.json.decode(line)
        assert found["id"] == self._number, "answers come in the order of requests"
        return found

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        self._process = await asyncio.create_subprocess_exec(
            stacks.python(self.stack, self._environments),
            "-c",
            _START,
            str(_FOLDER),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=ANSWER_BYTES_MAX,
            env=_environment(),
        )
        if self._sleeper is None or self._sleeper.done():
            self._sleeper = asyncio.create_task(self._sleep_when_idle())
        return self._process

    async def _sleep_when_idle(self) -> None:
        while self.awake:
            await asyncio.sleep(min(self._idle_seconds, 5.0))
            unused = self._clock.monotonic() - self._last_used
            if not self._lock.locked() and unused >= self._idle_seconds:
                await self._end()

    async def stop(self) -> None:
        """Kill the process, whatever it does; whoever waits for it gets StoppedError."""
        self._stops += 1
        await self._end()

    async def close(self) -> None:
        """Stop for good."""
        if self._sleeper is not None:
            self._sleeper.cancel()
            await asyncio.gather(self._sleeper, return_exceptions=True)
            self._sleeper = None
        await self._end()

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()


class Workers:
    """One worker a stack, each made when it is first asked for."""

    def __init__(self, clock: Clock, environments: Path | None) -> None:
        self._clock = clock
        self._environments = environments
        self._made: dict[str, Worker] = {}

    def of(self, stack: str) -> Worker:
        """Return the worker of a stack."""
        if stack not in self._made:
            self._made[stack] = Worker(stack, self._clock, self._environments)
        return self._made[stack]

    async def stop(self) -> None:
        """Kill what runs; whoever waits gets StoppedError."""
        for worker in self._made.values():
            await worker.stop()

    async def close(self) -> None:
        """Stop for good."""
        for worker in self._made.values():
            await worker.close()


def _environment() -> dict[str, str]:
    """Return what a worker sees: no secrets, one thread a library, no telemetry."""
    kept = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "XDG_CACHE_HOME", "LD_LIBRARY_PATH")
    found = {name: os.environ[name] for name in kept if name in os.environ}
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
    silent = {"QDK_PYTHON_TELEMETRY": "none", "QSHARP_PYTHON_TELEMETRY": "none"}
    return found | threads | silent | {"PYTHONDONTWRITEBYTECODE": "1", "MPLBACKEND": "Agg"}


def _result(answer: dict[str, Any]) -> Any:
    if "result" in answer:
        return answer["result"]
    if "refused" in answer:
        raise refusal(answer["refused"])
    raise ENGINE_FAILED("The engine failed.", why=str(answer.get("failed", "")))


def refusal(found: dict[str, Any]) -> SkerryError:
    """Make the error of a program that cannot be run: it names the line and the reason."""
    where = f"Line {found['line']}: " if found.get("line") else ""
    return INVALID(f"{where}{found['what']}", why=found.get("why", ""))


def _how(code: int) -> str:
    if code == -signal.SIGKILL:
        return "It was killed, most likely because memory ran out."
    return f"It ended with code {code}."
