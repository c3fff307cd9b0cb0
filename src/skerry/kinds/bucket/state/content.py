"""Who holds which content: small contents lie in the database, others are counted files."""

from __future__ import annotations

from collections.abc import Iterable

from skerry.kinds.bucket.state.blobs import Blobs
from skerry.kinds.bucket.state.database import Db
from skerry.kinds.bucket.state.records import Piece, pack, unpack_pieces

INLINE_BYTES_MAX = 8192
"""Contents up to this size lie in the database: one fsync instead of three."""


class MissingContentError(Exception):
    """A content file was collected before its new holder was counted; place it again."""


def inline(db: Db, data: bytes, nonce: bytes = b"") -> Piece:
    """Keep a small content in the database."""
    db.execute("INSERT INTO inlined (data) VALUES (?)", (data,))
    return Piece(b"", len(data), db.last_insert_rowid(), nonce)


def read_inlined(db: Db, row: int) -> bytes | None:
    """Return a small content, or None if it was deleted."""
    found = db.execute("SELECT data FROM inlined WHERE id = ?", (row,)).get
    return None if found is None else bytes(found)


def hold(db: Db, blobs: Blobs, pieces: Iterable[Piece], *, fresh: bool) -> int:
    """Count one more holder of each content file; return the bytes that are stored anew.

    `fresh` contents were placed outside of this transaction; if one is gone again, raise
    MissingContentError.
    """
    stored = 0
    for piece in pieces:
        if not piece.digest:
            stored += piece.size
            continue
        if fresh and not blobs.present(piece.digest):
            raise MissingContentError
        db.execute(
            "INSERT INTO blobs (digest, size, holders) VALUES (?, ?, 1) "
            "ON CONFLICT (digest) DO UPDATE SET holders = holders + 1",
            (piece.digest, piece.size),
        )
        first = db.execute("SELECT holders FROM blobs WHERE digest = ?", (piece.digest,)).get == 1
        stored += piece.size if first else 0
    return stored


def duplicate(db: Db, pieces: Iterable[Piece]) -> list[Piece]:
    """Return pieces for a copy: small contents are copied, files are shared (see `hold`)."""
    copies = []
    for piece in pieces:
        if piece.digest:
            copies.append(piece)
        else:
            data = read_inlined(db, piece.inlined)
            assert data is not None, "a version's small content is in its transaction's view"
            copies.append(inline(db, data, piece.nonce))
    return copies


def discard(db: Db, packed: bytes, now: int) -> None:
    """Give up a content: small ones at once, files when nobody reads them any more."""
    pieces = unpack_pieces(packed) if packed else []
    filed = [piece for piece in pieces if piece.digest]
    for piece in pieces:
        if not piece.digest:
            db.execute("DELETE FROM inlined WHERE id = ?", (piece.inlined,))
    if filed:
        db.execute("INSERT INTO trash (deleted, pieces) VALUES (?, ?)", (now, pack(filed)))


def release(db: Db, pieces: Iterable[Piece]) -> list[bytes]:
    """Count one holder less of each content file; return those that nobody holds now."""
    free = []
    for piece in pieces:
        db.execute("UPDATE blobs SET holders = holders - 1 WHERE digest = ?", (piece.digest,))
        if db.execute("SELECT holders FROM blobs WHERE digest = ?", (piece.digest,)).get == 0:
            db.execute("DELETE FROM blobs WHERE digest = ?", (piece.digest,))
            free.append(piece.digest)
    return free
