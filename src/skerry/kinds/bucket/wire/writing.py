"""PutObject, and what a new object's record holds."""

from __future__ import annotations

import re
from collections.abc import Mapping

from skerry.kinds._shared.s3 import times
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.access import acl, decide
from skerry.kinds.bucket.state import objects
from skerry.kinds.bucket.state.objects import Condition, Put
from skerry.kinds.bucket.state.records import Bucket, Record, Version
from skerry.kinds.bucket.state.sink import Taken
from skerry.kinds.bucket.wire import encrypting, intake, lifecycle, locking, tagging
from skerry.kinds.bucket.wire.call import Call, Reply

KEPT_HEADERS = (
    "content-type",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
    "x-amz-website-redirect-location",
)
METADATA_BYTES_MAX = 2048
STORAGE_CLASSES = frozenset(
    [
        "STANDARD",
        "STANDARD_IA",
        "ONEZONE_IA",
        "INTELLIGENT_TIERING",
        "GLACIER",
        "DEEP_ARCHIVE",
        "GLACIER_IR",
        "REDUCED_REDUNDANCY",
    ]
)
_META = "x-amz-meta-"
_ALLOWED_KEY = re.compile(r"[^\x00]+", re.DOTALL)


async def put_object(call: Call) -> Reply:
    """PutObject."""
    tags = tagging.from_header(call.headers.get("x-amz-tagging", ""))
    bucket = await call.allow("s3:PutObject", keys=tagging.request_keys(tags))
    record = new_record(call, bucket, call.headers)
    record.tags = tags
    condition = condition_of(call.headers)
    key = encrypting.key_for(call.account, record.encryption, call.headers)
    taken = await intake.take_in(call, key)
    version = await store(call, bucket, call.key, record, taken, condition)
    return Reply(headers=written_headers(bucket, version))


async def store(
    call: Call, bucket: Bucket, key: str, record: Record, taken: Taken, condition: Condition
) -> Version:
    """Make what was taken in the current version of a key."""
    if not _ALLOWED_KEY.fullmatch(key):
        taken.close()
        raise S3Error("InvalidArgument", "A key must not contain NUL.")
    record.checksums = taken.sums
    record.checksum_type = "FULL_OBJECT" if taken.sums else ""
    new = Put(
        bucket=bucket.id,
        versioning=bucket.versioning,
        key=key,
        record=record,
        size=taken.size,
        etag=taken.etag,
        pieces=taken.pieces,
        now=call.account.now(),
        data=taken.data,
        nonce=taken.nonce,
        condition=condition,
    )
    version, stored = await call.store.adopt(taken, objects.put, call.store.blobs, new)
    call.account.meter.add("stored_bytes", stored)
    call.store.rubbish()
    return version


def written_headers(bucket: Bucket, version: Version) -> list[tuple[str, str]]:
    """Return what the answer to a write says of the new version."""
    found = [("etag", f'"{version.etag}"'), *stored_headers(bucket, version)]
    found += encrypting.headers_of(version.record.encryption)
    found += checksum_headers(version.record)
    found += lifecycle.expiration_header(bucket, version)
    return found


def stored_headers(bucket: Bucket, version: Version) -> list[tuple[str, str]]:
    """Return what names a new version, and when it was stored, which S3 itself does not say."""
    modified = ("last-modified", times.http_date(version.modified))
    return [modified, *version_header(bucket, version)]


def version_header(bucket: Bucket, version: Version) -> list[tuple[str, str]]:
    """Return the header that names a new version, where versions are kept."""
    enabled = bucket.versioning == "Enabled"
    return [("x-amz-version-id", version.version)] if enabled else []


def checksum_headers(record: Record) -> list[tuple[str, str]]:
    """Return the checksums as headers."""
    found = [(f"x-amz-checksum-{name.lower()}", value) for name, value in record.checksums.items()]
    return [*found, ("x-amz-checksum-type", record.checksum_type)] if found else []


def new_record(call: Call, bucket: Bucket, headers: Mapping[str, str]) -> Record:
    """Return the record of a new object that these headers describe; raise S3Error."""
    enforced = decide.ownership(bucket) == decide.OWNER_ENFORCED
    owner = bucket.owner if enforced else call.identity.id
    grants = acl.from_headers(headers, owner, bucket.owner, call.account.resolve)
    harmless = enforced and headers.get("x-amz-acl") == "bucket-owner-full-control"
    if acl.has_headers(headers) and not harmless:
        decide.check_acl_change(bucket, grants)
    owner = decide.object_owner(bucket, owner, grants)
    storage_class = headers.get("x-amz-storage-class", "STANDARD")
    if storage_class not in STORAGE_CLASSES:
        raise S3Error("InvalidArgument", "The storage class you specified is not valid.")
    return Record(
        owner=owner,
        headers=kept_headers(headers),
        metadata=metadata_of(headers),
        grants=grants,
        storage_class=storage_class,
        encryption=encrypting.asked(headers, bucket),
        lock=locking.lock_of(headers, bucket, call.now),
    )


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that are given back with the object."""
    found = {name: headers[name] for name in KEPT_HEADERS if name in headers}
    coding = [each.strip() for each in found.get("content-encoding", "").split(",")]
    coding = [each for each in coding if each and each != "aws-chunked"]
    if coding:
        found["content-encoding"] = ", ".join(coding)
    else:
        found.pop("content-encoding", None)
    return found


def metadata_of(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the user's metadata; raise MetadataTooLarge."""
    found = {
        name.removeprefix(_META): value for name, value in headers.items() if name.startswith(_META)
    }
    if sum(len(name) + len(value) for name, value in found.items()) > METADATA_BYTES_MAX:
        raise S3Error("MetadataTooLarge", "Your metadata headers exceed 2 KB.")
    return found


def condition_of(headers: Mapping[str, str]) -> Condition:
    """Return the condition of a write; raise InvalidArgument or NotImplemented."""
    size, modified = headers.get("x-amz-if-match-size"), None
    if "x-amz-if-match-last-modified-time" in headers:
        try:
            modified = times.parse_http_date(headers["x-amz-if-match-last-modified-time"])
        except ValueError as error:
            raise S3Error("InvalidArgument", "The time of the condition is malformed.") from error
    if size is not None and not size.isdigit():
        raise S3Error("InvalidArgument", "The size of the condition is malformed.")
    return Condition(
        headers.get("if-match"),
        headers.get("if-none-match"),
        int(size) if size else None,
        modified,
    )


ROUTES = {("object", "PUT", ""): put_object}
