"""Objects and their versions; every function runs inside a transaction of its caller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from skerry.kernel.clock import SystemEntropy
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.state import content
from skerry.kinds.bucket.state.blobs import Blobs
from skerry.kinds.bucket.state.database import Db
from skerry.kinds.bucket.state.records import (
    Bucket,
    Lock,
    Piece,
    Record,
    Version,
    pack,
    unpack,
)

NULL = "null"
_COLUMNS = "sequence, key, version, latest, marker, modified, size, etag, record, pieces"


@dataclass(frozen=True, slots=True)
class Condition:
    """What must hold of the current version for a write to happen (RFC 9110, section 13)."""

    if_match: str | None = None
    if_none_match: str | None = None
    size: int | None = None
    modified: int | None = None

    def check(self, current: Version | None) -> None:
        """Raise NoSuchKey or PreconditionFailed if it does not hold."""
        exists = current is not None and not current.marker
        if self.if_match is not None:
            if current is None or not exists:
                raise S3Error("NoSuchKey", "The specified key does not exist.")
            if not etag_matches(self.if_match, current.etag):
                raise precondition_failed("If-Match")
        if self.if_none_match is not None and exists:
            assert current is not None
            if etag_matches(self.if_none_match, current.etag):
                raise precondition_failed("If-None-Match")
        if current is not None and exists:
            if self.size is not None and current.size != self.size:
                raise precondition_failed("x-amz-if-match-size")
            if self.modified is not None and current.modified // 10**9 != self.modified // 10**9:
                raise precondition_failed("x-amz-if-match-last-modified-time")


NO_CONDITION = Condition()


def precondition_failed(header: str) -> S3Error:
    """Return the error for a condition that does not hold."""
    return S3Error(
        "PreconditionFailed",
        "At least one of the pre-conditions you specified did not hold.",
        fields={"Condition": header},
    )


def etag_matches(given: str, etag: str) -> bool:
    """Tell whether a header's list of entity tags names `etag`."""
    tags = [tag.strip().removeprefix("W/").strip('"') for tag in given.split(",")]
    return "*" in tags or etag in tags


@dataclass(slots=True)
class Put:
    """An object that is about to be stored: all of it but its place in history."""

    bucket: int
    versioning: str
    key: str
    record: Record
    size: int
    etag: str
    pieces: list[Piece]
    now: int
    data: bytes | None = None
    nonce: bytes = b""
    fresh: bool = True
    condition: Condition = NO_CONDITION


def put(db: Db, blobs: Blobs, new: Put) -> tuple[Version, int]:
    """Store an object as the current version; return it and the bytes that are stored anew.

    Raise S3Error if its condition does not hold, MissingContentError if a file must be placed
    again.
    """
    new.condition.check(current(db, new.bucket, new.key))
    pieces = new.pieces
    if new.data is not None:
        pieces = [content.inline(db, new.data, new.nonce)] if new.data else []
    stored = content.hold(db, blobs, pieces, fresh=new.fresh)
    version = _insert(db, new, pack(pieces), marker=False)
    return version, stored


def add_marker(db: Db, bucket: int, versioning: str, key: str, owner: str, now: int) -> Version:
    """Put a delete marker on a key."""
    new = Put(bucket, versioning, key, Record(owner=owner), 0, "", [], now)
    return _insert(db, new, b"", marker=True)


def _insert(db: Db, new: Put, packed: bytes, *, marker: bool) -> Version:
    name = NULL
    if new.versioning == "Enabled":
        name = new_version_name()
    else:
        _drop_null(db, new)
    db.execute(
        "UPDATE versions SET latest = 0 WHERE bucket = ? AND key = ? AND latest = 1",
        (new.bucket, new.key),
    )
    values = (new.bucket, new.key, name, marker, new.now, new.size, new.etag, pack(new.record))
    db.execute(
        "INSERT INTO versions (bucket, key, version, latest, marker, modified, size, etag, record,"
        " pieces) VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, ?)",
        (*values, packed),
    )
    sequence = db.last_insert_rowid()
    return Version(
        sequence, new.key, name, True, marker, new.now, new.size, new.etag, new.record, packed
    )


