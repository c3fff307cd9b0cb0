"""Object lock: a bucket's default, retention and legal hold of versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from skerry.kinds._shared.s3 import times, xml
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.access import decide
from skerry.kinds.bucket.state import buckets, objects
from skerry.kinds.bucket.state.database import Db
from skerry.kinds.bucket.state.records import Bucket, Lock, Version, pack
from skerry.kinds.bucket.wire.call import Call, Reply, malformed_xml, xml_reply
from skerry.kinds.bucket.wire.reading import locate

_MODES = ("GOVERNANCE", "COMPLIANCE")
_DAY_NS = 86_400 * 10**9
_YEAR_DAYS = 365


class Retention(msgspec.Struct, frozen=True):
    """A bucket's default retention."""

    mode: str
    days: int = 0
    years: int = 0


def lock_of(headers: Mapping[str, str], bucket: Bucket, now: int) -> Lock | None:
    """Return the lock of a new version: the request's, or the bucket's default."""
    mode = headers.get("x-amz-object-lock-mode", "")
    until = headers.get("x-amz-object-lock-retain-until-date", "")
    hold = headers.get("x-amz-object-lock-legal-hold", "")
    if (mode or until or hold) and not bucket.locking:
        raise S3Error("InvalidRequest", "Bucket is missing Object Lock Configuration")
    if bool(mode) != bool(until) or mode not in ("", *_MODES) or hold not in ("", "ON", "OFF"):
        raise S3Error("InvalidArgument", "The object lock headers are not valid.")
    if mode:
        return Lock(mode, _future(until, now), hold)
    default: Retention | None = bucket.load("objectLock", Retention)
    if default is not None:
        days = default.days or default.years * _YEAR_DAYS
        return Lock(default.mode, now + days * _DAY_NS, hold)
    return Lock(hold=hold) if hold else None


def _future(text: str, now: int) -> int:
    try:
        until = times.parse_iso(text)
    except ValueError as error:
        raise S3Error("InvalidArgument", "The retain until date is malformed.") from error
    if until <= now:
        raise S3Error("InvalidArgument", "The retain until date must be in the future!")
    return until


async def get_configuration(call: Call) -> Reply:
    """GetObjectLockConfiguration."""
    bucket = await call.allow("s3:GetBucketObjectLockConfiguration")
    if not bucket.locking:
        raise S3Error(
            "ObjectLockConfigurationNotFoundError",
            "Object Lock configuration does not exist for this bucket",
        )
    root = xml.Element("ObjectLockConfiguration")
    root.add("ObjectLockEnabled", "Enabled")
    default: Retention | None = bucket.load("objectLock", Retention)
    if default is not None:
        retention = root.add("Rule").add("DefaultRetention")
        retention.add("Mode", default.mode)
        retention.add("Days", default.days or None)
        retention.add("Years", default.years or None)
    return xml_reply(root)


async def put_configuration(call: Call) -> Reply:
    """PutObjectLockConfiguration."""
    bucket = await call.allow("s3:PutBucketObjectLockConfiguration")
    root = await call.xml("ObjectLockConfiguration")
    if root.get("ObjectLockEnabled") != "Enabled":
        raise malformed_xml()
    if bucket.versioning != "Enabled":
        raise S3Error("InvalidBucketState", "Versioning must be enabled for object lock.")
    default = _default(root.find("Rule"))

    def write(db: Db) -> None:
        buckets.set_locking(db, bucket.id)
        if default is None:
            buckets.drop_setting(db, bucket.id, "objectLock")
        else:
            buckets.set_setting(db, bucket.id, "objectLock", pack(default))

    await call.store.write(write)
    return Reply()


def _default(rule: xml.Element | None) -> Retention | None:
    if rule is None:
        return None
    retention = rule.find("DefaultRetention")
    if retention is None or retention.get("Mode") not in _MODES:
        raise malformed_xml()
    days, years = retention.get("Days"), retention.get("Years")
    if bool(days) == bool(years):
        raise malformed_xml()
    try:
        count = int(days or years)
    except ValueError as error:
        raise malformed_xml() from error
    if not 0 < count <= 36_500:
        raise S3Error("InvalidRetentionPeriod", "The retention period must be positive.")
    return Retention(retention.get("Mode"), int(days or 0), int(years or 0))


