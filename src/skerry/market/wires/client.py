"""A small HTTP client on asyncio, for what markets and providers ask of each other.

One request a connection, every answer bounded in size and time.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

import httptools
import msgspec

from skerry.kernel.errors import (
    BUSY,
    CONFLICT,
    DENIED,
    ENGINE_FAILED,
    INVALID,
    NODE_UNREACHABLE,
    NOT_FOUND,
    TIMED_OUT,
    TOO_LARGE,
    UNAUTHENTICATED,
    SkerryError,
    from_dict,
)

BODY_BYTES_MAX = 16 << 20
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
_PROBLEMS = {
    400: INVALID,
    401: UNAUTHENTICATED,
    403: DENIED,
    404: NOT_FOUND,
    409: CONFLICT,
    413: TOO_LARGE,
    422: CONFLICT,
    503: BUSY,
    504: TIMED_OUT,
}
"""What an answer in plain text means, as providers of Akash's dialect give it."""


class Answer(msgspec.Struct, frozen=True):
    """An answer: status and body."""

    status: int
    body: bytes


async def request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    seconds: float = ANSWER_SECONDS,
    tunnel: str = "",
) -> Answer:
    """Ask and return the answer; raise NODE_UNREACHABLE, TIMED_OUT or TOO_LARGE.

    `tunnel` is a unix socket that leads to where the URL's host is.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise INVALID(f"{url[:200]!r} is no address.", why="It begins with http:// or https://.")
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await _connect(parts, tunnel)
    except (OSError, TimeoutError) as error:
        raise NODE_UNREACHABLE(
            f"{parts.scheme}://{parts.netloc} does not answer.",
            why=str(error) or "It took too long.",
        ) from error
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    sent = {"Host": parts.netloc, "Content-Length": str(len(body)), "Connection": "close"}
    lines = [f"{name}: {value}" for name, value in {**sent, **(headers or {})}.items()]
    head = "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""])
    if any(mark in "".join((method, target, *lines)) for mark in "\r\n"):
        raise INVALID("A header has a line break.")
    try:
        async with asyncio.timeout(seconds):
            writer.write(head.encode() + body)
            await writer.drain()
            return await _read(reader)
    except TimeoutError as error:
        raise TIMED_OUT(f"{parts.netloc} did not answer within {seconds:g} s.") from error
    except OSError as error:
        raise NODE_UNREACHABLE(f"{parts.netloc} went away.", why=str(error)) from error
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _connect(
    parts: SplitResult, tunnel: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if tunnel:
        return await asyncio.open_unix_connection(tunnel)
    secure = ssl.create_default_context() if parts.scheme == "https" else None
    host = _loopback(parts.hostname or "")
    return await asyncio.open_connection(host, parts.port or (443 if secure else 80), ssl=secure)


def _loopback(host: str) -> str:
    """Return where names below `localhost` are (RFC 6761), whatever the resolver says of them."""
    return "127.0.0.1" if host.endswith(".localhost") else host


class _Collector:
    """What httptools tells of an answer."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.done = False

    def on_body(self, data: bytes) -> None:
        """Take a part of the body."""
        self.body += data
        if len(self.body) > BODY_BYTES_MAX:
            raise TOO_LARGE(f"The answer is larger than {BODY_BYTES_MAX} bytes.")

    def on_message_complete(self) -> None:
        """Take note of the end."""
        self.done = True


async def _read(reader: asyncio.StreamReader) -> Answer:
    collector = _Collector()
    parser = httptools.HttpResponseParser(collector)
    try:
        while not collector.done:
            data = await reader.read(64 * 1024)
            if not data:
                break
            parser.feed_data(data)
    except httptools.HttpParserError as error:
        cause = error.__context__ or error
        if isinstance(cause, SkerryError):
            raise cause from error
        raise ENGINE_FAILED("The answer is not HTTP.", why=str(error)) from error
    if not parser.get_status_code():
        raise NODE_UNREACHABLE("The other side closed without an answer.")
    return Answer(parser.get_status_code(), bytes(collector.body))


def check(answer: Answer) -> bytes:
    """Return the body of a good answer; raise the error that a bad one tells."""
    if answer.status < 400:
        return answer.body
    try:
        shape = msgspec.json.decode(answer.body)
    except msgspec.DecodeError:
        shape = None
    if isinstance(shape, dict) and "code" in shape and "what" in shape:
        raise from_dict(shape)
    raise refused(answer.status, answer.body)


def refused(status: int, body: bytes) -> SkerryError:
    """Return the error that an answer in plain text means."""
    text = body[:300].decode(errors="replace").strip()
    problem = _PROBLEMS.get(status, ENGINE_FAILED)
    said = f"The other side answered {status}."
    return problem(text, why=said) if text else problem(said)
