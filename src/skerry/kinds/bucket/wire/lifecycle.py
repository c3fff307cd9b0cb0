"""Lifecycle configurations: which objects expire, and when."""

from __future__ import annotations

from typing import Any

import msgspec

from skerry.kinds._shared.s3 import times, xml
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.state import buckets
from skerry.kinds.bucket.state.records import Bucket, Version, pack
from skerry.kinds.bucket.wire.call import Call, Reply, malformed_xml, xml_reply

DAY_NS = 86_400 * 10**9
_RULES_MAX = 1000
_CLASSES = frozenset(
    ["STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER", "DEEP_ARCHIVE", "GLACIER_IR"]
)


class Transition(msgspec.Struct, frozen=True, omit_defaults=True):
    """A change of storage class; Skerry keeps it but has one class only."""

    storage_class: str
    days: int = 0
    date: int = 0
    newer: int = 0
    has_days: bool = False


class Rule(msgspec.Struct, frozen=True, omit_defaults=True):
    """One rule; 0 means that an action is not set."""

    id: str
    enabled: bool
    prefix: str = ""
    tags: dict[str, str] = {}
    greater: int = -1
    less: int = -1
    filtered: str = ""
    days: int = 0
    date: int = 0
    marker: bool = False
    noncurrent_days: int = 0
    newer_versions: int = 0
    abort_days: int = 0
    transitions: list[Transition] = []
    noncurrent_transitions: list[Transition] = []

    def covers(self, version: Version) -> bool:
        """Tell whether the rule's filter is about a version."""
        tags = version.record.tags
        return (
            self.enabled
            and version.key.startswith(self.prefix)
            and all(tags.get(name) == value for name, value in self.tags.items())
            and (self.greater < 0 or version.size > self.greater)
            and (self.less < 0 or version.size < self.less)
        )

    def due(self, version: Version, day_ns: int = DAY_NS) -> int:
        """Return when a current version expires, or 0."""
        if self.days:
            return end_of_day(version.modified + self.days * day_ns, day_ns)
        return self.date


