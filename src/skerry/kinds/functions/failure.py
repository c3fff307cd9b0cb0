"""What a client is told when a function has no answer of its own."""

from __future__ import annotations

import importlib
from collections.abc import MutableMapping
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
from starlette.responses import PlainTextResponse, Response

import skerry
from skerry.kernel.errors import SkerryError

CLOSED_ON_ERROR = 1011
"""The WebSocket status of a server that failed (RFC 6455, 7.4.1)."""

_NOT_OF_APPS = ("<frozen importlib", importlib.__file__, str(Path(skerry.__file__).parent))


def failure(scope: MutableMapping[str, Any], error: SkerryError, status: int) -> Response:
    """Return the error as JSON for whoever accepts it, else as lines of text."""
    headers = {"cache-control": "no-store"}
    if status == 503:
        headers["retry-after"] = "1"
    accept = next((value for name, value in scope["headers"] if name == b"accept"), b"")
    if b"json" in accept and b"html" not in accept:
        body = msgspec.json.encode({"error": error.as_dict()})
        return Response(body, status, headers, media_type="application/json")
    lines = [f"error[{error.code}]: {error.what}", error.why]
    if error.hint:
        lines.append(f"hint: {error.hint}")
    return PlainTextResponse("\n".join(filter(None, lines)) + "\n", status, headers)


def app_part(
    error: BaseException,
) -> tuple[type[BaseException], BaseException, TracebackType | None]:
    """Return what `logging` wants of an error, from the first line that is the app's own.

    How Skerry came to import it says nothing to who wrote it. An error that no line of the app
    raised keeps its whole traceback, but for a module that cannot be parsed: it names its line.
    """
    part = error.__traceback__
    while part is not None and part.tb_frame.f_code.co_filename.startswith(_NOT_OF_APPS):
        part = part.tb_next
    if part is None and not isinstance(error, SyntaxError):
        part = error.__traceback__
    return type(error), error, part


async def refuse(
    scope: MutableMapping[str, Any], send: Any, error: SkerryError, status: int
) -> None:
    """Send the error as the whole answer to a request or a WebSocket's handshake."""
    can_answer = "websocket.http.response" in (scope.get("extensions") or {})
    if scope["type"] == "websocket" and not can_answer:
        await send({"type": "websocket.close", "code": CLOSED_ON_ERROR, "reason": error.code})
        return
    await failure(scope, error, status)(scope, _nothing, send)


async def _nothing() -> MutableMapping[str, Any]:
    raise AssertionError("a whole answer reads no body")
