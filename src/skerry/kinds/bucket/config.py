"""The settings of a bucket resource in `skerry.toml`."""

from __future__ import annotations

import msgspec


class BucketConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of a bucket.

    `endpoint`: the URL under which clients reach it, for the presigned URLs that bindings make.
    `domains`: further host names under which `<bucket>.<domain>` names a bucket.
    `signature_v2`: whether to accept AWS Signature Version 2 of old clients.
    """

    endpoint: str = ""
    domains: tuple[str, ...] = ()
    signature_v2: bool = False
