"""Sealed streams: what leaves a node encrypted under an app's data key.

    SKERRY-SEALED-1\\n
    {"app": …, "key": …, "salt": …}\\n
    chunks of 64 KiB, each AES-256-GCM with its tag

Chunks are numbered in their nonces, and the last one says that it is the last (the STREAM
construction of Hoang, Reyhanitabar, Rogaway and Vizár, 2015), so that a stream that was cut, or
whose chunks were moved, does not open. The header is bound to every chunk. Each stream has a key of
its own, derived from the data key and a random salt.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from skerry.kernel.errors import CORRUPT, SkerryError
from skerry.kernel.keys import derive

MAGIC = b"SKERRY-SEALED-1\n"
CHUNK_BYTES = 64 * 1024
HEADER_BYTES_MAX = 1024
_TAG_BYTES = 16


class Header(msgspec.Struct, frozen=True):
    """Of which app a stream is, and the name of the data key that opens it."""

    app: str
    key: str
    salt: bytes


def seal(app: str, name: str, key: bytes, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the sealed stream of some bytes."""
    header = Header(app, name, os.urandom(16))
    line = msgspec.json.encode(header)
    yield MAGIC + line + b"\n"
    cipher, number, held = _cipher(key, header), 0, bytearray()
    for chunk in chunks:
        held += chunk
        while len(held) > CHUNK_BYTES:
            yield cipher.encrypt(_nonce(number, last=False), bytes(held[:CHUNK_BYTES]), line)
            del held[:CHUNK_BYTES]
            number += 1
    yield cipher.encrypt(_nonce(number, last=True), bytes(held), line)


def header_of(file: BinaryIO) -> Header | None:
    """Read the header of a sealed stream; None, with nothing read, if it is no such stream."""
    start = file.tell()
    if file.read(len(MAGIC)) != MAGIC:
        file.seek(start)
        return None
    line = file.readline(HEADER_BYTES_MAX)
    try:
        return msgspec.json.decode(line, type=Header)
    except msgspec.DecodeError as error:
        raise CORRUPT("The header of a sealed file cannot be read.", why=str(error)) from error


def open_stream(file: BinaryIO, header: Header, key: bytes) -> Iterator[bytes]:
    """Yield what was sealed, from a file that stands behind its header; raise CORRUPT.

    What comes before the last chunk was read is the beginning of what was sealed, and no more than
    that: whoever acts on it waits for the end.
    """
    cipher, line, number = _cipher(key, header), msgspec.json.encode(header), 0
    block = file.read(CHUNK_BYTES + _TAG_BYTES)
    while True:
        following = file.read(CHUNK_BYTES + _TAG_BYTES)
        try:
            yield cipher.decrypt(_nonce(number, last=not following), block, line)
        except InvalidTag as error:
            raise _damaged(header) from error
        if not following:
            return
        block, number = following, number + 1


class Reader:
    """A sealed stream as a file that is read from its beginning to its end."""

    def __init__(self, file: BinaryIO, find: Callable[[Header], bytes]) -> None:
        header = header_of(file)
        if header is None:
            raise CORRUPT("This is no sealed file.")
        self.header = header
        self._chunks = open_stream(file, header, find(header))
        self._held = bytearray()
        self._over = False

    def read(self, count: int = -1) -> bytes:
        """Return up to `count` bytes; see `io.RawIOBase.read`."""
        while not self._over and (count < 0 or len(self._held) < count):
            chunk = next(self._chunks, None)
            self._over = chunk is None
            self._held += chunk or b""
        taken = bytes(self._held if count < 0 else self._held[:count])
        del self._held[: len(taken)]
        return taken

    def drain(self) -> None:
        """Read to the end, so that a stream that was cut is found."""
        while self.read(CHUNK_BYTES):
            pass


def _cipher(key: bytes, header: Header) -> AESGCM:
    return AESGCM(derive(key, "stream", header.salt.hex()))


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


def _damaged(header: Header) -> SkerryError:
    return CORRUPT(
        f"What was sealed for {header.app} does not open.",
        why=f"It was cut or changed, or the key {header.key} is another.",
    )
