"""Who sent a request: Signature Version 4 by the resource's own access key.

Services other than S3 sign the path encoded twice, and the hash of the body without sending it.
Source: AWS General Reference, "Signature Version 4 signing process".
"""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import quote

from skerry.kernel.errors import UNAUTHENTICATED, SkerryError
from skerry.kinds._shared.s3 import chunks, sigv4
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
        secret = await _secret(call, credential.access_key)
        sigv4.check_skew(signed, context.clock.now())
        key = sigv4.verify(plain, signed, secret)
        if signed.payload.startswith(chunks.STREAMING):
            seal = chunks.Seal(key, signed.timestamp, credential.scope, signed.signature)
            await _decode(call, signed.payload, seal)
        await _check_body(call, body_hash)
    except S3Error as error:
        if "/s3/aws4_request" in call.headers.get("authorization", ""):
            raise
        raise UNAUTHENTICATED(
            error.message, why=error.code, hint=f"skerry connect {call.desk.context.ref.name}"
        ) from error
    return credential


async def _secret(call: Call, access_key: str) -> str:
    """Return the secret of an access key: the resource's own, or that of a job while it runs."""
    context = call.desk.context
    if hmac.compare_digest(access_key.encode(), claim.access_key(context.id).encode()):
        return claim.secret_key(context.keys)
    job = claim.job_of(access_key, context.id)
    try:
        if job:
            await call.desk.hybrid.check_runs(job)
            call.hybrid = job
            return claim.job_secret_key(job, context.keys)
    except SkerryError as error:
        raise S3Error("InvalidAccessKeyId", error.what) from error
    raise S3Error("InvalidAccessKeyId", "The access key is not of this resource.")


async def _decode(call: Call, payload: str, seal: chunks.Seal) -> None:
    """Take a body's chunks for the body, each of them signed unless the payload says otherwise."""
    length = call.headers.get("x-amz-decoded-content-length", "")
    if not (length.isascii() and length.isdigit()):
        raise S3Error("MissingContentLength", "x-amz-decoded-content-length is missing.")
    if payload not in (chunks.SIGNED, chunks.SIGNED_TRAILER, chunks.UNSIGNED_TRAILER):
        raise S3Error("NotImplemented", f"{payload[:60]} is not supported.")
    own = None if payload == chunks.UNSIGNED_TRAILER else seal
    decoder = chunks.Decoder(int(length), own, payload == chunks.SIGNED_TRAILER)
    found = decoder.feed(await call.body())
    decoder.finish()
    call.replace(b"".join(found))


async def _check_body(call: Call, stated: str) -> None:
    if (
        stated == sigv4.UNSIGNED
        or stated.startswith(chunks.STREAMING)
        or call.method in ("GET", "HEAD")
    ):
        return
    if hashlib.sha256(await call.body()).hexdigest() != stated:
        raise S3Error("XAmzContentSHA256Mismatch", "The body is not what was signed.")
