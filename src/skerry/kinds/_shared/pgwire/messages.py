"""Messages of PostgreSQL's protocol: what a proxy must read and write itself.

Everything else is relayed as raw bytes. Source: PostgreSQL 18, "Message Formats".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from skerry.kernel.errors import SkerryError

CANCEL_REQUEST = 80877102
SSL_REQUEST = 80877103
GSSENC_REQUEST = 80877104
PROTOCOL_MAJOR = 3
PROTOCOL_MINOR = 2
MAX_STARTUP_BYTES = 10_000
MAX_CANCEL_KEY_BYTES = 256
READY = b"Z\x00\x00\x00\x05"
"""How ReadyForQuery begins; the next byte is the transaction status: I, T or E."""

_LENGTH = struct.Struct("!I")
_HEAD = struct.Struct("!cI")
_PAIR = struct.Struct("!II")

_SQLSTATES = {
    "NOT_FOUND": "3D000",
    "INVALID": "08P01",
    "UNAUTHENTICATED": "28P01",
    "DENIED": "42501",
    "UNSUPPORTED": "0A000",
    "EXTRA_MISSING": "58000",
    "BUSY": "53300",
    "TIMED_OUT": "57014",
    "CONFLICT": "55000",
    "TOO_LARGE": "54000",
    "ENGINE_FAILED": "57P03",
    "NODE_UNREACHABLE": "08006",
}


class WireError(Exception):
    """A refusal in PostgreSQL's own terms; `code` is an SQLSTATE."""

    def __init__(self, code: str, message: str, detail: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail = detail
        self.hint = hint

    @classmethod
    def of(cls, error: SkerryError) -> WireError:
        """Say a `SkerryError` in PostgreSQL's terms."""
        code = _SQLSTATES.get(error.code, "XX000")
        return cls(code, error.what.rstrip("."), error.why, error.hint)

    def encode(self) -> bytes:
        """Return the ErrorResponse."""
        fields = [("S", "FATAL"), ("V", "FATAL"), ("C", self.code), ("M", self.message)]
        fields += [(key, text) for key, text in (("D", self.detail), ("H", self.hint)) if text]
        body = b"".join(key.encode() + _text(text) for key, text in fields)
        return message(b"E", body + b"\x00")


@dataclass(slots=True)
class Startup:
    """A StartupMessage; `parameters` has `user` at least."""

    minor: int
    parameters: dict[str, str] = field(default_factory=dict)

    def unsupported(self) -> list[str]:
        """Return the protocol extensions that the client asks for; there are none that we know."""
        return [name for name in self.parameters if name.startswith("_pq_.")]


def parse_startup(body: bytes) -> Startup:
    """Parse what follows the length of a start-up packet; raise WireError."""
    version = _LENGTH.unpack_from(body)[0]
    major, minor = version >> 16, version & 0xFFFF
    if major != PROTOCOL_MAJOR:
        raise WireError(
            "0A000",
            f"unsupported frontend protocol {major}.{minor}: "
            f"server supports {PROTOCOL_MAJOR}.0 to {PROTOCOL_MAJOR}.{PROTOCOL_MINOR}",
        )
    parts = body[4:].split(b"\x00")
    if len(parts) < 2 or parts[-2:] != [b"", b""] or len(parts) % 2:
        raise WireError("08P01", "invalid startup packet layout: expected terminator as last byte")
    try:
        texts = [part.decode() for part in parts[:-2]]
    except UnicodeDecodeError as error:
        raise WireError("08P01", "invalid startup packet: not UTF-8") from error
    parameters = dict(zip(texts[::2], texts[1::2], strict=True))
    if not parameters.get("user"):
        raise WireError("28000", "no PostgreSQL user name specified in startup packet")
    return Startup(minor, parameters)


def startup(parameters: Mapping[str, str]) -> bytes:
    """Return a StartupMessage of protocol 3.0."""
    body = b"".join(_text(key) + _text(value) for key, value in parameters.items())
    return _packet(_LENGTH.pack(PROTOCOL_MAJOR << 16) + body + b"\x00")


def cancel_request(process: int, key: bytes) -> bytes:
    """Return a CancelRequest."""
    return _packet(_PAIR.pack(CANCEL_REQUEST, process) + key)


def message(kind: bytes, body: bytes = b"") -> bytes:
    """Frame a message."""
    return _HEAD.pack(kind, len(body) + 4) + body


def query(sql: str) -> bytes:
    """Return a simple Query."""
    return message(b"Q", _text(sql))


def parse_statement(name: str, sql: str, types: Sequence[int]) -> bytes:
    """Return a Parse that prepares a named statement."""
    oids = struct.pack(f"!H{len(types)}I", len(types), *types)
    return message(b"P", _text(name) + _text(sql) + oids)


SYNC = message(b"S")


def authentication(code: int, body: bytes = b"") -> bytes:
    """Return an Authentication request: 0 ok, 10 SASL, 11 SASL continue, 12 SASL final."""
    return message(b"R", _LENGTH.pack(code) + body)


def sasl_mechanisms(names: Sequence[str]) -> bytes:
    """Return AuthenticationSASL."""
    return authentication(10, b"".join(map(_text, names)) + b"\x00")


def sasl_initial(mechanism: str, data: bytes) -> bytes:
    """Return SASLInitialResponse."""
    return message(b"p", _text(mechanism) + _LENGTH.pack(len(data)) + data)


def parse_sasl_initial(body: bytes) -> tuple[str, bytes]:
    """Return (mechanism, data) of a SASLInitialResponse; raise WireError."""
    mechanism, separator, rest = body.partition(b"\x00")
    if not separator or len(rest) < 4 or _LENGTH.unpack_from(rest)[0] != len(rest) - 4:
        raise WireError("08P01", "malformed SASLInitialResponse")
    return mechanism.decode("ascii", "replace"), rest[4:]


def backend_key(process: int, key: bytes) -> bytes:
    """Return BackendKeyData."""
    return message(b"K", _LENGTH.pack(process) + key)


def negotiate(options: Sequence[str]) -> bytes:
    """Return NegotiateProtocolVersion: the newest minor version we speak, what we do not know."""
    version = (PROTOCOL_MAJOR << 16) | PROTOCOL_MINOR
    return message(b"v", _PAIR.pack(version, len(options)) + b"".join(map(_text, options)))


def parse_error(body: bytes) -> dict[str, str]:
    """Return the fields of an ErrorResponse or NoticeResponse by their letter."""
    parts = [part for part in body.split(b"\x00") if part]
    return {part[:1].decode(): part[1:].decode("utf-8", "replace") for part in parts}


def split(buffer: bytearray, limit: int) -> Iterator[tuple[bytes, bytes]]:
    """Take whole messages off the front of a buffer; raise WireError if one is beyond the limit."""
    while len(buffer) >= 5:
        kind, length = _HEAD.unpack_from(buffer)
        if not 4 <= length <= limit:
            raise WireError("08P01", f"invalid message length {length}")
        if len(buffer) < length + 1:
            return
        body = bytes(buffer[5 : length + 1])
        del buffer[: length + 1]
        yield kind, body


def literal(text: str) -> str:
    """Return a text as SQL, whatever the session's `standard_conforming_strings`."""
    return " E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def identifier(name: str) -> str:
    """Return a name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def row(body: bytes) -> list[str | None]:
    """Return the texts of a DataRow."""
    values: list[str | None] = []
    position = 2
    for _ in range(struct.unpack_from("!H", body)[0]):
        (length,) = struct.unpack_from("!i", body, position)
        position += 4
        values.append(None if length < 0 else body[position : position + length].decode())
        position += max(length, 0)
    return values


def _text(text: str) -> bytes:
    return text.encode() + b"\x00"


def _packet(body: bytes) -> bytes:
    return _LENGTH.pack(len(body) + 4) + body
