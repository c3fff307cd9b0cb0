"""HTTP/1.1 as a client speaks it: the head of a request, and reading what answers it.

Source: RFC 9112. Reading is httptools' (llhttp), fed with bytes from whatever transport.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import httptools
import msgspec

from skerry.kernel.errors import ENGINE_FAILED, INVALID, SkerryError, from_dict

HEADER_BYTES_MAX = 64 << 10

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"(?:[^\x00-\x20\x7f](?:[^\x00-\x08\x0a-\x1f\x7f]*[^\x00-\x20\x7f])?)?")


class BrokenError(Exception):
    """What came is no HTTP response, or ended before it was whole."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response; names of headers are in lower case where this module read them."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def problem(self) -> SkerryError | None:
        """Return the error that the node's router tells as an HTTP problem, if it is one."""
        if not self.headers.get("content-type", "").startswith("application/problem+json"):
            return None
        try:
            return from_dict(msgspec.json.decode(self.body, type=dict[str, object]))
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            return ENGINE_FAILED(f"The node answered {self.status}.", why=str(error))


@dataclass(frozen=True, slots=True)
class Ask:
    """A request; `target` is escaped already.

    `repeatable`: it only reads, so that it may be sent again when its connection breaks.
    """

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | memoryview = b""
    repeatable: bool = False

    def head(self, host: str) -> bytes:
        """Return the head as it is sent; raise INVALID for a header that cannot be sent."""
        lines = [f"{self.method} {self.target} HTTP/1.1"]
        if "host" not in self.headers:
            lines.append(f"host: {host}")
        for name, value in self.headers.items():
            if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
                raise INVALID(
                    f"{name!r} cannot be sent as a header.",
                    why="Names are letters, digits and hyphens; values have no line breaks, "
                    "and no spaces at their ends.",
                )
            lines.append(f"{name}: {value}")
        if self.body or self.method in ("POST", "PUT"):
            lines.append(f"content-length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode()


class Reading:
    """Reads one response: `feed` it until it is `complete`, and take its body from `pieces`.

    `keep` tells afterwards whether the connection may be used again: not if the request was `cut`.
    """

    def __init__(self, *, bodiless: bool) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.pieces: list[bytes] = []
        self.begun = False
        self.complete = False
        self.keep = False
        self.cut = False
        self._bodiless = bodiless
        self._header_bytes = 0
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Read on; raise BrokenError if it is no response."""
        if self.complete:
            self.keep = False
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._spoilt(error)

    def _spoilt(self, error: Exception) -> None:
        """Raise BrokenError, unless the answer was whole before what is wrong."""
        if not self.complete:
            raise BrokenError(f"The answer is no HTTP: {error}") from error
        self.keep = False

    def on_message_begin(self) -> None:
        """See a further response, for which nobody asked."""
        if self.complete:
            self.keep = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > HEADER_BYTES_MAX:
            raise BrokenError("The answer's head is too large.")
        if not self.complete:
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """See the end of the head; an interim response (1xx) is none."""
        status = self._parser.get_status_code()
        if self.complete or status < 200:
            return
        self.status, self.begun = status, True
        if self._bodiless:
            self._finish()

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body."""
        if not self.complete:
            self.pieces.append(data)

    def on_message_complete(self) -> None:
        """See the end."""
        if self.begun and not self.complete:
            self._finish()
        elif not self.begun:
            self.headers.clear()

    def _finish(self) -> None:
        self.complete = True
        self.keep = self._parser.should_keep_alive()

    def taken(self) -> list[bytes]:
        """Return the pieces that have come, and forget them."""
        pieces, self.pieces = self.pieces, []
        return pieces
