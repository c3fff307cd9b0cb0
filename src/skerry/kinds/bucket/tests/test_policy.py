"""Bucket policies, wildcards and lifecycle rules."""

from __future__ import annotations

import asyncio
import fnmatch
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.access import policy
from skerry.kinds.bucket.access.policy import Asked, Decision, like


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_wildcards_match_as_they_do_elsewhere(pattern: str, text: str) -> None:
    assert like(pattern, text) == bool(re.match(fnmatch.translate(pattern), text))


def test_a_hostile_wildcard_ends_soon() -> None:
    assert not like("*a" * 500 + "b", "a" * 1024)


def decide(condition: dict[str, Any], keys: dict[str, str], effect: str = "Allow") -> str:
    statement = {
        "Effect": effect,
        "Principal": {"AWS": "arn:aws:iam:::user/press"},
        "Action": ["s3:Get*"],
        "Resource": "arn:aws:s3:::media/open/*",
        "Condition": condition,
    }
    document = json.dumps({"Statement": [statement]}).encode()
    arns = ("arn:aws:iam:::user/press",)
    asked = Asked("s3:GetObject", "arn:aws:s3:::media/open/a", "id", arns, keys)
    return policy.decide(policy.parse(document, "media"), asked)


@pytest.mark.parametrize(
    ("condition", "keys", "holds"),
    [
        ({}, {}, True),
        ({"StringEquals": {"aws:UserId": ["a", "b"]}}, {"aws:userid": "b"}, True),
        ({"StringEquals": {"aws:UserId": "a"}}, {}, False),
        ({"StringEqualsIfExists": {"aws:UserId": "a"}}, {}, True),
        ({"StringNotEquals": {"aws:UserId": "a"}}, {"aws:userid": "a"}, False),
        ({"StringNotLike": {"aws:Referer": "http://x/*"}}, {"aws:referer": "http://y/"}, True),
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {"aws:sourceip": "10.1.2.3"}, True),
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {"aws:sourceip": "nonsense"}, False),
        ({"NumericLessThan": {"s3:max-keys": "10"}}, {"s3:max-keys": "9"}, True),
        ({"DateGreaterThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"}}, {}, False),
        ({"Null": {"aws:Referer": "true"}}, {}, True),
        ({"Bool": {"aws:SecureTransport": True}}, {"aws:securetransport": "false"}, False),
        ({"StringEquals": {"s3:ExistingObjectTag/A": "1"}}, {"s3:ExistingObjectTag/A": "1"}, True),
        ({"StringEquals": {"s3:ExistingObjectTag/A": "1"}}, {"s3:ExistingObjectTag/a": "1"}, False),
    ],
)
def test_conditions(condition: dict[str, Any], keys: dict[str, str], holds: bool) -> None:
    assert decide(condition, keys) == (Decision.ALLOW if holds else Decision.NOTHING)
    assert decide(condition, keys, "Deny") == (Decision.DENY if holds else Decision.NOTHING)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"Statement": []}',
        '{"Statement": [{"Effect": "Allow"}]}',
        '{"Statement": [{"Effect": "Maybe", "Principal": "*", "Action": "*", "Resource": "*"}]}',
        '{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:*",'
        ' "Resource": "arn:aws:s3:::other/*"}]}',
        '{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*",'
        ' "Condition": {"StringSounds": {"a": "b"}}}]}',
        "[" * 100_000,
    ],
)
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(S3Error) as caught:
        policy.parse(text.encode(), "media")
    assert caught.value.code == "MalformedPolicy"


def test_rules_expire_what_they_cover_and_nothing_locked(served: Any, s3: Any) -> None:
    s3.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    rules = [
        {
            "ID": "all",
            "Filter": {"Prefix": "old/"},
            "Status": "Enabled",
            "Expiration": {"Days": 1},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
        }
    ]
    for bucket in ("media", "locked"):
        s3.put_bucket_lifecycle_configuration(
            Bucket=bucket, LifecycleConfiguration={"Rules": rules}
        )
        s3.put_object(Bucket=bucket, Key="old/a", Body=b"1")
        s3.put_object(Bucket=bucket, Key="new/a", Body=b"1")
    s3.put_object_legal_hold(Bucket="locked", Key="old/a", LegalHold={"Status": "ON"})
    from skerry.kinds.bucket.expiry import Expiry

    expiry = Expiry(served.engine.account, day_ns=1)
    assert served.do(expiry.run_once()) == 2
    served.do(asyncio.sleep(0.01))
    served.do(expiry.run_once())
    left = s3.list_objects_v2(Bucket="media")["Contents"]
    assert [each["Key"] for each in left] == ["new/a"]
    versions = s3.list_object_versions(Bucket="locked")
    assert [each["Key"] for each in versions["Versions"]] == ["new/a", "old/a"]
