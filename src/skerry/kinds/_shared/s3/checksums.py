"""The checksums that S3 clients send: computed, encoded, and combined over parts.

CRC32, SHA-1 and SHA-256 come with Python; CRC32C and CRC64NVME need the extra `bucket` (awscrt,
which uses the processor's instructions). Source: Amazon S3 User Guide, "Checking object integrity".
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import zlib
from typing import Any, Protocol

from skerry.kernel.errors import EXTRA_MISSING

SIZES = {"CRC32": 4, "CRC32C": 4, "CRC64NVME": 8, "SHA1": 20, "SHA256": 32}
"""Algorithms and the length of their digests in bytes."""

CRCS = ("CRC32", "CRC32C", "CRC64NVME")


class Hash(Protocol):
    """A running checksum."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Add bytes."""
        ...

    def digest(self) -> bytes:
        """Return the checksum of the bytes so far, big-endian."""
        ...


class _Crc:
    def __init__(self, algorithm: str) -> None:
        self._function: Any = zlib.crc32 if algorithm == "CRC32" else _native(algorithm.lower())
        self._size = SIZES[algorithm]
        self._value = 0

    def update(self, data: bytes | memoryview, /) -> None:
        self._value = self._function(data, self._value)

    def digest(self) -> bytes:
        return int(self._value).to_bytes(self._size, "big")


def new(algorithm: str) -> Hash:
    """Start a checksum of one of `SIZES`; raise EXTRA_MISSING if it needs the extra."""
    if algorithm in CRCS:
        return _Crc(algorithm)
    return hashlib.new(algorithm.lower(), usedforsecurity=False)


def encode(digest: bytes) -> str:
    """Return a digest as headers carry it."""
    return base64.b64encode(digest).decode()


def decode(algorithm: str, text: str) -> bytes:
    """Read a digest from a header; raise ValueError if it cannot be one."""
    try:
        digest = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    if len(digest) != SIZES[algorithm]:
        raise ValueError("wrong length")
    return digest


def composite(algorithm: str, parts: list[bytes]) -> str:
    """Return the checksum of a multipart object's part checksums: `<digest>-<count>`."""
    total = new(algorithm)
    for part in parts:
        total.update(part)
    return f"{encode(total.digest())}-{len(parts)}"


def combine(algorithm: str, parts: list[tuple[bytes, int]]) -> str:
    """Return the CRC of the whole from those of its parts and their lengths in bytes."""
    function = _native(f"combine_{algorithm.lower()}")
    value, length = 0, 0
    for position, (digest, size) in enumerate(parts):
        crc = int.from_bytes(digest, "big")
        value = function(value, crc, size) if position else crc
        length += size
    return encode(value.to_bytes(SIZES[algorithm], "big"))


@functools.cache
def _native(name: str) -> Any:
    try:
        from awscrt import checksums  # noqa: PLC0415
    except ImportError as error:
        raise EXTRA_MISSING(
            "This checksum needs an optional library.",
            why="CRC32C, CRC64NVME and whole-object CRCs of multipart uploads use awscrt.",
            hint="pip install 'skerry[bucket]'",
        ) from error
    return getattr(checksums, name)
