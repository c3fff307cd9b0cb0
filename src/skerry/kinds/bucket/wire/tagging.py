"""Tags of objects and of buckets."""

from __future__ import annotations

from urllib.parse import parse_qsl

from skerry.kinds._shared.s3 import xml
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.state import buckets, objects
from skerry.kinds.bucket.state.database import Db
from skerry.kinds.bucket.state.records import Version, pack
from skerry.kinds.bucket.wire.call import Call, Reply, malformed_xml, xml_reply
from skerry.kinds.bucket.wire.reading import locate, version_header

_OBJECT_TAGS_MAX = 10
_BUCKET_TAGS_MAX = 50
_KEY_MAX = 128
_VALUE_MAX = 256


def check(pairs: list[tuple[str, str]], limit: int = _OBJECT_TAGS_MAX) -> dict[str, str]:
    """Return tags as a dictionary; raise InvalidTag or BadRequest-like errors."""
    if len(pairs) > limit:
        raise S3Error("InvalidTag", f"Object tags cannot be greater than {limit}")
    found: dict[str, str] = {}
    for key, value in pairs:
        if not key or len(key) > _KEY_MAX:
            raise S3Error("InvalidTag", "The TagKey you have provided is invalid")
        if len(value) > _VALUE_MAX:
            raise S3Error("InvalidTag", "The TagValue you have provided is invalid")
        if key in found:
            raise S3Error("InvalidTag", "Cannot provide multiple Tags with the same key")
        found[key] = value
    return found


def from_header(text: str) -> dict[str, str]:
    """Read the tags of `x-amz-tagging`; raise S3Error."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=100)
    except ValueError as error:
        raise S3Error("InvalidArgument", "x-amz-tagging is malformed.") from error
    return check(pairs)


def from_xml(root: xml.Element, limit: int = _OBJECT_TAGS_MAX) -> dict[str, str]:
    """Read a Tagging document; raise MalformedXMLError or InvalidTag."""
    listed = root.find("TagSet")
    if root.name != "Tagging" or listed is None:
        raise malformed_xml()
    pairs = [(each.raw("Key") or "", each.raw("Value") or "") for each in listed.all("Tag")]
    return check(pairs, limit)


def to_xml(tags: dict[str, str]) -> xml.Element:
    """Return a Tagging document."""
    root = xml.Element("Tagging")
    listed = root.add("TagSet")
    for key, value in sorted(tags.items()):
        tag = listed.add("Tag")
        tag.add("Key", key)
        tag.add("Value", value)
    return root


def request_keys(tags: dict[str, str]) -> dict[str, str]:
    """Return the condition keys of the tags that a request brings."""
    return {f"s3:RequestObjectTag/{key}": value for key, value in tags.items()}


async def get_object_tagging(call: Call) -> Reply:
    """GetObjectTagging."""
    bucket, version = await locate(call, "s3:GetObjectTagging")
    reply = xml_reply(to_xml(version.record.tags))
    reply.headers += version_header(bucket, version)
    return reply


async def put_object_tagging(call: Call) -> Reply:
    """PutObjectTagging."""
    tags = from_xml(await call.xml("Tagging"))
    bucket, version = await locate(call, "s3:PutObjectTagging", request_keys(tags))
    await change(call, version, tags)
    return Reply(headers=version_header(bucket, version))


async def delete_object_tagging(call: Call) -> Reply:
    """DeleteObjectTagging."""
    bucket, version = await locate(call, "s3:DeleteObjectTagging")
    await change(call, version, {})
    return Reply(204, version_header(bucket, version))


async def change(call: Call, version: Version, tags: dict[str, str]) -> None:
    """Set the tags of a version."""

    def write(db: Db) -> None:
        found = objects.by_sequence(db, version.sequence)
        if found is None:
            raise S3Error("NoSuchKey", "The specified key does not exist.")
        found.record.tags = tags
        objects.update_record(db, found)

    await call.store.write(write)


async def get_bucket_tagging(call: Call) -> Reply:
    """GetBucketTagging."""
    bucket = await call.allow("s3:GetBucketTagging")
    tags = bucket.load("tagging", dict[str, str])
    if not tags:
        raise S3Error("NoSuchTagSet", "The TagSet does not exist")
    return xml_reply(to_xml(tags))


async def put_bucket_tagging(call: Call) -> Reply:
    """PutBucketTagging."""
    bucket = await call.allow("s3:PutBucketTagging")
    tags = from_xml(await call.xml("Tagging"), _BUCKET_TAGS_MAX)
    await call.store.write(buckets.set_setting, bucket.id, "tagging", pack(tags))
    return Reply(204)


async def delete_bucket_tagging(call: Call) -> Reply:
    """DeleteBucketTagging."""
    bucket = await call.allow("s3:PutBucketTagging")
    await call.store.write(buckets.drop_setting, bucket.id, "tagging")
    return Reply(204)


ROUTES = {
    ("object", "GET", "tagging"): get_object_tagging,
    ("object", "PUT", "tagging"): put_object_tagging,
    ("object", "DELETE", "tagging"): delete_object_tagging,
    ("bucket", "GET", "tagging"): get_bucket_tagging,
    ("bucket", "PUT", "tagging"): put_bucket_tagging,
    ("bucket", "DELETE", "tagging"): delete_bucket_tagging,
}
