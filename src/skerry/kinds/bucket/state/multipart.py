"""Multipart uploads: parts are contents of their own, and the object is the list of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from skerry.kernel.clock import SystemEntropy
from skerry.kinds._shared.s3 import checksums
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.state import content, objects
from skerry.kinds.bucket.state.blobs import Blobs
from skerry.kinds.bucket.state.database import Db, rows
from skerry.kinds.bucket.state.objects import Condition, Put
from skerry.kinds.bucket.state.records import (
    Bucket,
    Part,
    PartInfo,
    Piece,
    Record,
    Upload,
    Version,
    pack,
    unpack,
    unpack_pieces,
)

PARTS_MAX = 10_000
PART_BYTES_MIN = 5 * 1024 * 1024
_REMEMBER_NS = 3600 * 10**9


def no_such_upload() -> S3Error:
    """Return the error for an upload that does not exist, or not any more."""
    return S3Error(
        "NoSuchUpload",
        "The specified multipart upload does not exist. The upload ID might be invalid, or the "
        "multipart upload might have been aborted or completed.",
    )


def create(db: Db, bucket: int, key: str, record: Record, now: int) -> Upload:
    """Start an upload."""
    upload = Upload(SystemEntropy().bytes(20).hex(), bucket, key, now, record)
    db.execute(
        "INSERT INTO uploads (id, bucket, key, started, record) VALUES (?, ?, ?, ?, ?)",
        (upload.id, bucket, key, now, pack(record)),
    )
    return upload


def find(db: Db, bucket: int, key: str, upload: str) -> Upload:
    """Return an upload; raise NoSuchUpload."""
    row = db.execute(
        "SELECT id, bucket, key, started, record FROM uploads"
        " WHERE id = ? AND bucket = ? AND key = ?",
        (upload, bucket, key),
    ).fetchone()
    if row is None:
        raise no_such_upload()
    return Upload(row[0], row[1], row[2], row[3], unpack(row[4], Record))


@dataclass(slots=True)
class NewPart:
    """A part that is about to be stored."""

    upload: Upload
    part: Part
    pieces: list[Piece]
    data: bytes | None
    nonce: bytes
    fresh: bool = True


def put_part(db: Db, blobs: Blobs, new: NewPart) -> int:
    """Store a part in place of an earlier one of its number; return bytes that are stored anew."""
    find(db, new.upload.bucket, new.upload.key, new.upload.id)
    pieces = new.pieces
    if new.data is not None:
        pieces = [content.inline(db, new.data, new.nonce)] if new.data else []
    stored = content.hold(db, blobs, pieces, fresh=new.fresh)
    old = db.execute(
        "SELECT pieces FROM parts WHERE upload = ? AND number = ?",
        (new.upload.id, new.part.number),
    ).get
    if old is not None:
        content.discard(db, old, new.part.modified)
    part = new.part
    db.execute(
        "INSERT OR REPLACE INTO parts (upload, number, modified, size, etag, record, pieces)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            new.upload.id,
            part.number,
            part.modified,
            part.size,
            part.etag,
            pack(part.checksums),
            pack(pieces),
        ),
    )
    return stored


def parts(db: Db, upload: str, after: int = 0, limit: int = PARTS_MAX) -> list[Part]:
    """Return an upload's parts by number."""
    found = rows(
        db,
        "SELECT number, modified, size, etag, record, pieces FROM parts"
        " WHERE upload = ? AND number > ? ORDER BY number LIMIT ?",
        (upload, after, limit),
    )
    return [
        Part(row[0], row[1], row[2], row[3], unpack(row[4], dict[str, str]), row[5])
        for row in found
    ]


@dataclass(frozen=True, slots=True)
class Named:
    """A part as CompleteMultipartUpload names it."""

    number: int
    etag: str
    checksums: dict[str, str]


@dataclass(frozen=True, slots=True)
class Completion:
    """What CompleteMultipartUpload asks for; `checksum` is of the whole, if given."""

    bucket: Bucket
    key: str
    upload: str
    named: list[Named]
    condition: Condition
    now: int
    checksum: dict[str, str]
    size: int | None = None


