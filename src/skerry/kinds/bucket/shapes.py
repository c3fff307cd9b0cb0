"""What is known of an object, in the headers and lists of S3.

Lists of S3 leave out most of it. Ours add to each object, if `skerry-record=true` is asked for, a
`Record` in JSON: its version, headers and metadata.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from urllib.parse import unquote

import msgspec

from skerry.kernel.errors import ENGINE_FAILED, INVALID
from skerry.kinds._shared.s3 import times, xml
from skerry.kinds.bucket.state.objects import NULL
from skerry.kinds.bucket.state.records import Version
from skerry.kinds.bucket.surface import CONTENT_TYPE, Listing, ObjectInfo
from skerry.kinds.bucket.wire.writing import KEPT_HEADERS

_META = "x-amz-meta-"
_ENCODED, _END = "=?UTF-8?B?", "?="


class Described(msgspec.Struct, frozen=True):
    """What a list says of an object beyond S3."""

    version: str
    headers: dict[str, str]
    metadata: dict[str, str]


def described(version: Version) -> str:
    """Return the `Record` of an object in a list."""
    record = version.record
    found = Described(version.version, record.headers, record.metadata)
    return msgspec.json.encode(found).decode()


def record_headers(headers: Mapping[str, str], metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that describe a new object; raise INVALID for what S3 would change."""
    for name in metadata:
        if name != name.lower():
            raise INVALID(
                f"The metadata {name!r} cannot be kept on another node.",
                why="Names of metadata in S3 have no capitals.",
            )
    return {**headers, **{f"{_META}{name}": value for name, value in metadata.items()}}


def info_of(
    key: str,
    answered: Mapping[str, str],
    size: int,
    headers: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
    completed: bytes = b"",
) -> ObjectInfo:
    """Return what an answer's headers tell of an object.

    What an answer to a write leaves out is given: `headers` and `metadata` as they were sent, and
    the document that tells of a `completed` upload.
    """
    if headers is None:
        headers = {name: _text(answered[name]) for name in KEPT_HEADERS if name in answered}
        if headers.get("content-type") == CONTENT_TYPE:
            del headers["content-type"]
    if metadata is None:
        metadata = {
            name.removeprefix(_META): _text(value)
            for name, value in answered.items()
            if name.startswith(_META)
        }
    etag = xml.parse(completed).get("ETag") if completed else answered.get("etag", "")
    try:
        uploaded = times.moment(times.parse_http_date(answered.get("last-modified", "")))
    except ValueError as error:
        raise ENGINE_FAILED("The bucket did not say when the object was stored.") from error
    return ObjectInfo(
        key,
        answered.get("x-amz-version-id", NULL),
        size,
        etag.strip('"'),
        headers.get("content-type", CONTENT_TYPE),
        uploaded,
        metadata,
        headers,
    )


def listed(root: xml.Element) -> Listing:
    """Return the page that a document of ListObjectsV2 holds."""
    found = [_listed(each) for each in root.all("Contents")]
    prefixes = [unquote(each.raw("Prefix") or "") for each in root.all("CommonPrefixes")]
    if root.get("IsTruncated") != "true":
        return Listing(found, prefixes, "")
    last = base64.b64decode(root.get("NextContinuationToken"), altchars=b"-_").decode()
    return Listing(found, prefixes, last)


def _listed(each: xml.Element) -> ObjectInfo:
    try:
        more = msgspec.json.decode(each.raw("Record") or "", type=Described)
    except msgspec.DecodeError as error:
        raise ENGINE_FAILED("The bucket does not describe what it lists.") from error
    modified = times.parse_iso(each.get("LastModified")) // times.NANOSECONDS
    return ObjectInfo(
        unquote(each.raw("Key") or ""),
        more.version,
        int(each.get("Size")),
        each.get("ETag").strip('"'),
        more.headers.get("content-type", CONTENT_TYPE),
        times.moment(modified * times.NANOSECONDS),
        more.metadata,
        more.headers,
    )


def _text(value: str) -> str:
    """Return a header's value, which is Latin-1, or encoded as RFC 2047 tells."""
    if not value.startswith(_ENCODED) or not value.endswith(_END):
        return value
    try:
        return base64.b64decode(value[len(_ENCODED) : -len(_END)], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return value