def end_of_day(moment: int, day_ns: int) -> int:
    """Return the next midnight (UTC), when what is due is carried out."""
    return -(-moment // day_ns) * day_ns


def rules_of(bucket: Bucket) -> list[Rule]:
    """Return the bucket's rules."""
    found: list[Rule] | None = bucket.load("lifecycle", list[Rule])
    return found or []


def expiration_header(bucket: Bucket, version: Version) -> list[tuple[str, str]]:
    """Return the header that tells when, and by which rule, a version expires."""
    if "lifecycle" not in bucket.settings or version.marker or not version.latest:
        return []
    dues = [(rule.due(version), rule.id) for rule in rules_of(bucket) if rule.covers(version)]
    dues = sorted(each for each in dues if each[0])
    if not dues:
        return []
    return [
        ("x-amz-expiration", f'expiry-date="{times.http_date(dues[0][0])}", rule-id="{dues[0][1]}"')
    ]


async def get_lifecycle(call: Call) -> Reply:
    """GetBucketLifecycleConfiguration."""
    bucket = await call.allow("s3:GetLifecycleConfiguration")
    rules = rules_of(bucket)
    if not rules:
        raise S3Error("NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist")
    root = xml.Element("LifecycleConfiguration")
    for rule in rules:
        root.append(_to_xml(rule))
    return xml_reply(root)


async def put_lifecycle(call: Call) -> Reply:
    """PutBucketLifecycleConfiguration."""
    bucket = await call.allow("s3:PutLifecycleConfiguration")
    root = await call.xml("LifecycleConfiguration")
    rules = [_parse(each, number) for number, each in enumerate(root.all("Rule"), start=1)]
    if not rules or len(rules) > _RULES_MAX:
        raise malformed_xml()
    if len({rule.id for rule in rules}) < len(rules):
        raise S3Error("InvalidArgument", "Rule ID must be unique.")
    await call.store.write(buckets.set_setting, bucket.id, "lifecycle", pack(rules))
    return Reply()


async def delete_lifecycle(call: Call) -> Reply:
    """DeleteBucketLifecycle."""
    bucket = await call.allow("s3:PutLifecycleConfiguration")
    await call.store.write(buckets.drop_setting, bucket.id, "lifecycle")
    return Reply(204)


def _parse(each: xml.Element, number: int) -> Rule:
    name, status = each.get("ID") or f"rule-{number}", each.get("Status")
    if len(name) > 255:
        raise S3Error("InvalidArgument", "ID length should not exceed allowed limit of 255")
    if status not in ("Enabled", "Disabled"):
        raise malformed_xml()
    found: dict[str, Any] = {"id": name, "enabled": status == "Enabled"}
    chosen = each.find("Filter")
    if (chosen is None) == (each.find("Prefix") is None):
        raise malformed_xml()
    found |= {"prefix": each.raw("Prefix") or ""} if chosen is None else _filter(chosen)
    expiration = each.find("Expiration")
    if expiration is not None:
        found |= _expiration(expiration)
    noncurrent = each.find("NoncurrentVersionExpiration")
    if noncurrent is not None:
        found["noncurrent_days"] = _positive(noncurrent.get("NoncurrentDays"))
        newer = noncurrent.get("NewerNoncurrentVersions")
        found["newer_versions"] = _positive(newer) if newer else 0
    abort = each.find("AbortIncompleteMultipartUpload")
    if abort is not None:
        found["abort_days"] = _positive(abort.get("DaysAfterInitiation"))
    found["transitions"] = [_transition(one, "Days") for one in each.all("Transition")]
    found["noncurrent_transitions"] = [
        _transition(one, "NoncurrentDays") for one in each.all("NoncurrentVersionTransition")
    ]
    rule = Rule(**found)
    acts = (rule.days, rule.date, rule.marker, rule.noncurrent_days, rule.abort_days)
    if not any(acts) and not rule.transitions and not rule.noncurrent_transitions:
        raise S3Error("InvalidRequest", "At least one action needs to be specified in a rule.")
    return rule


def _filter(chosen: xml.Element) -> dict[str, Any]:
    both = chosen.find("And")
    inner = chosen if both is None else both
    if both is None and len(chosen.children) > 1:
        raise malformed_xml()
    found: dict[str, Any] = {
        "filtered": "and" if both is not None else "filter",
        "prefix": inner.raw("Prefix") or "",
        "tags": {tag.raw("Key") or "": tag.raw("Value") or "" for tag in inner.all("Tag")},
    }
    for name, field in (("ObjectSizeGreaterThan", "greater"), ("ObjectSizeLessThan", "less")):
        text = inner.get(name)
        if text:
            found[field] = _count(text)
    return found


def _expiration(element: xml.Element) -> dict[str, Any]:
    days, date = element.get("Days"), element.get("Date")
    marker = element.get("ExpiredObjectDeleteMarker").lower() == "true"
    if bool(days) + bool(date) + bool(element.find("ExpiredObjectDeleteMarker")) != 1:
        raise malformed_xml()
    if days:
        return {"days": _positive(days)}
    return {"date": _date(date)} if date else {"marker": marker}


def _transition(element: xml.Element, name: str) -> Transition:
    storage_class, days, date = element.get("StorageClass"), element.get(name), element.get("Date")
    if storage_class not in _CLASSES or bool(days) == bool(date):
        raise malformed_xml()
    newer = element.get("NewerNoncurrentVersions")
    return Transition(
        storage_class,
        _count(days) if days else 0,
        _date(date) if date else 0,
        _count(newer) if newer else 0,
        bool(days),
    )


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise malformed_xml()
    return int(text)


def _positive(text: str) -> int:
    if _count(text) < 1:
        raise S3Error("InvalidArgument", "A number of days must be a positive integer.")
    return int(text)


def _date(text: str) -> int:
    try:
        found = times.parse_iso(text)
    except ValueError as error:
        raise malformed_xml() from error
    if found % DAY_NS:
        raise S3Error("InvalidArgument", "'Date' must be at midnight GMT")
    return found


def _to_xml(rule: Rule) -> xml.Element:
    each = xml.Element("Rule")
    each.add("ID", rule.id)
    if rule.filtered:
        outer = each.add("Filter")
        _add_filter(outer.add("And") if rule.filtered == "and" else outer, rule)
    else:
        each.add("Prefix", rule.prefix)
    each.add("Status", "Enabled" if rule.enabled else "Disabled")
    if rule.days or rule.date or rule.marker:
        expiration = each.add("Expiration")
        expiration.add("Days", rule.days or None)
        expiration.add("Date", times.iso(rule.date) if rule.date else None)
        expiration.add("ExpiredObjectDeleteMarker", "true" if rule.marker else None)
    if rule.noncurrent_days:
        noncurrent = each.add("NoncurrentVersionExpiration")
        noncurrent.add("NoncurrentDays", rule.noncurrent_days)
        noncurrent.add("NewerNoncurrentVersions", rule.newer_versions or None)
    if rule.abort_days:
        abort = each.add("AbortIncompleteMultipartUpload")
        abort.add("DaysAfterInitiation", rule.abort_days)
    for one in rule.transitions:
        _add_transition(each.add("Transition"), one, "Days")
    for one in rule.noncurrent_transitions:
        _add_transition(each.add("NoncurrentVersionTransition"), one, "NoncurrentDays")
    return each


def _add_filter(inner: xml.Element, rule: Rule) -> None:
    if rule.prefix or not (rule.tags or rule.greater >= 0 or rule.less >= 0):
        inner.add("Prefix", rule.prefix)
    for name, value in rule.tags.items():
        tag = inner.add("Tag")
        tag.add("Key", name)
        tag.add("Value", value)
    inner.add("ObjectSizeGreaterThan", rule.greater if rule.greater >= 0 else None)
    inner.add("ObjectSizeLessThan", rule.less if rule.less >= 0 else None)


def _add_transition(element: xml.Element, one: Transition, name: str) -> None:
    element.add(name, one.days if one.has_days else None)
    element.add("Date", times.iso(one.date) if one.date else None)
    element.add("NewerNoncurrentVersions", one.newer or None)
    element.add("StorageClass", one.storage_class)


ROUTES = {
    ("bucket", "GET", "lifecycle"): get_lifecycle,
    ("bucket", "PUT", "lifecycle"): put_lifecycle,
    ("bucket", "DELETE", "lifecycle"): delete_lifecycle,
}