def complete(db: Db, blobs: Blobs, ask: Completion) -> Version:
    """Make the object of an upload's parts; asking again for a completed one gives the same.

    Raise S3Error: NoSuchUpload, InvalidPart, InvalidPartOrder, EntityTooSmall, BadDigest, or what
    the condition says.
    """
    try:
        upload = find(db, ask.bucket.id, ask.key, ask.upload)
    except S3Error:
        return _completed(db, ask)
    chosen = _choose(db, ask)
    size = sum(part.size for part in chosen)
    if ask.size is not None and ask.size != size:
        raise S3Error("InvalidRequest", "x-amz-mp-object-size is not the size of the parts.")
    record = upload.record
    _sum_up(record, chosen, ask.checksum)
    digest = hashlib.md5(usedforsecurity=False)
    for part in chosen:
        digest.update(bytes.fromhex(part.etag))
    pieces = [piece for part in chosen for piece in unpack_pieces(part.packed)]
    new = Put(
        bucket=ask.bucket.id,
        versioning=ask.bucket.versioning,
        key=ask.key,
        record=record,
        size=size,
        etag=f"{digest.hexdigest()}-{len(chosen)}",
        pieces=content.duplicate(db, pieces),
        now=ask.now,
        fresh=False,
        condition=ask.condition,
    )
    version, _ = objects.put(db, blobs, new)
    remove(db, ask.upload, ask.now)
    db.execute("DELETE FROM completed WHERE finished < ?", (ask.now - _REMEMBER_NS,))
    db.execute(
        "INSERT INTO completed (upload, bucket, key, version, etag, finished)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (ask.upload, ask.bucket.id, ask.key, version.version, version.etag, ask.now),
    )
    return version


def remove(db: Db, upload: str, now: int) -> None:
    """Forget an upload and its parts."""
    for part in parts(db, upload):
        content.discard(db, part.packed, now)
    db.execute("DELETE FROM parts WHERE upload = ?", (upload,))
    db.execute("DELETE FROM uploads WHERE id = ?", (upload,))


def _completed(db: Db, ask: Completion) -> Version:
    row = db.execute(
        "SELECT version, etag FROM completed WHERE upload = ? AND bucket = ? AND key = ?",
        (ask.upload, ask.bucket.id, ask.key),
    ).fetchone()
    if row is None:
        raise no_such_upload()
    version = objects.find(db, ask.bucket.id, ask.key, row[0])
    if version is None or version.etag != row[1]:
        raise no_such_upload()
    return version


def _choose(db: Db, ask: Completion) -> list[Part]:
    """Return the named parts; of one that was sent twice and is named twice, the later counts."""
    have = {part.number: part for part in parts(db, ask.upload)}
    chosen: list[Part] = []
    for named, after in zip(ask.named, [*ask.named[1:], None], strict=True):
        if after is not None and named.number == after.number:
            continue
        if chosen and named.number <= chosen[-1].number:
            raise S3Error("InvalidPartOrder", "The list of parts was not in ascending order.")
        part = have.get(named.number)
        wrong = part is None or part.etag != named.etag
        if part is None or wrong or not _agrees(named.checksums, part.checksums):
            raise S3Error(
                "InvalidPart",
                "One or more of the specified parts could not be found.",
                fields={"UploadId": ask.upload, "PartNumber": str(named.number)},
            )
        chosen.append(part)
    for part in chosen[:-1]:
        if part.size < PART_BYTES_MIN:
            raise S3Error(
                "EntityTooSmall",
                "Your proposed upload is smaller than the minimum allowed size.",
                fields={"PartNumber": str(part.number), "ProposedSize": str(part.size)},
            )
    return chosen


def _agrees(given: dict[str, str], kept: dict[str, str]) -> bool:
    return all(kept.get(name) == value for name, value in given.items() if name in kept)


def _sum_up(record: Record, chosen: list[Part], given: dict[str, str]) -> None:
    """Write the parts' list and the checksum of the whole into the record; raise BadDigest."""
    algorithm = next(iter(record.checksums), "")
    infos = []
    for number, part in enumerate(chosen, start=1):
        infos.append(PartInfo(number, part.size, part.checksums.get(algorithm, "")))
    record.parts = infos
    if not algorithm or not all(info.checksum for info in infos):
        record.checksums, record.checksum_type = {}, ""
        return
    digests = [checksums.decode(algorithm, info.checksum) for info in infos]
    if record.checksum_type == "FULL_OBJECT":
        sizes = [info.size for info in infos]
        total = checksums.combine(algorithm, list(zip(digests, sizes, strict=True)))
    else:
        total = checksums.composite(algorithm, digests)
    if algorithm in given and given[algorithm] not in (total, total.partition("-")[0]):
        raise S3Error("BadDigest", f"The {algorithm} you specified did not match.")
    record.checksums = {algorithm: total}
