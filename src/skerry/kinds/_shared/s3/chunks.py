"""Decoding `aws-chunked` bodies: signed or not, with or without trailers, in bounded memory.

Each chunk is `<hex size>[;chunk-signature=<hex>]\\r\\n<data>\\r\\n`; the last has size 0 and may be
followed by trailers. Data is handed on as it comes; whoever stores it must not make it visible
before `finish` has returned. Source: Amazon S3 API Reference, "Signature Calculations for the
Authorization Header: Transferring Payload in Multiple Chunks".
"""

from __future__ import annotations

import enum
import hashlib
import hmac

from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds._shared.s3.sigv4 import EMPTY_SHA256

STREAMING = "STREAMING-"
SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
_LINE_MAX = 8192
_TRAILERS_MAX = 16


class _Expect(enum.Enum):
    HEADER = enum.auto()
    DATA = enum.auto()
    DATA_END = enum.auto()
    TRAILER = enum.auto()
    DONE = enum.auto()


class Seal:
    """The chain of chunk signatures of one request."""

    def __init__(self, key: bytes, timestamp: str, scope: str, seed: str) -> None:
        self._key = key
        self._head = f"{timestamp}\n{scope}"
        self._previous = seed

    def chunk(self, digest: str, signature: str) -> None:
        """Check the signature of the next chunk, whose SHA-256 is `digest`."""
        text = f"AWS4-HMAC-SHA256-PAYLOAD\n{self._head}\n{self._previous}\n{EMPTY_SHA256}\n{digest}"
        self._check(text, signature)

    def trailer(self, lines: str, signature: str) -> None:
        """Check the signature of the trailers, given as `name:value` lines."""
        digest = hashlib.sha256(lines.encode()).hexdigest()
        self._check(
            f"AWS4-HMAC-SHA256-TRAILER\n{self._head}\n{self._previous}\n{digest}", signature
        )

    def _check(self, text: str, signature: str) -> None:
        right = hmac.digest(self._key, text.encode(), hashlib.sha256).hex()
        if not hmac.compare_digest(right.encode(), signature.encode("utf-8", "replace")):
            raise S3Error("SignatureDoesNotMatch", "The signature of a chunk does not match.")
        self._previous = right


class Decoder:
    """Takes raw bytes of a body and gives the data in them; raises S3Error on the first fault.

    `length` is the announced length of the data in bytes. After `finish`, `trailers` holds the
    trailing headers by lower-case name.
    """

    def __init__(self, length: int, seal: Seal | None, trailer_expected: bool) -> None:
        self._left = length
        self._seal = seal
        self._trailer_expected = trailer_expected
        self._buffer = bytearray()
        self._expect = _Expect.HEADER
        self._chunk_left = 0
        self._chunk_signature = ""
        self._hash = hashlib.sha256()
        self._trailer_lines: list[str] = []
        self._trailer_signature = ""
        self.trailers: dict[str, str] = {}

    def feed(self, data: bytes) -> list[bytes]:
        """Return the data that these raw bytes complete."""
        self._buffer += data
        found: list[bytes] = []
        while self._step(found):
            pass
        return found

    def finish(self) -> None:
        """Raise S3Error unless the body was whole."""
        if self._expect is _Expect.TRAILER and not self._buffer:
            self._end()
        if self._expect is not _Expect.DONE or self._left:
            raise S3Error("IncompleteBody", "The body ended before its announced length.")

    def _step(self, found: list[bytes]) -> bool:
        if self._expect is _Expect.DATA:
            return self._data(found)
        if self._expect is _Expect.DONE:
            if self._buffer.strip(b"\r\n"):
                raise S3Error("InvalidRequest", "There are bytes after the last chunk.")
            self._buffer.clear()
            return False
        line = self._line()
        if line is None:
            return False
        if self._expect is _Expect.HEADER:
            self._header(line)
        elif self._expect is _Expect.DATA_END:
            if line:
                raise S3Error("InvalidRequest", "A chunk is longer than its announced size.")
            self._expect = _Expect.HEADER
        else:
            self._trailer(line)
        return True

    def _line(self) -> str | None:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            if len(self._buffer) > _LINE_MAX:
                raise S3Error("InvalidRequest", "A chunk's head is too long.")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line.decode("latin-1")

    def _header(self, line: str) -> None:
        size, _, extension = line.partition(";")
        try:
            self._chunk_left = int(size, 16) if size.isalnum() else -1
        except ValueError:
            self._chunk_left = -1
        if not 0 <= self._chunk_left <= self._left:
            raise S3Error("InvalidRequest", "A chunk has an invalid size.")
        self._left -= self._chunk_left
        self._hash = hashlib.sha256()
        self._chunk_signature = extension.removeprefix("chunk-signature=").strip()
        if self._chunk_left:
            self._expect = _Expect.DATA
        else:
            self._close_chunk()
            self._expect = _Expect.TRAILER

    def _data(self, found: list[bytes]) -> bool:
        if not self._buffer:
            return False
        piece = bytes(self._buffer[: self._chunk_left])
        del self._buffer[: len(piece)]
        self._chunk_left -= len(piece)
        if self._seal:
            self._hash.update(piece)
        found.append(piece)
        if not self._chunk_left:
            self._close_chunk()
            self._expect = _Expect.DATA_END
        return True

    def _close_chunk(self) -> None:
        if self._seal:
            self._seal.chunk(self._hash.hexdigest(), self._chunk_signature)

    def _trailer(self, line: str) -> None:
        if not line:
            self._end()
            return
        name, _, value = line.partition(":")
        name, value = name.strip().lower(), value.strip()
        if name == "x-amz-trailer-signature":
            self._trailer_signature = value
        elif len(self._trailer_lines) >= _TRAILERS_MAX:
            raise S3Error("InvalidRequest", "There are too many trailers.")
        else:
            self._trailer_lines.append(f"{name}:{value}\n")
            self.trailers[name] = value

    def _end(self) -> None:
        if self._seal and self._trailer_expected:
            self._seal.trailer("".join(self._trailer_lines), self._trailer_signature)
        self._expect = _Expect.DONE
