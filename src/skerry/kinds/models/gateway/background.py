"""Responses that are made while nobody waits: bounded in number and in bytes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from skerry.kinds.models.gateway.failure import FailureError

_log = logging.getLogger(__name__)
RUNNING_MAX = 256
BYTES_MAX = 128 << 20
"""Of all questions that are being answered in the background."""


class Background:
    """The work of one gateway that goes on after its request was answered.

    Nothing of it outlives the process: who asks for what was broken off is told so.
    """

    def __init__(self) -> None:
        self._running: dict[str, tuple[asyncio.Task[None], int]] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._running)

    def __contains__(self, name: str) -> bool:
        return name in self._running

    def check_room(self, size: int) -> None:
        """Raise FailureError 503 if so many bytes more are too many."""
        if len(self._running) >= RUNNING_MAX or self._bytes + size > BYTES_MAX:
            raise FailureError(
                503,
                "Too many responses are made in the background at once.",
                kind="server_error",
                retry_seconds=5.0,
            )

    def start(self, name: str, size: int, work: Coroutine[Any, Any, None]) -> None:
        """Begin some work, which handles its own failures."""
        task = asyncio.create_task(work, name=name)
        self._running[name] = (task, size)
        self._bytes += size
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        _, size = self._running.pop(task.get_name())
        self._bytes -= size
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a response in the background failed", exc_info=error)

    async def cancel(self, name: str) -> bool:
        """Break some work off and wait for its end; tell whether there was any."""
        found = self._running.get(name)
        if found is None:
            return False
        found[0].cancel()
        await asyncio.wait((found[0],))
        return found[0].cancelled()

    async def close(self) -> None:
        """Break all work off."""
        for name in list(self._running):
            await self.cancel(name)
