"""ListObjects, ListObjectsV2 and ListObjectVersions."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from skerry.kinds._shared.s3 import times, xml
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.access import acl
from skerry.kinds.bucket.shapes import described
from skerry.kinds.bucket.state import listing
from skerry.kinds.bucket.state.listing import Page, Query
from skerry.kinds.bucket.state.records import Version
from skerry.kinds.bucket.wire.call import Call, Reply, xml_reply

_KEYS_MAX = 1000


def encoder(call: Call) -> Callable[[str], str]:
    """Return how keys are written; raise InvalidArgument for an unknown encoding."""
    kind = call.query.get("encoding-type", "")
    if kind not in ("", "url"):
        raise S3Error("InvalidArgument", "Invalid Encoding Method specified in Request")
    return _url if kind else str


def _url(text: str) -> str:
    return quote(text, safe="/-_.*~")


async def list_objects(call: Call) -> Reply:
    """ListObjects (version 1)."""
    bucket = await call.allow("s3:ListBucket")
    encode = encoder(call)
    marker = call.query.get("marker", "")
    query, page = await _page(call, bucket.id, marker)
    root = _head(call, "ListBucketResult", query, page, encode)
    root.children[1].text = query.prefix
    root.add("Marker", encode(marker))
    if page.truncated and query.delimiter:
        root.add("NextMarker", encode(page.last))
    for version in page.items:
        _add_object(call, root, version, encode, owner=True)
    add_prefixes(root, page, encode)
    return xml_reply(root)


async def list_objects_v2(call: Call) -> Reply:
    """ListObjectsV2."""
    bucket = await call.allow("s3:ListBucket")
    encode = encoder(call)
    token, start = call.query.get("continuation-token"), call.query.get("start-after", "")
    query, page = await _page(call, bucket.id, _decode(token) if token else start)
    root = _head(call, "ListBucketResult", query, page, encode)
    root.add("KeyCount", page.count)
    if token is not None:
        root.add("ContinuationToken", token)
    if start:
        root.add("StartAfter", encode(start))
    if page.truncated:
        next_token = base64.urlsafe_b64encode(page.last.encode()).decode()
        root.add("NextContinuationToken", next_token)
    owner = call.query.get("fetch-owner", "").lower() == "true"
    for version in page.items:
        _add_object(call, root, version, encode, owner=owner)
    add_prefixes(root, page, encode)
    return xml_reply(root)


async def list_versions(call: Call) -> Reply:
    """ListObjectVersions."""
    bucket = await call.allow("s3:ListBucketVersions")
    encode = encoder(call)
    after, name = call.query.get("key-marker", ""), call.query.get("version-id-marker", "")
    if name and not after:
        raise S3Error("InvalidArgument", "A version-id marker needs a key marker.")
    query = asked(call, after)
    page = await call.store.read(listing.versions, bucket.id, query, name)
    root = _head(call, "ListVersionsResult", query, page, encode)
    root.add("KeyMarker", encode(after))
    root.add("VersionIdMarker", name)
    if page.truncated:
        root.add("NextKeyMarker", encode(page.last))
        if page.last_item is not None:
            root.add("NextVersionIdMarker", page.last_item.version)
    for version in page.items:
        _add_version(call, root, version, encode)
    add_prefixes(root, page, encode)
    return xml_reply(root)


def asked(call: Call, after: str, limit: str = "max-keys") -> Query:
    """Return what a listing's query asks for; raise InvalidArgument."""
    return Query(
        call.query.get("prefix", ""),
        call.query.get("delimiter", ""),
        after,
        call.number(limit, _KEYS_MAX, 0, _KEYS_MAX),
    )


async def _page(call: Call, bucket: int, after: str) -> tuple[Query, Page[Version]]:
    query = asked(call, after)
    return query, await call.store.read(listing.objects, bucket, query)


def _decode(token: str) -> str:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise S3Error("InvalidArgument", "The continuation token provided is incorrect") from error


def _head(
    call: Call, name: str, query: Query, page: Page[Any], encode: Callable[[str], str]
) -> xml.Element:
    root = xml.Element(name)
    root.add("Name", call.bucket_name)
    root.add("Prefix", encode(query.prefix))
    if query.delimiter:
        root.add("Delimiter", encode(query.delimiter))
    root.add("MaxKeys", query.limit)
    if call.query.get("encoding-type"):
        root.add("EncodingType", "url")
    root.add("IsTruncated", "true" if page.truncated else "false")
    return root


def add_prefixes(root: xml.Element, page: Page[Any], encode: Callable[[str], str]) -> None:
    """Append the common prefixes."""
    for prefix in page.prefixes:
        root.add("CommonPrefixes").add("Prefix", encode(prefix))


def _add_object(
    call: Call, root: xml.Element, version: Version, encode: Callable[[str], str], *, owner: bool
) -> None:
    each = root.add("Contents")
    each.add("Key", encode(version.key))
    _describe(each, version)
    if owner:
        _add_owner(call, each, version)
    if call.query.get("skerry-record") == "true":
        each.add("Record", described(version))


def _describe(each: xml.Element, version: Version) -> None:
    each.add("LastModified", times.iso(version.modified))
    each.add("ETag", f'"{version.etag}"')
    for name in version.record.checksums:
        each.add("ChecksumAlgorithm", name)
        each.add("ChecksumType", version.record.checksum_type)
    each.add("Size", version.size)
    each.add("StorageClass", version.record.storage_class)


def _add_owner(call: Call, each: xml.Element, version: Version) -> None:
    owner = version.record.owner
    acl.add_owner(each, "Owner", (owner, call.account.name_of(owner)))


def _add_version(
    call: Call, root: xml.Element, version: Version, encode: Callable[[str], str]
) -> None:
    each = root.add("DeleteMarker" if version.marker else "Version")
    each.add("Key", encode(version.key))
    each.add("VersionId", version.version)
    each.add("IsLatest", "true" if version.latest else "false")
    if version.marker:
        each.add("LastModified", times.iso(version.modified))
    else:
        _describe(each, version)
    _add_owner(call, each, version)


ROUTES = {
    ("bucket", "GET", ""): list_objects,
    ("bucket", "GET", "list-type"): list_objects_v2,
    ("bucket", "GET", "versions"): list_versions,
}
