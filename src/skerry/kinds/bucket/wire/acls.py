"""GetBucketAcl, PutBucketAcl, GetObjectAcl and PutObjectAcl."""

from __future__ import annotations

from skerry.kinds._shared.s3 import xml
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.access import acl, decide
from skerry.kinds.bucket.state import buckets, objects
from skerry.kinds.bucket.state.database import Db
from skerry.kinds.bucket.state.records import Grant, pack
from skerry.kinds.bucket.wire.call import Call, Reply, malformed_xml, xml_reply
from skerry.kinds.bucket.wire.reading import locate, version_header


async def get_bucket_acl(call: Call) -> Reply:
    """GetBucketAcl."""
    bucket = await call.allow("s3:GetBucketAcl")
    name_of = call.account.name_of
    owner = (bucket.owner, name_of(bucket.owner))
    return xml_reply(acl.to_xml(owner, decide.bucket_grants(bucket), name_of))


async def put_bucket_acl(call: Call) -> Reply:
    """PutBucketAcl."""
    bucket = await call.allow("s3:PutBucketAcl")
    grants = await _asked(call, bucket.owner, bucket.owner)
    decide.check_acl_change(bucket, grants)
    await call.store.write(buckets.set_setting, bucket.id, "acl", pack(grants))
    return Reply()


async def get_object_acl(call: Call) -> Reply:
    """GetObjectAcl."""
    bucket, version = await locate(call, "s3:GetObjectAcl")
    name_of, owner = call.account.name_of, version.record.owner
    reply = xml_reply(acl.to_xml((owner, name_of(owner)), version.record.grants, name_of))
    reply.headers += version_header(bucket, version)
    return reply


async def put_object_acl(call: Call) -> Reply:
    """PutObjectAcl."""
    bucket, version = await locate(call, "s3:PutObjectAcl")
    grants = await _asked(call, version.record.owner, bucket.owner)
    decide.check_acl_change(bucket, grants)

    def write(db: Db) -> None:
        found = objects.by_sequence(db, version.sequence)
        if found is None:
            raise S3Error("NoSuchKey", "The specified key does not exist.")
        found.record.grants = grants
        objects.update_record(db, found)

    await call.store.write(write)
    return Reply(headers=version_header(bucket, version))


async def _asked(call: Call, owner: str, bucket_owner: str) -> list[Grant]:
    """Return the grants that headers or body ask for."""
    data = await call.small_body()
    if acl.has_headers(call.headers):
        if data:
            raise S3Error("InvalidRequest", "Give the ACL in headers or in the body, not both.")
        return acl.from_headers(call.headers, owner, bucket_owner, call.account.resolve)
    if not data:
        raise S3Error("MissingSecurityHeader", "Your request was missing a required header.")
    try:
        root = xml.parse(data)
    except xml.MalformedXMLError as error:
        raise malformed_xml() from error
    return acl.from_xml(root, owner, call.account.resolve)


ROUTES = {
    ("bucket", "GET", "acl"): get_bucket_acl,
    ("bucket", "PUT", "acl"): put_bucket_acl,
    ("object", "GET", "acl"): get_object_acl,
    ("object", "PUT", "acl"): put_object_acl,
}
