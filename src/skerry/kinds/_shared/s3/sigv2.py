"""Verifying AWS Signature Version 2, which boto3 still uses to presign by default.

Source: Amazon S3 User Guide, "Authenticating requests (AWS signature version 2)".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from urllib.parse import unquote_plus

from skerry.kinds._shared.s3 import times
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds._shared.s3.sigv4 import SKEW_NS, Request

_DIGITS_MAX = 18

_SUBRESOURCES = frozenset(
    [
        "accelerate",
        "acl",
        "analytics",
        "cors",
        "delete",
        "encryption",
        "intelligent-tiering",
        "inventory",
        "legal-hold",
        "lifecycle",
        "location",
        "logging",
        "metrics",
        "notification",
        "object-lock",
        "ownershipControls",
        "partNumber",
        "policy",
        "policyStatus",
        "publicAccessBlock",
        "replication",
        "requestPayment",
        "restore",
        "retention",
        "select",
        "select-type",
        "tagging",
        "torrent",
        "uploadId",
        "uploads",
        "versionId",
        "versioning",
        "versions",
        "website",
        "response-cache-control",
        "response-content-disposition",
        "response-content-encoding",
        "response-content-language",
        "response-content-type",
        "response-expires",
    ]
)


def sign(secret: str, text: str) -> str:
    """Return the signature of a text: HMAC-SHA-1 in base64."""
    return base64.b64encode(hmac.digest(secret.encode(), text.encode(), hashlib.sha1)).decode()


def matches(secret: str, text: str, signature: str) -> bool:
    """Tell whether a signature is right, in constant time."""
    given = signature.encode("utf-8", "replace")
    return hmac.compare_digest(sign(secret, text).encode(), given)


def verify(
    request: Request, bucket: str, secret: str, signature: str, expires: str | None, now_ns: int
) -> None:
    """Check a signature, and its time; `bucket` is named if the host names it. Raise S3Error."""
    amazon: dict[str, str] = {}
    for name, value in request.headers:
        if name.startswith("x-amz-"):
            amazon[name] = f"{amazon[name]},{value}" if name in amazon else value
    date = expires if expires is not None else ""
    if expires is None:
        _check_date(amazon.get("x-amz-date", request.header("date")), now_ns)
        date = "" if "x-amz-date" in amazon else request.header("date") or ""
    elif not _is_future(expires, now_ns):
        raise S3Error("AccessDenied", "Request has expired.")
    head = "\n".join(
        (
            request.method,
            request.header("content-md5") or "",
            request.header("content-type") or "",
            date,
            "".join(f"{name}:{amazon[name].strip()}\n" for name in sorted(amazon)),
        )
    )
    # Some clients sign the path of a bucket with a slash at its end that they do not send.
    paths = (request.path, f"{request.path}/")
    if not any(
        matches(secret, head + _resource(request, path, bucket), signature) for path in paths
    ):
        raise S3Error("SignatureDoesNotMatch", "The request signature does not match.")


def _is_future(expires: str, now_ns: int) -> bool:
    """Tell whether a query's `Expires`, in seconds since 1970, is a number and still to come."""
    if not expires.isascii() or not expires.isdigit() or len(expires) > _DIGITS_MAX:
        return False
    return int(expires) * times.NANOSECONDS >= now_ns


def _check_date(date: str | None, now_ns: int) -> None:
    try:
        when = times.parse_http_date(date or "")
    except ValueError as error:
        raise S3Error("AccessDenied", "A valid date is required.") from error
    if when < 0:
        raise S3Error("AccessDenied", "A date before 1970 is not valid.")
    if abs(when - now_ns) > SKEW_NS:
        raise S3Error("RequestTimeTooSkewed", "The request's date is too far from now.")


def _resource(request: Request, path: str, bucket: str) -> str:
    pairs = []
    for item in request.query.split("&"):
        name, equals, value = item.partition("=")
        if name in _SUBRESOURCES:
            pairs.append((name, f"{name}={unquote_plus(value)}" if equals else name))
    query = "&".join(text for _, text in sorted(pairs))
    path = f"/{bucket}{path}" if bucket else path
    return f"{path}?{query}" if query else path
