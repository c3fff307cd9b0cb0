"""Taking in a content: hashed, encrypted and written as it comes, in bounded memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers import CipherContext

from skerry.kinds._shared.s3 import checksums
from skerry.kinds.bucket.state import crypt
from skerry.kinds.bucket.state.blobs import Blobs, Incoming
from skerry.kinds.bucket.state.content import INLINE_BYTES_MAX
from skerry.kinds.bucket.state.records import Piece


@dataclass(slots=True)
class Taken:
    """A content that was taken in: `data` if it is small, else a file that is placed already.

    `md5` is of the plain bytes; `etag` tells nothing about them if they must be hidden.
    `incoming` is kept until the content has a holder; `close` ends it.
    """

    size: int
    etag: str
    md5: str
    sums: dict[str, str]
    sha256: str
    data: bytes | None
    nonce: bytes
    pieces: list[Piece] = field(default_factory=list)
    incoming: Incoming | None = None

    def close(self) -> None:
        """Remove what is temporary."""
        if self.incoming is not None:
            self.incoming.discard()


class Sink:
    """Takes bytes in order; not for the event loop once they are many."""

    def __init__(
        self,
        blobs: Blobs,
        algorithms: Iterable[str] = (),
        key: crypt.Key | None = None,
        *,
        need_sha256: bool = False,
    ) -> None:
        self._blobs = blobs
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._key = key
        self._sums = {name: checksums.new(name) for name in algorithms}
        self._need_sha256 = need_sha256
        self._sha256 = hashlib.sha256()
        self._head = bytearray()
        self._incoming: Incoming | None = None
        self._nonce = crypt.new_nonce() if key is not None else b""
        self._cipher: CipherContext | None = None
        if key is not None:
            self._cipher = crypt.stream(key, self._nonce)
        self.size = 0

    def write(self, data: bytes) -> None:
        """Take bytes in; raise BUSY if the disk is full."""
        self.size += len(data)
        for each in self._sums.values():
            each.update(data)
        if self._need_sha256:
            self._sha256.update(data)
        self._md5.update(data)
        if self._cipher is not None:
            data = self._cipher.update(data)
        if self._incoming is not None:
            self._incoming.write(data)
            return
        self._head += data
        if len(self._head) > INLINE_BYTES_MAX:
            self._incoming = self._blobs.receive()
            self._incoming.write(bytes(self._head))
            self._head.clear()

    def finish(self) -> Taken:
        """Place the content for good, if it is a file, and return it."""
        sums = {name: checksums.encode(each.digest()) for name, each in self._sums.items()}
        sha256 = self._sha256.hexdigest() if self._need_sha256 else ""
        md5, etag = self._md5.hexdigest(), crypt.etag(self._key, self._md5.digest())
        taken = Taken(self.size, etag, md5, sums, sha256, None, self._nonce)
        if self._incoming is None:
            taken.data = bytes(self._head)
            return taken
        digest = self._incoming.sync()
        self._blobs.place(self._incoming, digest)
        taken.pieces = [Piece(digest, self.size, nonce=self._nonce)]
        taken.incoming, self._incoming = self._incoming, None
        return taken

    def abandon(self) -> None:
        """Forget what was taken; harmless after `finish`."""
        if self._incoming is not None:
            self._incoming.discard()
            self._incoming = None
