"""The log: an ordered, durable, hash-chained sequence of entries, and what a fold over it is.

Whatever must not be lost or disputed is a deterministic fold over a log. Each entry carries the
digest of the one before it (SHA-256 over its canonical bytes), so that cutting, reordering or
editing is found by whoever reads it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Protocol

import msgspec

from skerry.kernel.errors import CORRUPT

GENESIS = bytes(32)
"""The digest that the first entry of a log carries."""

_encoder = msgspec.msgpack.Encoder()


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One entry: its place, its wall time in nanoseconds, its body, and the digest before it."""

    sequence: int
    time: int
    body: bytes
    previous: bytes

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return _encoder.encode(self)

    def digest(self) -> bytes:
        """Return the SHA-256 of the canonical bytes, which the next entry carries."""
        return hashlib.sha256(self.encode()).digest()


class Log(Protocol):
    """Where entries are kept: a local file, or a replicated stream."""

    async def append(self, body: bytes) -> Entry:
        """Append one entry; when this returns, the entry survives a power cut."""
        ...

    def read(self, start: int = 0) -> Iterator[Entry]:
        """Yield the durable entries from a sequence number on, checked against the chain."""
        ...


def check_chain(entries: Iterator[Entry], previous: bytes, sequence: int) -> Iterator[Entry]:
    """Yield entries while each one follows the one before; raise CORRUPT where one does not."""
    for entry in entries:
        if entry.sequence != sequence or entry.previous != previous:
            raise CORRUPT(
                f"Entry {sequence} of the log does not follow the one before it.",
                why="An entry was cut out, moved or edited.",
                hint="skerry doctor",
            )
        yield entry
        previous, sequence = entry.digest(), sequence + 1