async def get_retention(call: Call) -> Reply:
    """GetObjectRetention."""
    bucket, version = await locate(call, "s3:GetObjectRetention")
    _needs_locking(bucket)
    lock = version.record.lock
    if lock is None or not lock.mode:
        raise S3Error("ObjectLockConfigurationNotFoundError", "The version has no retention.")
    root = xml.Element("Retention")
    root.add("Mode", lock.mode)
    root.add("RetainUntilDate", times.iso(lock.until))
    return xml_reply(root)


async def put_retention(call: Call) -> Reply:
    """PutObjectRetention."""
    bucket, version = await locate(call, "s3:PutObjectRetention")
    _needs_locking(bucket)
    root = await call.xml("Retention")
    mode, text = root.get("Mode"), root.get("RetainUntilDate")
    if mode not in _MODES or not text:
        raise malformed_xml()
    try:
        until = times.parse_iso(text)
    except ValueError as error:
        raise malformed_xml() from error
    bypass = call.headers.get("x-amz-bypass-governance-retention", "").lower() == "true"
    if bypass:
        await call.allow("s3:BypassGovernanceRetention", version=version)

    def change(lock: Lock) -> Lock:
        _check_change(lock, mode, until, call.now, bypass=bypass)
        return Lock(mode, until, lock.hold)

    await _change(call, version, change)
    return Reply()


def _check_change(lock: Lock, mode: str, until: int, now: int, *, bypass: bool) -> None:
    """Raise AccessDenied if a retention that holds would be weakened."""
    if not lock.mode or lock.until <= now:
        return
    weaker = until < lock.until or (lock.mode == "COMPLIANCE" and mode != lock.mode)
    changed = lock.mode == "GOVERNANCE" and mode != lock.mode
    if (weaker or changed) and not (bypass and lock.mode == "GOVERNANCE"):
        raise decide.denied()


async def get_legal_hold(call: Call) -> Reply:
    """GetObjectLegalHold."""
    bucket, version = await locate(call, "s3:GetObjectLegalHold")
    _needs_locking(bucket)
    lock = version.record.lock
    if lock is None or not lock.hold:
        raise S3Error("ObjectLockConfigurationNotFoundError", "The version has no legal hold.")
    root = xml.Element("LegalHold")
    root.add("Status", lock.hold)
    return xml_reply(root)


async def put_legal_hold(call: Call) -> Reply:
    """PutObjectLegalHold."""
    bucket, version = await locate(call, "s3:PutObjectLegalHold")
    _needs_locking(bucket)
    status = (await call.xml("LegalHold")).get("Status")
    if status not in ("ON", "OFF"):
        raise malformed_xml()
    await _change(call, version, lambda lock: Lock(lock.mode, lock.until, status))
    return Reply()


async def _change(call: Call, version: Version, change: Callable[[Lock], Lock]) -> None:
    def write(db: Db) -> None:
        found = objects.by_sequence(db, version.sequence)
        if found is None:
            raise S3Error("NoSuchKey", "The specified key does not exist.")
        found.record.lock = change(found.record.lock or Lock())
        objects.update_record(db, found)

    await call.store.write(write)


def _needs_locking(bucket: Bucket) -> None:
    if not bucket.locking:
        raise S3Error("InvalidRequest", "Bucket is missing Object Lock Configuration")


ROUTES = {
    ("bucket", "GET", "object-lock"): get_configuration,
    ("bucket", "PUT", "object-lock"): put_configuration,
    ("object", "GET", "retention"): get_retention,
    ("object", "PUT", "retention"): put_retention,
    ("object", "GET", "legal-hold"): get_legal_hold,
    ("object", "PUT", "legal-hold"): put_legal_hold,
}
