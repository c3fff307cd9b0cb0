"""Buckets: list, create, delete, head, location, versioning, and the account's own listing."""

from __future__ import annotations

import re

from skerry.kinds._shared.s3 import times, xml
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.access import acl, decide
from skerry.kinds.bucket.state import buckets
from skerry.kinds.bucket.state.buckets import BUCKETS_MAX
from skerry.kinds.bucket.state.database import Db
from skerry.kinds.bucket.state.records import Bucket, Grant, pack
from skerry.kinds.bucket.wire.call import Call, Reply, malformed_xml, xml_reply

REGION = "us-east-1"
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
_OWNERSHIPS = ("BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter")


async def list_buckets(call: Call) -> Reply:
    """ListBuckets."""
    if not call.identity.id:
        raise decide.denied()
    limit = call.number("max-buckets", BUCKETS_MAX, 1, BUCKETS_MAX)
    prefix, after = call.query.get("prefix", ""), call.query.get("continuation-token", "")
    found = await call.store.read(buckets.names, call.identity.id, prefix, after, limit + 1)
    root = xml.Element("ListAllMyBucketsResult")
    acl.add_owner(root, "Owner", (call.identity.id, call.identity.name))
    listed = root.add("Buckets")
    for bucket in found[:limit]:
        each = listed.add("Bucket")
        each.add("Name", bucket.name)
        each.add("CreationDate", times.iso(bucket.created))
    if prefix:
        root.add("Prefix", prefix)
    if len(found) > limit:
        root.add("ContinuationToken", found[limit - 1].name)
    return xml_reply(root)


def check_name(name: str) -> None:
    """Raise InvalidBucketName if a bucket must not be called so."""
    bad = ".." in name or ".-" in name or "-." in name or _ADDRESS.fullmatch(name)
    if bad or not _NAME.fullmatch(name):
        raise S3Error(
            "InvalidBucketName",
            "The specified bucket is not valid.",
            fields={"BucketName": name},
        )


async def create_bucket(call: Call) -> Reply:
    """CreateBucket."""
    check_name(call.bucket_name)
    if not call.identity.id:
        raise decide.denied()
    region = await _location(call)
    owner = call.identity.id
    rule = call.headers.get("x-amz-object-ownership")
    if rule is not None and rule not in _OWNERSHIPS:
        raise S3Error("InvalidArgument", "Invalid x-amz-object-ownership header.")
    grants = acl.from_headers(call.headers, owner, owner, call.account.resolve)
    locking = call.headers.get("x-amz-bucket-object-lock-enabled", "").lower() == "true"

    def write(db: Db) -> None:
        have = buckets.find(db, call.bucket_name)
        if have is not None:
            _recreate(have, owner, grants, asked=acl.has_headers(call.headers))
            return
        made = buckets.create(db, call.bucket_name, owner, call.now, region=region, locking=locking)
        buckets.set_setting(db, made.id, "acl", pack(grants))
        if rule is not None:
            buckets.set_setting(db, made.id, "ownership", rule.encode())

    await call.store.write(write)
    return Reply(headers=[("location", f"/{call.bucket_name}")])


def _recreate(have: Bucket, owner: str, grants: list[Grant], *, asked: bool) -> None:
    if have.owner != owner:
        raise S3Error(
            "BucketAlreadyExists",
            "The requested bucket name is not available.",
            fields={"BucketName": have.name},
        )
    if asked or decide.bucket_grants(have) != grants:
        raise S3Error("BucketAlreadyExists", "The bucket exists with other settings.")


async def _location(call: Call) -> str:
    data = await call.small_body()
    if not data:
        return ""
    try:
        root = xml.parse(data)
    except xml.MalformedXMLError as error:
        raise malformed_xml() from error
    if root.name != "CreateBucketConfiguration":
        raise malformed_xml()
    return root.get("LocationConstraint")[:64]


async def head_bucket(call: Call) -> Reply:
    """HeadBucket."""
    bucket = await call.allow("s3:ListBucket")
    return Reply(headers=[("x-amz-bucket-region", bucket.region or REGION)])


async def delete_bucket(call: Call) -> Reply:
    """DeleteBucket."""
    await call.allow("s3:DeleteBucket")
    await call.store.write(buckets.delete, call.bucket_name, call.now)
    call.store.rubbish()
    return Reply(204)


async def get_location(call: Call) -> Reply:
    """GetBucketLocation."""
    bucket = await call.allow("s3:GetBucketLocation")
    return xml_reply(xml.Element("LocationConstraint", bucket.region))


async def get_versioning(call: Call) -> Reply:
    """GetBucketVersioning."""
    bucket = await call.allow("s3:GetBucketVersioning")
    root = xml.Element("VersioningConfiguration")
    if bucket.versioning:
        root.add("Status", bucket.versioning)
    return xml_reply(root)


async def put_versioning(call: Call) -> Reply:
    """PutBucketVersioning."""
    bucket = await call.allow("s3:PutBucketVersioning")
    root = await call.xml("VersioningConfiguration")
    status = root.get("Status")
    if status not in ("Enabled", "Suspended"):
        raise malformed_xml()
    if root.get("MfaDelete") == "Enabled":
        raise S3Error("NotImplemented", "MFA delete is not supported.")
    if status == "Suspended" and bucket.locking:
        raise S3Error(
            "InvalidBucketState",
            "An Object Lock configuration is present on this bucket, so the versioning state "
            "cannot be changed.",
        )
    await call.store.write(buckets.set_versioning, bucket.id, status)
    return Reply()


ROUTES = {
    ("service", "GET", ""): list_buckets,
    ("bucket", "PUT", ""): create_bucket,
    ("bucket", "HEAD", ""): head_bucket,
    ("bucket", "DELETE", ""): delete_bucket,
    ("bucket", "GET", "location"): get_location,
    ("bucket", "GET", "versioning"): get_versioning,
    ("bucket", "PUT", "versioning"): put_versioning,
}
