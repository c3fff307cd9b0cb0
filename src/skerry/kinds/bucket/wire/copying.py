"""CopyObject and UploadPartCopy: content is shared, not moved, unless its encryption changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import unquote

from skerry.kinds._shared.s3 import times, xml
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.access import decide
from skerry.kinds.bucket.state import buckets, content, crypt, multipart, objects
from skerry.kinds.bucket.state.database import Db
from skerry.kinds.bucket.state.multipart import NewPart
from skerry.kinds.bucket.state.objects import Put
from skerry.kinds.bucket.state.records import Bucket, Part, Record, Version
from skerry.kinds.bucket.state.sink import Sink, Taken
from skerry.kinds.bucket.state.source import Source
from skerry.kinds.bucket.wire import encrypting, intake, tagging, writing
from skerry.kinds.bucket.wire.call import Call, Reply, xml_reply
from skerry.kinds.bucket.wire.multipart import find, part_number
from skerry.kinds.bucket.wire.reading import check_conditions

_SOURCE = "x-amz-copy-source"


@dataclass(frozen=True, slots=True)
class Origin:
    """What is copied, and the key that opens it."""

    bucket: Bucket
    version: Version
    key: crypt.Key | None


async def copy_object(call: Call) -> Reply:
    """CopyObject."""
    directive = _directive(call, "x-amz-metadata-directive")
    tagged = _directive(call, "x-amz-tagging-directive")
    origin = await _origin(call)
    tags = origin.version.record.tags
    if tagged == "REPLACE":
        tags = tagging.from_header(call.headers.get("x-amz-tagging", ""))
    bucket = await call.allow("s3:PutObject", keys=tagging.request_keys(tags))
    record = _record(call, bucket, origin, replace=directive == "REPLACE")
    record.tags = tags
    _check_self(call, bucket, origin, record, directive)
    condition = writing.condition_of(call.headers)
    key = encrypting.key_for(call.account, record.encryption, call.headers)
    algorithm = call.headers.get("x-amz-checksum-algorithm", "")
    algorithm = intake.algorithm_of(algorithm) if algorithm else ""
    if (
        origin.key is None
        and key is None
        and (not algorithm or algorithm in origin.version.record.checksums)
    ):
        version = await _share(call, bucket, origin, record, condition)
    else:
        wanted = algorithm or next(iter(origin.version.record.checksums), "")
        size = origin.version.size
        taken = await _transcribe(call, origin, 0, size, key, wanted)
        version = await writing.store(call, bucket, call.key, record, taken, condition)
    root = xml.Element("CopyObjectResult")
    _describe(root, version.etag, version.modified, version.record.checksums)
    reply = xml_reply(root)
    reply.headers += writing.version_header(bucket, version)
    reply.headers += encrypting.headers_of(version.record.encryption)
    if origin.bucket.versioning:
        reply.headers.append(("x-amz-copy-source-version-id", origin.version.version))
    return reply


def _describe(root: xml.Element, etag: str, modified: int, sums: dict[str, str]) -> None:
    root.add("LastModified", times.iso(modified))
    root.add("ETag", f'"{etag}"')
    for name, value in sums.items():
        root.add(f"Checksum{name}", value)


def _directive(call: Call, name: str) -> str:
    value = call.headers.get(name, "COPY")
    if value not in ("COPY", "REPLACE"):
        raise S3Error("InvalidArgument", f"Unknown {name}.")
    return value


def _record(call: Call, bucket: Bucket, origin: Origin, *, replace: bool) -> Record:
    record = writing.new_record(call, bucket, call.headers)
    if not replace:
        source = origin.version.record
        record.headers = {**source.headers}
        record.metadata = source.metadata
    return record


def _check_self(call: Call, bucket: Bucket, origin: Origin, record: Record, directive: str) -> None:
    same = bucket.id == origin.bucket.id and call.key == origin.version.key
    old = origin.version.record
    changes = (
        directive == "REPLACE"
        or record.storage_class != old.storage_class
        or _kind(record) != _kind(old)
        or not origin.version.latest
        or "x-amz-website-redirect-location" in call.headers
    )
    if same and not changes:
        raise S3Error(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself "
            "without changing the object's metadata, storage class, website redirect location or "
            "encryption attributes.",
        )


def _kind(record: Record) -> tuple[str, str, str] | None:
    """Return what tells one way of encryption from another."""
    found = record.encryption
    return None if found is None else (found.mode, found.key, found.key_md5)


async def _origin(call: Call) -> Origin:
    """Return what is copied, if this user may read it and its conditions hold."""
    text, _, query = call.headers[_SOURCE].partition("?")
    try:
        path = unquote(text, errors="strict").removeprefix("/")
    except UnicodeDecodeError as error:
        raise S3Error("InvalidArgument", "The copy source is not UTF-8.") from error
    bucket_name, _, key = path.partition("/")
    if not bucket_name or not key:
        raise S3Error("InvalidArgument", "Copy Source must mention the source bucket and key.")
    name = query.removeprefix("versionId=") if query.startswith("versionId=") else None
    found = await call.store.read(buckets.find, bucket_name)
    bucket = call.check_bucket(found, bucket_name, "x-amz-source-expected-bucket-owner")
    version = await call.store.read(objects.find, bucket.id, key, name)
    action = "s3:GetObject" if name is None else "s3:GetObjectVersion"
    subject = call.subject()
    if version is None or version.marker:
        if not decide.allowed(subject, bucket, "s3:ListBucket", ""):
            raise decide.denied()
        if version is not None and name is not None:
            raise S3Error("InvalidRequest", "The source of a copy may not be a delete marker.")
        code = "NoSuchKey" if name is None else "NoSuchVersion"
        raise S3Error(code, "The specified source does not exist.", fields={"Key": key})
    decide.allow(subject, bucket, action, key, version)
    check_conditions(call, version, [], prefix=f"{_SOURCE}-")
    opened = encrypting.key_for(
        call.account, version.record.encryption, call.headers, copy_source=True
    )
    return Origin(bucket, version, opened)


async def _share(
    call: Call, bucket: Bucket, origin: Origin, record: Record, condition: objects.Condition
) -> Version:
    """Make the copy of the same content files."""

    def write(db: Db) -> tuple[Version, int]:
        source = objects.by_sequence(db, origin.version.sequence)
        if source is None:
            raise S3Error("NoSuchKey", "The source was deleted.")
        record.checksums = source.record.checksums
        record.checksum_type = source.record.checksum_type
        new = Put(
            bucket=bucket.id,
            versioning=bucket.versioning,
            key=call.key,
            record=record,
            size=source.size,
            etag=source.etag,
            pieces=content.duplicate(db, source.pieces),
            now=call.now,
            fresh=False,
            condition=condition,
        )
        if len(source.record.parts) > 1 or "-" in source.etag:
            record.parts = source.record.parts
        return objects.put(db, call.store.blobs, new)

    version, stored = await call.store.write(write)
    call.account.meter.add("stored_bytes", stored)
    call.store.rubbish()
    return version


async def _transcribe(
    call: Call, origin: Origin, start: int, length: int, key: crypt.Key | None, algorithm: str
) -> Taken:
    """Read a range of the source and take it in again, under another key."""
    source = Source(call.store, origin.version, origin.key)
    await source.open()
    sink = Sink(call.store.blobs, [algorithm] if algorithm else [], key)
    try:
        chunks: AsyncIterator[bytes] = source.chunks(start, length)
        async for chunk in chunks:
            await call.store.disk(sink.write, chunk)
        return await call.store.disk(sink.finish)
    except BaseException:
        sink.abandon()
        raise
    finally:
        source.close()


async def copy_part(call: Call) -> Reply:
    """UploadPartCopy."""
    number = part_number(call)
    _, upload = await find(call)
    origin = await _origin(call)
    start, length = _range(call, origin.version)
    key = encrypting.key_for(call.account, upload.record.encryption, call.headers)
    algorithm = next(iter(upload.record.checksums), "")
    taken = await _transcribe(call, origin, start, length, key, algorithm)
    part = Part(number, call.account.now(), taken.size, taken.etag, taken.sums)
    new = NewPart(upload, part, taken.pieces, taken.data, taken.nonce)
    stored = await call.store.adopt(taken, multipart.put_part, call.store.blobs, new)
    call.account.meter.add("stored_bytes", stored)
    root = xml.Element("CopyPartResult")
    _describe(root, part.etag, part.modified, part.checksums)
    reply = xml_reply(root)
    reply.headers += encrypting.headers_of(upload.record.encryption)
    if origin.bucket.versioning:
        reply.headers.append(("x-amz-copy-source-version-id", origin.version.version))
    return reply


def _range(call: Call, version: Version) -> tuple[int, int]:
    text = call.headers.get("x-amz-copy-source-range")
    if text is None:
        return 0, version.size
    first, dash, last = text.removeprefix("bytes=").partition("-")
    if not text.startswith("bytes=") or not dash or not first.isdigit() or not last.isdigit():
        raise S3Error("InvalidArgument", "The x-amz-copy-source-range value is malformed.")
    start, end = int(first), int(last) + 1
    if start >= end or end > version.size:
        raise S3Error(
            "InvalidRange",
            "The requested range is not valid for the source.",
            fields={"ActualObjectSize": str(version.size)},
        )
    return start, end - start


ROUTES = {
    ("object", "PUT", "copy"): copy_object,
    ("object", "PUT", "uploadId+copy"): copy_part,
}
