"""Giving out a content: a range of it, piece by piece, in bounded memory."""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator

from skerry.kernel.errors import CORRUPT
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.state import content, crypt, objects
from skerry.kinds.bucket.state.records import Piece, Version
from skerry.kinds.bucket.state.store import Store

CHUNK_BYTES = 1 << 20


class Source:
    """The content of one version, opened; iterate once over `chunks`, then `close`."""

    def __init__(self, store: Store, version: Version, key: crypt.Key | None) -> None:
        self._store = store
        self._version = version
        self._key = key
        self._pin = -1
        self._file = -1

    async def open(self) -> None:
        """Make sure that the content stays; raise NoSuchKey if it was deleted meanwhile."""
        filed = [piece for piece in self._version.pieces if piece.digest]
        if not filed:
            return
        try:
            self._pin = await self._store.disk(self._open_pin, filed[0], len(filed) > 1)
        except FileNotFoundError:
            await self._check_exists()
            raise CORRUPT(
                f"A file of {self._version.key!r} is missing.", hint="Restore it from a backup."
            ) from None
        if len(filed) > 1:
            await self._check_exists()

    def close(self) -> None:
        """Let go of the files; calling it twice is harmless."""
        files = [file for file in (self._pin, self._file) if file >= 0]
        self._pin = self._file = -1
        for file in files:
            os.close(file)

    async def chunks(self, start: int, length: int) -> AsyncIterator[bytes]:
        """Yield the bytes of a range, at most `CHUNK_BYTES` at a time."""
        first = True
        for piece in self._version.pieces:
            if length <= 0:
                return
            if start >= piece.size:
                start -= piece.size
            else:
                take = min(length, piece.size - start)
                async for chunk in self._piece(piece, start, take, first):
                    yield chunk
                length -= take
                start = 0
            first = first and not piece.digest

    async def _piece(
        self, piece: Piece, start: int, length: int, first: bool
    ) -> AsyncIterator[bytes]:
        cipher = None
        if piece.nonce:
            assert self._key is not None, "the key was checked before"
            cipher = crypt.stream(self._key, piece.nonce, start)
        if not piece.digest:
            data = await self._store.read(content.read_inlined, piece.inlined)
            if data is None:
                raise S3Error("NoSuchKey", "The object was deleted.")
            data = data[start : start + length]
            yield cipher.update(data) if cipher else data
            return
        file = self._pin
        if not first:
            file = self._file = await self._store.disk(self._store.blobs.open, piece.digest)
        end = start + length
        while start < end:
            size = min(CHUNK_BYTES, end - start)
            data = await self._store.disk(os.pread, file, size, start)
            if not data:
                raise CORRUPT(f"A file of {self._version.key!r} is too short.")
            start += len(data)
            yield cipher.update(data) if cipher else data
        if not first:
            os.close(self._file)
            self._file = -1

    def _open_pin(self, piece: Piece, locked: bool) -> int:
        file = self._store.blobs.open(piece.digest)
        if locked:
            fcntl.flock(file, fcntl.LOCK_SH)
        return file

    async def _check_exists(self) -> None:
        found = await self._store.read(objects.by_sequence, self._version.sequence)
        if found is None:
            self.close()
            raise S3Error("NoSuchKey", "The object was deleted.")
