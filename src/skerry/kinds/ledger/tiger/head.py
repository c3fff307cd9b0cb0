"""The 256-byte heads of TigerBeetle's messages (release 0.17, `src/vsr/message_header.zig`).

Every head begins alike: checksum of the rest of the head, checksum of the body, cluster, size of
the whole message, release of the sender, and command. What follows at byte 128 depends on the
command.
"""

from __future__ import annotations

import enum
import struct
from typing import NamedTuple

from skerry.kinds.ledger.tiger.checksum import checksum, plain_checksum

HEAD_BYTES = 256
MESSAGE_MAX = 1 << 20

_COMMON = struct.Struct("<16s16x16s16x16x16sIIIIHBB12x")
_REQUEST = struct.Struct("<16s16x16sQQIB")
_PING = struct.Struct("<16sQ")
_REPLY = struct.Struct("<16s16x16s16x16sQQQIB19x")
assert _COMMON.size == 128
assert _REPLY.size == 128


class Command(enum.IntEnum):
    """The commands that clients and servers exchange."""

    PING_CLIENT = 3
    PONG_CLIENT = 4
    REQUEST = 5
    REPLY = 8
    EVICTION = 18


class Reason(enum.IntEnum):
    """Why a client is sent away; it then fails all calls with this."""

    NO_SESSION = 1
    INVALID_OPERATION = 4
    INVALID_BODY = 5
    INVALID_BODY_SIZE = 6
    SESSION_TOO_LOW = 7


class Head(NamedTuple):
    """What every head tells."""

    checksum: bytes
    checksum_body: bytes
    cluster: int
    size: int
    release: int
    command: int


class Request(NamedTuple):
    """What the head of a request tells besides."""

    client: int
    session: int
    request: int
    operation: int


def read(packed: bytes | memoryview) -> Head | None:
    """Return what a head tells, or None if it is none that a client sends; no checksum is read."""
    fields = _COMMON.unpack_from(packed)
    own, body, cluster, size, epoch, _view, release, protocol, command, replica = fields
    is_ours = epoch == protocol == replica == 0 and release != 0
    if not is_ours or command not in (Command.PING_CLIENT, Command.REQUEST):
        return None
    if not HEAD_BYTES <= size <= MESSAGE_MAX:
        return None
    return Head(own, body, int.from_bytes(cluster, "little"), size, release, command)


def is_whole(head: Head, packed: bytes, body: bytes) -> bool:
    """Tell whether head and body have the checksums that the head tells."""
    return checksum(packed[16:]) == head.checksum and checksum(body) == head.checksum_body


def read_request(packed: bytes | memoryview) -> Request:
    """Return what the head of a request tells besides."""
    _, client, session, _, request, operation = _REQUEST.unpack_from(packed, 128)
    return Request(int.from_bytes(client, "little"), session, request, operation)


def client_of(head: Head, packed: bytes | memoryview) -> int:
    """Return the client that sends a message."""
    at = 128 if head.command == Command.PING_CLIENT else 160
    return int.from_bytes(packed[at : at + 16], "little")


def pong(head: Head, packed: bytes | memoryview) -> bytes:
    """Return the answer to a ping."""
    _, time = _PING.unpack_from(packed, 128)
    rest = struct.pack("<Q120x", time)
    return _sealed(head, Command.PONG_CLIENT, rest, b"", plain=True)


def eviction(head: Head, client: int, reason: Reason) -> bytes:
    """Return the message that sends a client away."""
    rest = client.to_bytes(16, "little") + bytes(111) + bytes([reason])
    return _sealed(head, Command.EVICTION, rest, b"", plain=True)


def reply(
    head: Head, request: Request, body: bytes, *, sequence: int, timestamp: int
) -> list[bytes]:
    """Return the head and the body of a reply; `sequence` is the place in the log."""

    def rest(context: bytes) -> bytes:
        return _REPLY.pack(
            head.checksum,
            context,
            request.client.to_bytes(16, "little"),
            sequence,
            sequence,
            timestamp,
            request.request,
            request.operation,
        )

    # The client sends it back with its next request, to show which reply it has seen.
    context = checksum(rest(bytes(16)))
    return [_sealed(head, Command.REPLY, rest(context), body), body]


def _sealed(
    head: Head, command: Command, rest: bytes, body: bytes, *, plain: bool = False
) -> bytes:
    """Return a head with its checksums; `plain` needs no compiled code, for short messages."""
    digest = plain_checksum if plain else checksum
    common = _COMMON.pack(
        bytes(16),
        digest(body),
        head.cluster.to_bytes(16, "little"),
        HEAD_BYTES + len(body),
        0,
        0,
        head.release,
        0,
        command,
        0,
    )
    tail = common[16:] + rest
    return digest(tail) + tail
