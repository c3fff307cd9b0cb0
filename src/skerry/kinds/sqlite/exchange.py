"""One HTTP request and its answer, over ASGI and no framework: this path is hot."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import msgspec

from skerry.kernel.kind import Response

BODY_BYTES_MAX = 64 << 20
LARGE_BYTES = 64 << 10
"""What is larger is decoded and encoded in a thread, so that the event loop is not held up."""

_encoder = msgspec.json.Encoder()


class BodyTooLargeError(Exception):
    """A request's body exceeds the limit."""

    def __init__(self) -> None:
        super().__init__(f"The body is larger than {BODY_BYTES_MAX} bytes.")


class Exchange:
    """A request as read from ASGI, and the ways to answer it."""

    __slots__ = ("_receive", "_scope", "_send", "method", "path", "started")

    def __init__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.started = False

    def header(self, name: bytes) -> bytes:
        """Return the first header of that lower-case name, or nothing."""
        for key, value in self._scope["headers"]:
            if key == name:
                return bytes(value)
        return b""

    async def body(self) -> bytes:
        """Return the whole body; raise BodyTooLargeError beyond the limit."""
        message = await self._receive()
        if not message.get("more_body"):
            whole = message.get("body", b"")
            if len(whole) > BODY_BYTES_MAX:
                raise BodyTooLargeError
            return bytes(whole)
        parts, size = [message["body"]], len(message["body"])
        while message.get("more_body"):
            message = await self._receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > BODY_BYTES_MAX:
                raise BodyTooLargeError
        return b"".join(parts)

    async def json(
        self, status: int, shape: object, headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        """Answer with JSON."""
        await self.raw(status, b"application/json", _encoder.encode(shape), headers)

    async def raw(
        self, status: int, kind: bytes, body: bytes, headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        """Answer with bytes of a media type."""
        self.started = True
        length = str(len(body)).encode()
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(b"content-type", kind), (b"content-length", length), *headers],
            }
        )
        await self._send({"type": "http.response.body", "body": body})

    async def respond(self, response: Response) -> None:
        """Answer with what is whole already."""
        self.started = True
        start = {"status": response.status, "headers": response.headers}
        await self._send({"type": "http.response.start", **start})
        await self._send({"type": "http.response.body", "body": response.body})

    async def begin(self, status: int, kind: bytes) -> None:
        """Begin an answer that is streamed with `part`."""
        self.started = True
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(b"content-type", kind)],
            }
        )

    async def part(self, body: bytes, *, last: bool = False) -> None:
        """Send a part of a streamed answer."""
        await self._send({"type": "http.response.body", "body": body, "more_body": not last})
