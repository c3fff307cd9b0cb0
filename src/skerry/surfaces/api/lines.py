"""Answers that come line by line: progress and results as NDJSON.

{"progress": {"done": 3, "total": 10, "text": "copying"}}
{"item": …}                    one result of a command that streams
{"result": …}                  the result; the last line
{"error": {…}}                 the error; the last line
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import msgspec

from skerry.surfaces.api.calls import as_skerry_error
from skerry.surfaces.port import Progress

MEDIA_TYPE = "application/x-ndjson"
_BEAT_SECONDS = 15.0
_log = logging.getLogger("skerry.api")


def line(**shape: Any) -> bytes:
    """Return one line."""
    return msgspec.json.encode(shape) + b"\n"


def failed(error: BaseException) -> bytes:
    """Return the line of an error; a defect goes to the log with its trace."""
    known = as_skerry_error(error)
    if known is not error:
        _log.error("a command failed", exc_info=error)
    return line(error=known.as_dict())


class Latest:
    """The newest progress; what nobody read in time is overwritten, so it takes no space."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._line = b""

    def __call__(self, done: int, total: int, text: str) -> None:
        """Take note; see `Progress`."""
        self._line = line(progress={"done": done, "total": total, "text": text})
        self._event.set()

    def wake(self) -> None:
        """Let a reader go on though there is nothing new."""
        self._event.set()

    async def next(self) -> bytes:
        """Wait for something new; return its line, or nothing after a wake or a beat."""
        try:
            async with asyncio.timeout(_BEAT_SECONDS):
                await self._event.wait()
        except TimeoutError:
            return b"\n"
        self._event.clear()
        found, self._line = self._line, b""
        return found


async def performed(perform: Callable[[Progress], Awaitable[Any]]) -> AsyncIterator[bytes]:
    """Yield progress while a command is carried out, then its result or error.

    What was begun is finished even if the client goes away: a half-made branch helps nobody.
    """
    latest = Latest()

    async def run() -> Any:
        try:
            return await perform(latest)
        finally:
            latest.wake()

    task = kept(run())
    while not task.done():
        found = await latest.next()
        if found:
            yield found
    error = task.exception()
    yield line(result=task.result()) if error is None else failed(error)


def kept(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Start work that goes on to its end, whoever stops waiting for it."""
    task = asyncio.create_task(work)
    _running.add(task)
    task.add_done_callback(_finished)
    return task


_running: set[asyncio.Task[Any]] = set()


def _finished(task: asyncio.Task[Any]) -> None:
    """Forget a task; fetching its error keeps asyncio from warning that nobody did."""
    _running.discard(task)
    if not task.cancelled():
        task.exception()


async def streamed(items: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    """Yield the items of a command that streams, with an empty line as a beat in silence."""
    pending: asyncio.Task[Any] | None = None
    try:
        while True:
            pending = pending or asyncio.ensure_future(anext(items))
            done, _ = await asyncio.wait({pending}, timeout=_BEAT_SECONDS)
            if not done:
                yield b"\n"
                continue
            item, pending = pending, None
            yield line(item=item.result())
    except StopAsyncIteration:
        return
    except Exception as error:
        yield failed(error)
    finally:
        await _abandon(pending, items)


async def _abandon(pending: asyncio.Task[Any] | None, items: AsyncIterator[Any]) -> None:
    """Cancel what is awaited and close the iterator, so that the node stops producing."""
    if pending is not None:
        pending.cancel()
        await asyncio.wait({pending})
    if isinstance(items, AsyncGenerator):
        await items.aclose()
