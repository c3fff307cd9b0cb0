"""Configurations of a bucket: policy, encryption, ownership, public access, and empty answers."""

from __future__ import annotations

from skerry.kinds._shared.s3 import xml
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.access import acl, decide, policy
from skerry.kinds.bucket.access.decide import PublicAccessBlock
from skerry.kinds.bucket.state import buckets
from skerry.kinds.bucket.state.records import pack
from skerry.kinds.bucket.wire import encrypting
from skerry.kinds.bucket.wire.call import Call, Reply, malformed_xml, xml_reply

_BLOCKS = {
    "BlockPublicAcls": "block_acls",
    "IgnorePublicAcls": "ignore_acls",
    "BlockPublicPolicy": "block_policy",
    "RestrictPublicBuckets": "restrict_buckets",
}
_OWNERSHIPS = ("BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter")


async def get_policy(call: Call) -> Reply:
    """GetBucketPolicy."""
    bucket = await call.allow("s3:GetBucketPolicy")
    data = bucket.settings.get("policy")
    if data is None:
        raise S3Error("NoSuchBucketPolicy", "The bucket policy does not exist")
    return Reply(headers=[("content-type", "application/json")], body=data)


async def put_policy(call: Call) -> Reply:
    """PutBucketPolicy."""
    bucket = await call.allow("s3:PutBucketPolicy")
    data = await call.small_body(policy.POLICY_BYTES_MAX)
    statements = policy.parse(data, bucket.name)
    public = any(each.public for each in statements)
    if public and decide.public_access_block(bucket).block_policy:
        raise decide.denied()
    await call.store.write(buckets.set_setting, bucket.id, "policy", data)
    return Reply(204)


async def delete_policy(call: Call) -> Reply:
    """DeleteBucketPolicy."""
    return await _drop(call, "s3:DeleteBucketPolicy", "policy")


async def get_policy_status(call: Call) -> Reply:
    """GetBucketPolicyStatus."""
    bucket = await call.allow("s3:GetBucketPolicyStatus")
    public = decide.is_public(bucket) or acl.is_public(decide.bucket_grants(bucket))
    root = xml.Element("PolicyStatus")
    root.add("IsPublic", "true" if public else "false")
    return xml_reply(root)


async def get_encryption(call: Call) -> Reply:
    """GetBucketEncryption."""
    bucket = await call.allow("s3:GetEncryptionConfiguration")
    default = bucket.load("encryption", encrypting.Default)
    if default is None:
        raise S3Error(
            "ServerSideEncryptionConfigurationNotFoundError",
            "The server side encryption configuration was not found",
        )
    return xml_reply(encrypting.default_to_xml(default))


async def put_encryption(call: Call) -> Reply:
    """PutBucketEncryption."""
    bucket = await call.allow("s3:PutEncryptionConfiguration")
    default = encrypting.default_from_xml(await call.xml("ServerSideEncryptionConfiguration"))
    await call.store.write(buckets.set_setting, bucket.id, "encryption", pack(default))
    return Reply()


async def delete_encryption(call: Call) -> Reply:
    """DeleteBucketEncryption."""
    return await _drop(call, "s3:PutEncryptionConfiguration", "encryption")


async def get_ownership(call: Call) -> Reply:
    """GetBucketOwnershipControls."""
    bucket = await call.allow("s3:GetBucketOwnershipControls")
    if "ownership" not in bucket.settings:
        raise S3Error(
            "OwnershipControlsNotFoundError", "The bucket ownership controls were not found"
        )
    root = xml.Element("OwnershipControls")
    root.add("Rule").add("ObjectOwnership", decide.ownership(bucket))
    return xml_reply(root)


async def put_ownership(call: Call) -> Reply:
    """PutBucketOwnershipControls."""
    bucket = await call.allow("s3:PutBucketOwnershipControls")
    rule = (await call.xml("OwnershipControls")).find("Rule")
    name = rule.get("ObjectOwnership") if rule else ""
    if name not in _OWNERSHIPS:
        raise malformed_xml()
    if name == "BucketOwnerEnforced" and any(
        grant.user != bucket.owner for grant in decide.bucket_grants(bucket)
    ):
        raise S3Error(
            "InvalidBucketAclWithObjectOwnership",
            "The bucket grants rights to others, and its ACL must be private.",
        )
    await call.store.write(buckets.set_setting, bucket.id, "ownership", name.encode())
    return Reply()


