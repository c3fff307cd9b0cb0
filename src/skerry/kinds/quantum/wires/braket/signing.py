"""Who sent a request: Signature Version 4 by the resource's own access key.

Services other than S3 sign the path encoded twice, and the hash of the body without sending it.
Source: AWS General Reference, "Signature Version 4 signing process".
"""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import quote

from skerry.kernel.errors import UNAUTHENTICATED
from skerry.kinds._shared.s3 import sigv4
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.quantum import claim
from skerry.kinds.quantum.wires.frame import Call

_UNRESERVED = "/-_.~"
_HASH = "x-amz-content-sha256"


async def authenticate(call: Call) -> sigv4.Credential:
    """Return the verified credential of a request; raise UNAUTHENTICATED, or S3Error for S3."""
    prefix = call.headers.get("x-forwarded-prefix", "").rstrip("/")
    path = prefix + call.raw_path
    headers = tuple(each for each in call.headers.items() if each[0] != "x-forwarded-prefix")
    plain = sigv4.Request(call.method, path, call.raw_query, headers)
    try:
        body_hash = call.headers.get(_HASH) or hashlib.sha256(await call.body()).hexdigest()
        hashed = sigv4.Request(call.method, path, call.raw_query, (*headers, (_HASH, body_hash)))
        signed = sigv4.from_header(hashed, call.headers.get("authorization", ""))
        credential = signed.credential
        if credential.service != "s3":
            encoded = quote(path, safe=_UNRESERVED)
            plain = sigv4.Request(call.method, encoded, call.raw_query, headers)
        context = call.desk.context
        own = claim.access_key(context.id)
        if not hmac.compare_digest(credential.access_key.encode(), own.encode()):
            raise S3Error("InvalidAccessKeyId", "The access key is not of this resource.")
        sigv4.check_skew(signed, context.clock.now())
        sigv4.verify(plain, signed, claim.secret_key(context.keys))
        await _check_body(call, body_hash)
    except S3Error as error:
        if "/s3/aws4_request" in call.headers.get("authorization", ""):
            raise
        raise UNAUTHENTICATED(
            error.message, why=error.code, hint=f"skerry connect {call.desk.context.ref.name}"
        ) from error
    return credential


async def _check_body(call: Call, stated: str) -> None:
    if stated == sigv4.UNSIGNED or call.method in ("GET", "HEAD"):
        return
    if hashlib.sha256(await call.body()).hexdigest() != stated:
        raise S3Error("XAmzContentSHA256Mismatch", "The body is not what was signed.")
