"""DeleteObject and DeleteObjects."""

from __future__ import annotations

from dataclasses import dataclass

from skerry.kinds._shared.s3 import times, xml
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.access import decide
from skerry.kinds.bucket.state import objects
from skerry.kinds.bucket.state.database import Db
from skerry.kinds.bucket.state.objects import Condition
from skerry.kinds.bucket.state.records import Bucket
from skerry.kinds.bucket.wire.call import Call, Reply, malformed_xml, xml_reply
from skerry.kinds.bucket.wire.reading import version_name
from skerry.kinds.bucket.wire.writing import condition_of

_KEYS_MAX = 1000


@dataclass(frozen=True, slots=True)
class Deletion:
    """One key, or one version of it, that is to be deleted."""

    key: str
    version: str | None
    condition: Condition
    bypass: bool


@dataclass(frozen=True, slots=True)
class Deleted:
    """What came of a deletion: the version that went, and the marker that came."""

    version: str | None = None
    marker: str | None = None


async def delete_object(call: Call) -> Reply:
    """DeleteObject."""
    condition = condition_of(call.headers)
    deletion = Deletion(call.key, version_name(call), condition, _bypass(call))
    bucket = await call.bucket()
    await _allow(call, deletion)
    result = await call.store.write(delete, bucket, deletion, call.identity.id, call.now)
    call.store.rubbish()
    headers = []
    if result.marker is not None:
        headers.append(("x-amz-delete-marker", "true"))
    if bucket.versioning and (result.marker or result.version):
        headers.append(("x-amz-version-id", result.version or result.marker or ""))
    return Reply(204, headers)


def _bypass(call: Call) -> bool:
    return call.headers.get("x-amz-bypass-governance-retention", "").lower() == "true"


async def _allow(call: Call, deletion: Deletion) -> None:
    """Raise AccessDenied unless the user may delete this."""
    bucket = await call.bucket()
    action = "s3:DeleteObject" if deletion.version is None else "s3:DeleteObjectVersion"
    version = None
    if "policy" in bucket.settings:
        version = await call.store.read(objects.find, bucket.id, deletion.key, deletion.version)
    subject = call.subject()
    decide.allow(subject, bucket, action, deletion.key, version)
    if deletion.bypass:
        decide.allow(subject, bucket, "s3:BypassGovernanceRetention", deletion.key, version)


def delete(db: Db, bucket: Bucket, deletion: Deletion, user: str, now: int) -> Deleted:
    """Delete a version, or put a marker on a key; raise AccessDenied if it is locked."""
    found = objects.find(db, bucket.id, deletion.key, deletion.version)
    asked = deletion.condition
    if asked != objects.NO_CONDITION:
        if found is None or (found.marker and deletion.version is None):
            raise S3Error("NoSuchKey", "The specified key does not exist.")
        asked.check(found)
    if deletion.version is not None:
        if found is None:
            return Deleted(version=deletion.version)
        objects.check_lock(found.record.lock, now, bypass=deletion.bypass)
        objects.delete_version(db, bucket.id, found, now)
        return Deleted(found.version, found.version if found.marker else None)
    if not bucket.versioning:
        if found is not None:
            objects.delete_version(db, bucket.id, found, now)
        return Deleted()
    owner = user or bucket.owner
    made = objects.add_marker(db, bucket.id, bucket.versioning, deletion.key, owner, now)
    return Deleted(marker=made.version)


async def delete_objects(call: Call) -> Reply:
    """DeleteObjects: each key succeeds or fails by itself."""
    bucket = await call.bucket()
    root = await call.xml("Delete")
    listed = list(root.all("Object"))
    if not listed or len(listed) > _KEYS_MAX:
        raise malformed_xml()
    quiet = root.get("Quiet").lower() == "true"
    bypass = _bypass(call)
    outcomes: list[Deletion | S3Error] = []
    for each in listed:
        try:
            deletion = _parse(each, bypass)
            await _allow(call, deletion)
            outcomes.append(deletion)
        except S3Error as error:
            outcomes.append(error)
    results = await call.store.write(_delete_all, bucket, outcomes, call.identity.id, call.now)
    call.store.rubbish()
    answer = xml.Element("DeleteResult")
    for each, outcome, result in zip(listed, outcomes, results, strict=True):
        if isinstance(result, S3Error):
            _add_error(answer, each, result)
        elif not quiet and isinstance(outcome, Deletion):
            _add_deleted(answer, outcome, result, versioned=bool(bucket.versioning))
    return xml_reply(answer)


def _delete_all(
    db: Db, bucket: Bucket, asked: list[Deletion | S3Error], user: str, now: int
) -> list[Deleted | S3Error]:
    """Delete what may be deleted; each deletion that fails does so before it changes anything."""
    results: list[Deleted | S3Error] = []
    for each in asked:
        if isinstance(each, S3Error):
            results.append(each)
            continue
        try:
            results.append(delete(db, bucket, each, user, now))
        except S3Error as error:
            results.append(error)
    return results


def _parse(each: xml.Element, bypass: bool) -> Deletion:
    key, version = each.raw("Key"), each.get("VersionId") or None
    if not key:
        raise malformed_xml()
    size, modified = each.get("Size"), each.get("LastModifiedTime")
    try:
        condition = Condition(
            if_match=each.get("ETag") or None,
            size=int(size) if size else None,
            modified=times.parse_http_date(modified) if modified else None,
        )
    except ValueError as error:
        raise malformed_xml() from error
    return Deletion(key, version, condition, bypass)


def _add_deleted(answer: xml.Element, asked: Deletion, result: Deleted, *, versioned: bool) -> None:
    each = answer.add("Deleted")
    each.add("Key", asked.key)
    if asked.version is not None:
        each.add("VersionId", asked.version)
    if result.marker is not None and versioned:
        each.add("DeleteMarker", "true")
        each.add("DeleteMarkerVersionId", result.marker)


def _add_error(answer: xml.Element, asked: xml.Element, error: S3Error) -> None:
    each = answer.add("Error")
    each.add("Key", asked.raw("Key") or "")
    if asked.get("VersionId"):
        each.add("VersionId", asked.get("VersionId"))
    each.add("Code", error.code)
    each.add("Message", error.message)


ROUTES = {
    ("object", "DELETE", ""): delete_object,
    ("bucket", "POST", "delete"): delete_objects,
}