async def delete_ownership(call: Call) -> Reply:
    """DeleteBucketOwnershipControls."""
    return await _drop(call, "s3:PutBucketOwnershipControls", "ownership")


async def get_public_access_block(call: Call) -> Reply:
    """GetPublicAccessBlock."""
    bucket = await call.allow("s3:GetBucketPublicAccessBlock")
    block = bucket.load("publicAccessBlock", PublicAccessBlock)
    if block is None:
        raise S3Error(
            "NoSuchPublicAccessBlockConfiguration",
            "The public access block configuration was not found",
        )
    root = xml.Element("PublicAccessBlockConfiguration")
    for name, field in _BLOCKS.items():
        root.add(name, "true" if getattr(block, field) else "false")
    return xml_reply(root)


async def put_public_access_block(call: Call) -> Reply:
    """PutPublicAccessBlock."""
    bucket = await call.allow("s3:PutBucketPublicAccessBlock")
    root = await call.xml("PublicAccessBlockConfiguration")
    values = {field: root.get(name).lower() == "true" for name, field in _BLOCKS.items()}
    block = pack(PublicAccessBlock(**values))
    await call.store.write(buckets.set_setting, bucket.id, "publicAccessBlock", block)
    return Reply()


async def delete_public_access_block(call: Call) -> Reply:
    """DeletePublicAccessBlock."""
    return await _drop(call, "s3:PutBucketPublicAccessBlock", "publicAccessBlock")


async def get_logging(call: Call) -> Reply:
    """GetBucketLogging: never on."""
    await call.allow("s3:GetBucketLogging")
    return xml_reply(xml.Element("BucketLoggingStatus"))


async def get_notification(call: Call) -> Reply:
    """GetBucketNotificationConfiguration: never any."""
    await call.allow("s3:GetBucketNotification")
    return xml_reply(xml.Element("NotificationConfiguration"))


async def get_request_payment(call: Call) -> Reply:
    """GetBucketRequestPayment: always the owner."""
    await call.allow("s3:GetBucketRequestPayment")
    root = xml.Element("RequestPaymentConfiguration")
    root.add("Payer", "BucketOwner")
    return xml_reply(root)


async def get_accelerate(call: Call) -> Reply:
    """GetBucketAccelerateConfiguration: never on."""
    await call.allow("s3:GetAccelerateConfiguration")
    return xml_reply(xml.Element("AccelerateConfiguration"))


async def get_website(call: Call) -> Reply:
    """GetBucketWebsite: never any."""
    await call.allow("s3:GetBucketWebsite")
    raise S3Error("NoSuchWebsiteConfiguration", "The website configuration does not exist")


async def get_replication(call: Call) -> Reply:
    """GetBucketReplication: never any."""
    await call.allow("s3:GetReplicationConfiguration")
    raise S3Error(
        "ReplicationConfigurationNotFoundError", "The replication configuration was not found"
    )


async def _drop(call: Call, action: str, name: str) -> Reply:
    bucket = await call.allow(action)
    await call.store.write(buckets.drop_setting, bucket.id, name)
    return Reply(204)


ROUTES = {
    ("bucket", "GET", "policy"): get_policy,
    ("bucket", "PUT", "policy"): put_policy,
    ("bucket", "DELETE", "policy"): delete_policy,
    ("bucket", "GET", "policyStatus"): get_policy_status,
    ("bucket", "GET", "encryption"): get_encryption,
    ("bucket", "PUT", "encryption"): put_encryption,
    ("bucket", "DELETE", "encryption"): delete_encryption,
    ("bucket", "GET", "ownershipControls"): get_ownership,
    ("bucket", "PUT", "ownershipControls"): put_ownership,
    ("bucket", "DELETE", "ownershipControls"): delete_ownership,
    ("bucket", "GET", "publicAccessBlock"): get_public_access_block,
    ("bucket", "PUT", "publicAccessBlock"): put_public_access_block,
    ("bucket", "DELETE", "publicAccessBlock"): delete_public_access_block,
    ("bucket", "GET", "logging"): get_logging,
    ("bucket", "GET", "notification"): get_notification,
    ("bucket", "GET", "requestPayment"): get_request_payment,
    ("bucket", "GET", "accelerate"): get_accelerate,
    ("bucket", "GET", "website"): get_website,
    ("bucket", "GET", "replication"): get_replication,
}
