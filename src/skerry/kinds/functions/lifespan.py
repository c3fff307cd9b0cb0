"""An ASGI application's own start and end (the lifespan protocol of ASGI 3)."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

from skerry.kernel.errors import ENGINE_FAILED, TIMED_OUT
from skerry.kernel.kind import ASGIApplication

STOP_SECONDS = 10.0
END_SECONDS = 0.5


class Lifespan:
    """Runs the lifespan of an application; one that knows no lifespan is left in peace."""

    def __init__(self, application: ASGIApplication, state: dict[str, Any]) -> None:
        self.state = state
        self._application = application
        self._messages: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        self._answers: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        self._listens = False
        self._task: asyncio.Task[None] | None = None

    async def start(self, seconds: float) -> None:
        """Run the application's start. Raises ENGINE_FAILED or TIMED_OUT."""
        self._messages.put_nowait({"type": "lifespan.startup"})
        task = asyncio.create_task(self._run(), name="lifespan")
        try:
            answer = await self._answer(task, seconds)
        except BaseException:
            task.cancel()
            raise
        if answer is not None and answer["type"] == "lifespan.startup.complete":
            self._task = task
            return
        if not await _end(task):
            raise TIMED_OUT("The app's start-up did not end when it was cancelled.")
        if answer is not None:
            raise ENGINE_FAILED("The app's start-up failed.", why=_last_line(answer))
        if task.cancelled():
            raise TIMED_OUT(f"The app's start-up took longer than {seconds:g} s.")
        error = task.exception()
        if error is not None and self._listens:
            why = f"{type(error).__name__}: {error}"
            raise ENGINE_FAILED("The app's start-up failed.", why=why) from error

    async def stop(self) -> str:
        """Run the application's end; return what went wrong, or ''."""
        task, self._task = self._task, None
        if task is None:
            return ""
        self._messages.put_nowait({"type": "lifespan.shutdown"})
        answer = await self._answer(task, STOP_SECONDS)
        if not await _end(task) or answer is None:
            return "the app's shutdown did not complete"
        return _last_line(answer) if answer["type"].endswith("failed") else ""

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        await self._application(scope, self._receive, self._send)

    async def _receive(self) -> MutableMapping[str, Any]:
        self._listens = True
        return await self._messages.get()

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if not message["type"].startswith("lifespan."):
            raise RuntimeError("the app takes its lifespan for a request")
        self._answers.put_nowait(message)

    async def _answer(
        self, task: asyncio.Task[None], seconds: float
    ) -> MutableMapping[str, Any] | None:
        """Return the next answer, or None if the task ended without one or took too long."""
        waiting = asyncio.ensure_future(self._answers.get())
        await asyncio.wait({waiting, task}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done() and self._answers.qsize():
            await asyncio.wait({waiting}, timeout=1)
        if waiting.done():
            return waiting.result()
        waiting.cancel()
        return None


async def _end(task: asyncio.Task[None]) -> bool:
    """Let a task end, by cancelling it if need be; return whether it did."""
    _, running = await asyncio.wait({task}, timeout=END_SECONDS)
    if running:
        task.cancel()
        _, running = await asyncio.wait({task}, timeout=END_SECONDS)
    if not running and not task.cancelled():
        task.exception()
    return not running


def _last_line(answer: MutableMapping[str, Any]) -> str:
    """Return the last line of what an app says, which is its exception where it is a traceback."""
    lines = str(answer.get("message", "")).strip().splitlines()
    return lines[-1] if lines else "It gave no reason."
