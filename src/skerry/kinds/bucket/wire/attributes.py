"""GetObjectAttributes."""

from __future__ import annotations

from skerry.kinds._shared.s3 import times, xml
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.state.records import Record
from skerry.kinds.bucket.wire import encrypting
from skerry.kinds.bucket.wire.call import Call, Reply, xml_reply
from skerry.kinds.bucket.wire.reading import locate, version_header

_KNOWN = ("ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize")


async def get_attributes(call: Call) -> Reply:
    """GetObjectAttributes."""
    text = call.headers.get("x-amz-object-attributes", "")
    wanted = {each.strip() for each in text.split(",") if each.strip()}
    if not wanted or wanted - set(_KNOWN):
        raise S3Error("InvalidArgument", "Invalid attribute name specified.")
    bucket, version = await locate(call, "s3:GetObjectAttributes")
    encrypting.key_for(call.account, version.record.encryption, call.headers)
    root = xml.Element("GetObjectAttributesResponse")
    record = version.record
    if "ETag" in wanted:
        root.add("ETag", version.etag)
    if "Checksum" in wanted and record.checksums:
        each = root.add("Checksum")
        for name, value in record.checksums.items():
            each.add(f"Checksum{name}", value)
        each.add("ChecksumType", record.checksum_type)
    if "ObjectParts" in wanted and record.parts:
        _add_parts(call, root, record)
    if "StorageClass" in wanted:
        root.add("StorageClass", record.storage_class)
    if "ObjectSize" in wanted:
        root.add("ObjectSize", version.size)
    reply = xml_reply(root)
    reply.headers.append(("last-modified", times.http_date(version.modified)))
    reply.headers += version_header(bucket, version)
    return reply


def _number(call: Call, name: str, default: int, high: int) -> int:
    text = call.headers.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit():
        raise S3Error("InvalidArgument", f"{name} must be a number.")
    return min(int(text[:9]), high)


def _add_parts(call: Call, root: xml.Element, record: Record) -> None:
    after = _number(call, "x-amz-part-number-marker", 0, 10_000)
    limit = _number(call, "x-amz-max-parts", 1000, 1000)
    shown = [part for part in record.parts if part.number > after]
    page = shown[:limit]
    listed = root.add("ObjectParts")
    listed.add("PartsCount", len(record.parts))
    listed.add("PartNumberMarker", after)
    listed.add("NextPartNumberMarker", page[-1].number if page else 0)
    listed.add("MaxParts", limit)
    listed.add("IsTruncated", "true" if len(shown) > limit else "false")
    for part in page:
        each = listed.add("Part")
        each.add("PartNumber", part.number)
        each.add("Size", part.size)
        for name in record.checksums:
            each.add(f"Checksum{name}", part.checksum)


ROUTES = {("object", "GET", "attributes"): get_attributes}
