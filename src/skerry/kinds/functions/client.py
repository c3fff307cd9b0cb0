"""A small HTTP/1.1 client over a unix socket, for functions that call each other."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import httptools
import msgspec

from skerry.kernel.errors import ENGINE_FAILED, TOO_LARGE

CONTENT_BYTES_MAX = 64 << 20
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_PATH = re.compile(r"/[\x21-\x7e]*")
_VALUE = re.compile(r"[\x20-\x7e\x80-\xff\t]*")
_OURS = frozenset(("connection", "content-length", "host", "transfer-encoding"))


class Reply:
    """What the other function answered. `headers` has lower-case names; the last value wins."""

    def __init__(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.status = status
        self.headers = headers
        self.content = content

    @property
    def ok(self) -> bool:
        """Whether the status tells success."""
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """The content as UTF-8."""
        return self.content.decode()

    def json(self) -> Any:
        """The content as JSON."""
        return msgspec.json.decode(self.content)

    def __repr__(self) -> str:
        return f"<Reply {self.status}, {len(self.content)} bytes>"


class _Parser:
    """Collects one response."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.content = bytearray()
        self.complete = False
        self.parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        self.content += data

    def on_message_complete(self) -> None:
        self.complete = True


async def request(
    endpoint: Callable[[], Awaitable[str]],
    host: str,
    method: str,
    path: str,
    *,
    headers: dict[str, str],
    body: bytes | str = b"",
    json: Any = None,
) -> Reply:
    """Send one request on a connection of its own; see `Service.fetch`."""
    content = body.encode() if isinstance(body, str) else body
    if json is not None:
        content = msgspec.json.encode(json)
        headers = {"content-type": "application/json", **headers}
    head = _head(host, method, path, headers, len(content))
    reader, writer = await _connect(endpoint, host)
    try:
        writer.write(head + content)
        await writer.drain()
        return await _read(reader, host, method)
    except (OSError, httptools.HttpParserError) as error:
        raise ENGINE_FAILED(f"The function {host} did not answer.", why=str(error)) from error
    finally:
        writer.close()


async def _connect(
    endpoint: Callable[[], Awaitable[str]], host: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect; if the function fell asleep between being ready and now, wake it once more."""
    try:
        return await asyncio.open_unix_connection(await endpoint())
    except (ConnectionRefusedError, FileNotFoundError):
        pass
    try:
        return await asyncio.open_unix_connection(await endpoint())
    except OSError as error:
        raise ENGINE_FAILED(f"The function {host} does not listen.", why=str(error)) from error


def _head(host: str, method: str, path: str, headers: dict[str, str], length: int) -> bytes:
    if not _TOKEN.fullmatch(method) or not _PATH.fullmatch(path):
        raise ValueError(f"{method} {path!r} is no request; a path starts with / and is escaped")
    lines = [f"{method} {path} HTTP/1.1", f"host: {host}", "connection: close"]
    lines.append(f"content-length: {length}")
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError(f"{name!r} is no header that can be sent")
        if name.lower() in _OURS:
            raise ValueError(f"{name} cannot be chosen")
        lines.append(f"{name}: {value}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def _read(reader: asyncio.StreamReader, host: str, method: str) -> Reply:
    collected = _Parser()
    while not collected.complete:
        data = await reader.read(64 * 1024)
        if not data:
            break
        collected.parser.feed_data(data)
        if len(collected.content) > CONTENT_BYTES_MAX:
            raise TOO_LARGE(f"The answer of {host} is over {CONTENT_BYTES_MAX} bytes.")
    no_body = method == "HEAD" and collected.headers
    if not collected.complete and not no_body:
        raise ENGINE_FAILED(f"The function {host} broke off its answer.")
    return Reply(collected.parser.get_status_code(), collected.headers, bytes(collected.content))
