"""The one decision: may this user do this to that bucket or object?

In this order: a denial of the bucket's policy; the owner's right; a permission of the policy,
unless the public access block takes it away; access control lists. Nothing else is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.access import acl, policy
from skerry.kinds.bucket.state.records import Bucket, Grant, Version

_BUCKET_ACL = {
    "s3:ListBucket": "READ",
    "s3:ListBucketVersions": "READ",
    "s3:ListBucketMultipartUploads": "READ",
    "s3:PutObject": "WRITE",
    "s3:DeleteObject": "WRITE",
    "s3:DeleteObjectVersion": "WRITE",
    "s3:AbortMultipartUpload": "WRITE",
    "s3:ListMultipartUploadParts": "WRITE",
    "s3:GetBucketAcl": "READ_ACP",
    "s3:PutBucketAcl": "WRITE_ACP",
}
_OBJECT_ACL = {
    "s3:GetObject": "READ",
    "s3:GetObjectVersion": "READ",
    "s3:GetObjectAcl": "READ_ACP",
    "s3:GetObjectVersionAcl": "READ_ACP",
    "s3:PutObjectAcl": "WRITE_ACP",
    "s3:PutObjectVersionAcl": "WRITE_ACP",
}
_ON_BUCKET = ("s3:ListBucket", "s3:PutBucket", "s3:GetBucket", "s3:DeleteBucket")
_SELF_POLICY = ("s3:PutBucketPolicy", "s3:GetBucketPolicy", "s3:DeleteBucketPolicy")
OWNER_ENFORCED = "BucketOwnerEnforced"
"""Access control lists do not count, and the bucket's owner owns what is in it."""


class PublicAccessBlock(msgspec.Struct, frozen=True):
    """A bucket's public access block."""

    block_acls: bool = False
    ignore_acls: bool = False
    block_policy: bool = False
    restrict_buckets: bool = False


@dataclass(frozen=True, slots=True)
class Subject:
    """Who asks ('' is anonymous), and the condition keys of the request."""

    user: str
    name: str
    keys: Mapping[str, str]

    @property
    def arns(self) -> tuple[str, ...]:
        """The names by which a policy may mean this user."""
        if not self.user:
            return ()
        return (
            self.user,
            f"arn:aws:iam:::user/{self.user}",
            f"arn:aws:iam:::user/{self.name}",
            f"arn:aws:iam::{self.user}:root",
            f"arn:aws:iam::{self.user}:user/{self.name}",
        )


def denied() -> S3Error:
    """Return the error for what is not allowed."""
    return S3Error("AccessDenied", "Access Denied.")


def allow(
    subject: Subject,
    bucket: Bucket,
    action: str,
    key: str,
    version: Version | None = None,
) -> None:
    """Raise AccessDenied unless the action, on `version` if that exists, is allowed."""
    if not allowed(subject, bucket, action, key, version):
        raise denied()


def allowed(
    subject: Subject,
    bucket: Bucket,
    action: str,
    key: str,
    version: Version | None = None,
) -> bool:
    """Tell whether the action is allowed; see `allow`."""
    said = _policy_says(subject, bucket, action, key, version)
    owns = bool(subject.user) and subject.user == bucket.owner
    if said == policy.Decision.DENY:
        return owns and action in _SELF_POLICY
    if owns and not (action in _OBJECT_ACL and _foreign(bucket, version)):
        return True
    block = public_access_block(bucket)
    if said == policy.Decision.ALLOW and not (block.restrict_buckets and is_public(bucket)):
        return True
    if ownership(bucket) == OWNER_ENFORCED:
        return False
    if action in _OBJECT_ACL:
        listed, permission = version.record.grants if version else [], _OBJECT_ACL[action]
    elif action in _BUCKET_ACL:
        listed, permission = bucket_grants(bucket), _BUCKET_ACL[action]
    else:
        return False
    return acl.allows(listed, subject.user, permission, ignore_public=block.ignore_acls)


def _foreign(bucket: Bucket, version: Version | None) -> bool:
    """Tell whether an object belongs to somebody else than its bucket, and that counts."""
    return (
        version is not None
        and not version.marker
        and version.record.owner != bucket.owner
        and ownership(bucket) != OWNER_ENFORCED
    )


def _policy_says(
    subject: Subject, bucket: Bucket, action: str, key: str, version: Version | None
) -> str:
    data = bucket.settings.get("policy")
    if data is None:
        return policy.Decision.NOTHING
    keys = dict(subject.keys)
    if version is not None:
        for name, value in version.record.tags.items():
            keys[f"s3:ExistingObjectTag/{name}"] = value
    arn = f"arn:aws:s3:::{bucket.name}"
    resource = arn if action.startswith(_ON_BUCKET) or not key else f"{arn}/{key}"
    asked = policy.Asked(action, resource, subject.user, subject.arns, keys)
    return policy.decide(policy.parse(data, bucket.name), asked)


def bucket_grants(bucket: Bucket) -> list[Grant]:
    """Return the access control list of a bucket."""
    found: list[Grant] | None = bucket.load("acl", list[Grant])
    return [Grant("FULL_CONTROL", bucket.owner)] if found is None else found


def ownership(bucket: Bucket) -> str:
    """Return who owns what others put into a bucket: the rule's name."""
    return bucket.settings.get("ownership", b"ObjectWriter").decode()


def public_access_block(bucket: Bucket) -> PublicAccessBlock:
    """Return the bucket's public access block; the default blocks nothing."""
    found: PublicAccessBlock | None = bucket.load("publicAccessBlock", PublicAccessBlock)
    return found or PublicAccessBlock()


def is_public(bucket: Bucket) -> bool:
    """Tell whether the policy allows something to everybody."""
    data = bucket.settings.get("policy")
    return data is not None and any(each.public for each in policy.parse(data, bucket.name))


def check_acl_change(bucket: Bucket, grants: list[Grant]) -> None:
    """Raise S3Error if the bucket takes no such access control list."""
    if ownership(bucket) == OWNER_ENFORCED:
        raise S3Error("AccessControlListNotSupported", "The bucket does not allow ACLs")
    if public_access_block(bucket).block_acls and acl.is_public(grants):
        raise denied()


def object_owner(bucket: Bucket, user: str, grants: list[Grant]) -> str:
    """Return who owns an object that `user` puts into a bucket with these grants."""
    rule = ownership(bucket)
    gives = any(each.permission == "FULL_CONTROL" and each.user == bucket.owner for each in grants)
    if rule == OWNER_ENFORCED or (rule == "BucketOwnerPreferred" and gives):
        return bucket.owner
    return user