def _drop_null(db: Db, new: Put) -> None:
    old = find(db, new.bucket, new.key, NULL)
    if old is not None:
        _delete_row(db, old, new.now)


def new_version_name() -> str:
    """Return a name for a version that no other has."""
    return SystemEntropy().bytes(16).hex()


def row_to_version(row: Any) -> Version:
    """Return the version of a row of `versions`."""
    record: Record = unpack(row[8], Record)
    return Version(
        row[0], row[1], row[2], bool(row[3]), bool(row[4]), row[5], row[6], row[7], record, row[9]
    )


def current(db: Db, bucket: int, key: str) -> Version | None:
    """Return the latest version of a key, which may be a delete marker."""
    row = db.execute(
        f"SELECT {_COLUMNS} FROM versions WHERE bucket = ? AND key = ? AND latest = 1",  # noqa: S608 - constants
        (bucket, key),
    ).fetchone()
    return row_to_version(row) if row else None


def find(db: Db, bucket: int, key: str, version: str | None) -> Version | None:
    """Return a version by its name, or the latest if none is named."""
    if version is None:
        return current(db, bucket, key)
    row = db.execute(
        f"SELECT {_COLUMNS} FROM versions WHERE bucket = ? AND key = ? AND version = ?"  # noqa: S608 - constants
        " ORDER BY sequence DESC",
        (bucket, key, version),
    ).fetchone()
    return row_to_version(row) if row else None


def by_sequence(db: Db, sequence: int) -> Version | None:
    """Return a version that may have been deleted meanwhile."""
    row = db.execute(f"SELECT {_COLUMNS} FROM versions WHERE sequence = ?", (sequence,)).fetchone()  # noqa: S608 - constants
    return row_to_version(row) if row else None


def delete_version(db: Db, bucket: int, version: Version, now: int) -> None:
    """Remove one version for good; the newest that is left becomes the current one."""
    _delete_row(db, version, now)
    if version.latest:
        db.execute(
            "UPDATE versions SET latest = 1 WHERE sequence ="
            " (SELECT max(sequence) FROM versions WHERE bucket = ? AND key = ?)",
            (bucket, version.key),
        )


def update_record(db: Db, version: Version) -> None:
    """Store the changed record of a version."""
    db.execute(
        "UPDATE versions SET record = ? WHERE sequence = ?",
        (pack(version.record), version.sequence),
    )


def check_lock(lock: Lock | None, now: int, *, bypass: bool) -> None:
    """Raise AccessDenied if a lock forbids to delete a version."""
    if lock is None:
        return
    held = lock.mode and lock.until > now and not (lock.mode == "GOVERNANCE" and bypass)
    if held or lock.hold == "ON":
        raise S3Error("AccessDenied", "The object version is locked.")


def _delete_row(db: Db, version: Version, now: int) -> None:
    db.execute("DELETE FROM versions WHERE sequence = ?", (version.sequence,))
    content.discard(db, version.packed, now)


def delete_current(db: Db, bucket: Bucket, key: str, owner: str, now: int) -> bool:
    """Delete a key as its owner does, with a marker where there are versions.

    Return whether there was an object.
    """
    found = current(db, bucket.id, key)
    if bucket.versioning:
        add_marker(db, bucket.id, bucket.versioning, key, owner, now)
    elif found is not None:
        delete_version(db, bucket.id, found, now)
    return found is not None and not found.marker


def insert_as_is(db: Db, bucket: int, version: Version) -> None:
    """Add a version with its own name, time and place; contents are held already."""
    db.execute(
        "INSERT INTO versions (bucket, key, version, latest, marker, modified, size, etag, record,"
        " pieces) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            bucket,
            version.key,
            version.version,
            version.latest,
            version.marker,
            version.modified,
            version.size,
            version.etag,
            pack(version.record),
            version.packed,
        ),
    )
