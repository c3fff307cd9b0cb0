"""What a client is told when a function has no answer of its own."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import msgspec
from starlette.responses import PlainTextResponse, Response

from skerry.kernel.errors import SkerryError

CLOSED_ON_ERROR = 1011
"""The WebSocket status of a server that failed (RFC 6455, 7.4.1)."""


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
