"""The log over HTTP, as C2SP tlog-tiles has it: static files that monitors and witnesses read.

What it says of apps is for those who may see it: every request presents the node's token.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from skerry.kernel.kind import ASGIApplication
from skerry.node.audit.log import CHECKPOINT, KEY, AuditLog

PREFIX = "/audit/log"
_TILE = re.compile(r"tile/(?:[0-9]{1,2}|entries)/(?:x\d{3}/)*\d{3}(?:\.p/\d{1,3})?")
_TEXT = b"text/plain; charset=utf-8"
_BYTES = b"application/octet-stream"

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Served(Protocol):
    """A node's log, as this application reads it."""

    @property
    def token(self) -> str:
        """The token that whoever reads must show."""
        ...

    async def read(self, path: str) -> bytes | None:
        """Return a file of the log; None if there is none."""
        ...


def make(handler: Served) -> ASGIApplication:
    """Return the application that serves a node's log."""

    async def application(scope: MutableMapping[str, Any], receive: Any, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"].removeprefix(PREFIX).lstrip("/")
        if scope["method"] not in ("GET", "HEAD"):
            await _answer(send, 405, b"Only GET.\n", _TEXT)
        elif not _may(scope, handler.token):
            await _answer(send, 401, b"Present the node's token.\n", _TEXT)
        elif path in (CHECKPOINT, KEY) or _TILE.fullmatch(path):
            found = await handler.read(path)
            if found is None:
                await _answer(send, 404, b"There is no such tile.\n", _TEXT)
            else:
                text = path in (CHECKPOINT, KEY)
                lasting = b"no-store" if text else b"private, max-age=31536000, immutable"
                await _answer(send, 200, found, _TEXT if text else _BYTES, lasting)
        else:
            await _answer(send, 404, b"The log has checkpoint, key and tile/.\n", _TEXT)

    return application


def _may(scope: MutableMapping[str, Any], token: str) -> bool:
    wanted = b"Bearer " + token.encode()
    found = dict(scope["headers"]).get(b"authorization", b"")
    return hmac.compare_digest(found, wanted)


async def _answer(
    send: Send, status: int, body: bytes, kind: bytes, lasting: bytes = b"no-store"
) -> None:
    headers = [
        (b"content-type", kind),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", lasting),
        (b"x-content-type-options", b"nosniff"),
    ]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def read_file(log: AuditLog, path: str) -> bytes | None:
    """Return a file of the log; `path` has been checked."""
    file = log.directory / path
    return file.read_bytes() if file.is_file() else None
