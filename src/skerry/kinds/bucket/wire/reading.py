"""GetObject and HeadObject: which version, under which conditions, and which bytes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from skerry.kinds._shared.s3 import times
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.access import decide
from skerry.kinds.bucket.state import objects
from skerry.kinds.bucket.state.records import Bucket, Record, Version
from skerry.kinds.bucket.state.source import Source
from skerry.kinds.bucket.wire import encrypting, lifecycle
from skerry.kinds.bucket.wire.call import Call, Reply

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_OVERRIDES = {
    "response-content-type": "content-type",
    "response-content-language": "content-language",
    "response-expires": "expires",
    "response-cache-control": "cache-control",
    "response-content-disposition": "content-disposition",
    "response-content-encoding": "content-encoding",
}


async def get_object(call: Call) -> Reply:
    """GetObject and HeadObject."""
    bucket, version = await locate(call, "s3:GetObject")
    encrypting.refuse_on_read(call.headers, version)
    part = _part_number(call, version)
    key = encrypting.key_for(call.account, version.record.encryption, call.headers)
    headers = _headers(call, bucket, version)
    unchanged = check_conditions(call, version, headers)
    if unchanged:
        return Reply(304, headers)
    status, start, length = _extent(call, version, part, headers)
    if call.method == "HEAD":
        return Reply(status, [*headers, ("content-length", str(length))])
    source = Source(call.store, version, key)
    await source.open()
    return Reply(status, headers, stream=_stream(source, start, length), length=length)


async def _stream(source: Source, start: int, length: int) -> AsyncIterator[bytes]:
    try:
        async for chunk in source.chunks(start, length):
            yield chunk
    finally:
        source.close()


async def locate(
    call: Call, action: str, keys: dict[str, str] | None = None
) -> tuple[Bucket, Version]:
    """Return the version that a request is about, if this user may do `action` to it.

    Raise AccessDenied, NoSuchKey, NoSuchVersion, or MethodNotAllowed for a delete marker.
    """
    bucket = await call.bucket()
    name = version_name(call)
    version = await call.store.read(objects.find, bucket.id, call.key, name)
    if name is not None:
        action = _versioned(action)
    await call.allow(action, version=version, keys=keys) if version else None
    if version is None:
        missing(call, bucket, action, name)
    assert version is not None
    if version.marker:
        _raise_marker(version, name)
    return bucket, version


def missing(call: Call, bucket: Bucket, action: str, name: str | None) -> None:
    """Raise the error for a version that does not exist, as far as the user may know that."""
    subject = call.subject()
    may_list = decide.allowed(call.subject({"s3:prefix": call.key}), bucket, "s3:ListBucket", "")
    if not may_list:
        decide.allow(subject, bucket, action, call.key)
        raise decide.denied()
    if name is not None:
        raise S3Error(
            "NoSuchVersion",
            "The specified version does not exist.",
            fields={"Key": call.key, "VersionId": name},
        )
    raise S3Error(
        "NoSuchKey",
        "The specified key does not exist.",
        fields={"Key": call.key},
        headers=(("x-amz-delete-marker", "false"),),
    )


def _versioned(action: str) -> str:
    """Return the name of an action on a named version."""
    for verb in ("Tagging", "Acl", "Attributes"):
        if action.endswith(verb):
            return action.removesuffix(verb) + f"Version{verb}"
    return action + "Version" if action in ("s3:GetObject", "s3:DeleteObject") else action


def version_name(call: Call) -> str | None:
    """Return the version that the query names; raise InvalidArgument for an empty name."""
    name = call.query.get("versionId")
    if name == "":
        raise S3Error("InvalidArgument", "Version id cannot be the empty string")
    return name


def _raise_marker(version: Version, name: str | None) -> None:
    headers = (("x-amz-delete-marker", "true"), ("x-amz-version-id", version.version))
    if name is None:
        raise S3Error("NoSuchKey", "The specified key does not exist.", headers=headers)
    raise S3Error(
        "MethodNotAllowed",
        "The specified method is not allowed against this resource.",
        headers=(*headers, ("allow", "DELETE"), _last_modified(version)),
    )


def version_header(bucket: Bucket, version: Version) -> list[tuple[str, str]]:
    """Return the header that names a version, where there are versions."""
    return [("x-amz-version-id", version.version)] if bucket.versioning else []


def _last_modified(version: Version) -> tuple[str, str]:
    return ("last-modified", times.http_date(version.modified))


def _headers(call: Call, bucket: Bucket, version: Version) -> list[tuple[str, str]]:
    record = version.record
    found = {"content-type": "binary/octet-stream", **record.headers}
    overrides = {
        header: call.query[name] for name, header in _OVERRIDES.items() if name in call.query
    }
    if overrides and not call.identity.id:
        raise S3Error(
            "InvalidRequest", "Request specific response headers cannot be used for anonymous GET."
        )
    headers = [*{**found, **overrides}.items(), _last_modified(version)]
    headers += [("etag", f'"{version.etag}"'), ("accept-ranges", "bytes")]
    headers += [(f"x-amz-meta-{name}", value) for name, value in record.metadata.items()]
    headers += version_header(bucket, version)
    headers += encrypting.headers_of(record.encryption)
    headers += lifecycle.expiration_header(bucket, version)
    headers += _lock_headers(record)
    if record.tags:
        headers.append(("x-amz-tagging-count", str(len(record.tags))))
    if record.storage_class != "STANDARD":
        headers.append(("x-amz-storage-class", record.storage_class))
    whole = "range" not in call.headers and "partNumber" not in call.query
    if call.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED" and whole:
        for name, value in record.checksums.items():
            headers.append((f"x-amz-checksum-{name.lower()}", value))
            headers.append(("x-amz-checksum-type", record.checksum_type))
    return headers


def _lock_headers(record: Record) -> list[tuple[str, str]]:
    headers = []
    if record.lock is not None and record.lock.mode:
        headers.append(("x-amz-object-lock-mode", record.lock.mode))
        until = times.iso(record.lock.until)
        headers.append(("x-amz-object-lock-retain-until-date", until))
    if record.lock is not None and record.lock.hold:
        headers.append(("x-amz-object-lock-legal-hold", record.lock.hold))
    return headers


def check_conditions(
    call: Call, version: Version, headers: list[tuple[str, str]], prefix: str = ""
) -> bool:
    """Return whether the client has the object already (304); raise PreconditionFailed.

    `prefix` is that of a copy source's conditions, for which there is no 304. Source: RFC 9110,
    section 13.2.2.
    """
    match = call.headers.get(f"{prefix}if-match")
    if match is not None:
        if not objects.etag_matches(match, version.etag):
            raise objects.precondition_failed("If-Match")
    elif _since(call, f"{prefix}if-unmodified-since", version) is True:
        raise objects.precondition_failed("If-Unmodified-Since")
    none = call.headers.get(f"{prefix}if-none-match")
    unchanged = False
    if none is not None:
        unchanged = objects.etag_matches(none, version.etag)
    elif _since(call, f"{prefix}if-modified-since", version) is False:
        unchanged = True
    if unchanged and prefix:
        raise objects.precondition_failed("If-None-Match")
    if unchanged:
        keep = ("etag", "last-modified", "cache-control", "expires", "x-amz-version-id")
        headers[:] = [pair for pair in headers if pair[0] in keep]
    return unchanged


def _since(call: Call, name: str, version: Version) -> bool | None:
    """Tell whether a version is newer than the header's date; None without a valid date."""
    text = call.headers.get(name)
    if text is None:
        return None
    try:
        limit = times.parse_http_date(text)
    except ValueError:
        return None
    return version.modified // times.NANOSECONDS > limit // times.NANOSECONDS


