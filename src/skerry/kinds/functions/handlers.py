"""Plain handlers: `fetch(request, env)` and `scheduled(event, env)`, with `async` or without."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from skerry.kernel.environment import Environment

if TYPE_CHECKING:
    from collections.abc import Callable

    from skerry.kinds.functions.pool import Pool

CONTENT_BYTES_MAX = 32 << 20


@dataclass(frozen=True, slots=True)
class ScheduledEvent:
    """Why `scheduled` runs: the expression that is due, and the moment that was due."""

    cron: str
    time: datetime


class Request(StarletteRequest):
    """Starlette's request; handlers without `async` find the whole body in `content`."""

    @property
    def content(self) -> bytes:
        """The body, once it was read."""
        if not hasattr(self, "_body"):
            raise RuntimeError("The body was not read yet: `await request.body()` first.")
        return self._body


@dataclass(frozen=True, slots=True)
class Handler:
    """A function of a user that takes up to `takes` of (request or event, env)."""

    function: Callable[..., Any]
    is_async: bool
    takes: int
    environment: Environment
    pool: Pool

    async def call(self, subject: Any, seconds: float) -> Any:
        """Call it; `seconds` is how long it may take if it needs a thread."""
        arguments = (subject, self.environment)[: self.takes]
        if self.is_async:
            return await self.function(*arguments)
        return await self.pool.run(seconds, self.function, *arguments)


class Handlers:
    """`fetch` as an ASGI application."""

    def __init__(self, fetch: Handler | None, seconds: float) -> None:
        self._fetch = fetch
        self._seconds = seconds

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        response = await self._respond(scope, receive)
        await response(scope, receive, send)

    async def _respond(self, scope: Any, receive: Any) -> Response:
        if scope["type"] != "http":
            return PlainTextResponse("Plain handlers answer HTTP, not WebSockets.\n", 426)
        if self._fetch is None:
            return PlainTextResponse("This function has no `fetch`.\n", 404)
        request = Request(scope, receive)
        try:
            if not self._fetch.is_async:
                await _read(request)
            return as_response(await self._fetch.call(request, self._seconds))
        except HTTPException as error:
            return PlainTextResponse(f"{error.detail}\n", error.status_code, error.headers)


async def _read(request: Request) -> None:
    """Read the whole body, which must fit into memory."""
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > CONTENT_BYTES_MAX:
            raise HTTPException(413, f"The body is larger than {CONTENT_BYTES_MAX} bytes.")
    request._body = bytes(content)


def as_response(value: Any) -> Response:
    """Return the response that a handler's value means. Raises TypeError for other values."""
    if isinstance(value, Response):
        return value
    if value is None:
        return Response(status_code=204)
    if isinstance(value, str):
        return PlainTextResponse(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return Response(bytes(value), media_type="application/octet-stream")
    if hasattr(value, "__aiter__"):
        return StreamingResponse(value)
    if isinstance(value, dict | list | tuple | bool | int | float | msgspec.Struct):
        return Response(msgspec.json.encode(value), media_type="application/json")
    if dataclasses.is_dataclass(value):
        return Response(msgspec.json.encode(value), media_type="application/json")
    raise TypeError(
        f"fetch returned a {type(value).__name__}; expected a Response, str, bytes, dict, list or "
        "None"
    )
