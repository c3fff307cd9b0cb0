"""The settings of a bucket resource in `skerry.toml`."""

from __future__ import annotations

import msgspec


class BucketConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of a bucket.

    `endpoint`: the URL under which clients reach it, for the presigned URLs that bindings make.
    `domains`: further host names under which `<bucket>.<domain>` names a bucket.
    `signature_v2`: whether to accept AWS Signature Version 2, with which boto3 still presigns URLs
    and forms unless it is told otherwise.
    """

    endpoint: str = ""
    domains: tuple[str, ...] = ()
    signature_v2: bool = True
