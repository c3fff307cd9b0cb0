"""One HTTP exchange: reading a bounded body, answering, and noticing that the client went away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeVar

from skerry.kinds.models.gateway.failure import FailureError

BODY_BYTES_MAX = 32 << 20
BODIES_BYTES_MAX = 512 << 20

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
T = TypeVar("T")


class GoneError(Exception):
    """The client closed its connection."""


class Bodies:
    """Bounds the bytes of all request bodies that are held at once."""

    def __init__(self) -> None:
        self._held = 0

    def take(self, size: int) -> None:
        """Count bytes; raise FailureError if there are too many."""
        if self._held + size > BODIES_BYTES_MAX:
            raise FailureError(
                503, "Too many requests are read at once.", kind="server_error", retry_seconds=1.0
            )
        self._held += size

    def give(self, size: int) -> None:
        """Count them off again."""
        self._held -= size


async def read_body(receive: Receive, bodies: Bodies) -> bytes:
    """Return a request's body, counted in `bodies`; raise FailureError if it is too large."""
    data = bytearray()
    try:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise GoneError
            part = message.get("body", b"")
            bodies.take(len(part))
            data += part
            if len(data) > BODY_BYTES_MAX:
                raise FailureError(
                    413, f"A request has at most {BODY_BYTES_MAX} bytes.", code="request_too_large"
                )
            if not message.get("more_body", False):
                return bytes(data)
    except BaseException:
        bodies.give(len(data))
        raise


async def unless_gone(receive: Receive, work: Awaitable[T]) -> T:
    """Carry out some work, and break it off with GoneError when the client goes away."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise GoneError
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
            if not task.cancelled():
                task.exception()  # it was broken off: how it ended is of no interest


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def answer(send: Send, status: int, headers: dict[str, str], body: bytes) -> None:
    """Send a whole JSON answer."""
    await send(_start(status, {**headers, "content-length": str(len(body))}, b"application/json"))
    await send({"type": "http.response.body", "body": body})


async def begin_events(send: Send, headers: dict[str, str]) -> None:
    """Begin an answer that is a stream of events, which nothing on the way should hold back."""
    more = {**headers, "cache-control": "no-cache", "x-accel-buffering": "no"}
    await send(_start(200, more, b"text/event-stream; charset=utf-8"))


async def fail(send: Send, failure: FailureError, headers: dict[str, str]) -> None:
    """Send a failure."""
    await answer(send, failure.status, {**headers, **failure.wire_headers()}, failure.body())


def _start(status: int, headers: dict[str, str], content_type: bytes) -> Message:
    pairs = [(b"content-type", content_type)]
    pairs += [
        (name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()
    ]
    return {"type": "http.response.start", "status": status, "headers": pairs}