def _extent(
    call: Call, version: Version, part: int, headers: list[tuple[str, str]]
) -> tuple[int, int, int]:
    """Return status, start and length of what is asked for; raise InvalidRange."""
    if part:
        return _part(call, version, part, headers)
    match = _RANGE.fullmatch(call.headers.get("range", "").strip())
    if match is None or match[1] == match[2] == "":
        return 200, 0, version.size
    start, end = parse_range(match[1], match[2], version.size)
    headers.append(("content-range", f"bytes {start}-{end - 1}/{version.size}"))
    return 206, start, end - start


def parse_range(first: str, last: str, size: int) -> tuple[int, int]:
    """Return start and end of a byte range; raise InvalidRange if none of it exists."""
    if first:
        start = int(first)
        end = min(int(last) + 1, size) if last else size
    else:
        start, end = max(size - int(last), 0), size
    if start >= end:
        raise S3Error(
            "InvalidRange",
            "The requested range is not satisfiable",
            fields={"ActualObjectSize": str(size)},
            headers=(("content-range", f"bytes */{size}"),),
        )
    return start, end


def _part_number(call: Call, version: Version) -> int:
    """Return the part that is asked for, or 0; raise InvalidPart if there is none of its number."""
    if "partNumber" not in call.query:
        return 0
    number = call.number("partNumber", 1, 1, 10_000)
    if number > max(len(version.record.parts), 1):
        raise S3Error("InvalidPart", "The requested partnumber is not satisfiable")
    return number


def _part(
    call: Call, version: Version, number: int, headers: list[tuple[str, str]]
) -> tuple[int, int, int]:
    parts = version.record.parts
    if not parts:
        return 200 if not version.size else 206, 0, version.size
    headers.append(("x-amz-mp-parts-count", str(len(parts))))
    wanted = call.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED"
    for name in version.record.checksums if wanted else ():
        headers.append((f"x-amz-checksum-{name.lower()}", parts[number - 1].checksum))
        headers.append(("x-amz-checksum-type", version.record.checksum_type))
    start = sum(part.size for part in parts[: number - 1])
    size = parts[number - 1].size
    headers.append(("content-range", f"bytes {start}-{start + size - 1}/{version.size}"))
    return 206, start, size


ROUTES = {("object", "GET", ""): get_object, ("object", "HEAD", ""): get_object}
