"""Finding out who sent a request: a signature in the header or in the query, or nobody."""

from __future__ import annotations

from dataclasses import replace

from skerry.kinds._shared.s3 import chunks, sigv2, sigv4
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.account import ANONYMOUS, Account, Identity
from skerry.kinds.bucket.wire.call import Call


def authenticate(call: Call, bucket_in_host: bool) -> None:
    """Set the call's identity; raise S3Error if a presented signature is not right."""
    authorization = call.headers.get("authorization")
    if authorization is not None:
        if authorization.startswith(f"{sigv4.ALGORITHM} "):
            _version_4(call, sigv4.from_header(call.request, authorization))
        elif authorization.startswith("AWS "):
            access_key, _, signature = authorization[4:].partition(":")
            _version_2(call, access_key, signature, None, bucket_in_host)
        else:
            raise S3Error("InvalidArgument", "Unsupported Authorization Type")
    elif "X-Amz-Algorithm" in call.query:
        if call.query["X-Amz-Algorithm"] != sigv4.ALGORITHM:
            raise S3Error("AuthorizationQueryParametersError", "Unsupported X-Amz-Algorithm.")
        _version_4(call, sigv4.from_query(call.request, dict(call.query), call.now))
    elif "AWSAccessKeyId" in call.query:
        query = call.query
        expires = query.get("Expires", "")
        _version_2(
            call, query["AWSAccessKeyId"], query.get("Signature", ""), expires, bucket_in_host
        )
    else:
        call.identity = ANONYMOUS
        call.payload = call.headers.get("x-amz-content-sha256", sigv4.UNSIGNED)


def identify(account: Account, access_key: str) -> Identity:
    """Return the user of an access key; raise InvalidAccessKeyId."""
    found = account.identities.get(access_key)
    if found is None:
        raise S3Error(
            "InvalidAccessKeyId",
            "The AWS Access Key Id you provided does not exist in our records.",
            fields={"AWSAccessKeyId": access_key},
        )
    return found


def _version_4(call: Call, signed: sigv4.Signed) -> None:
    identity = identify(call.account, signed.credential.access_key)
    if signed.credential.service != "s3":
        raise S3Error("AuthorizationHeaderMalformed", "The credential is for another service.")
    if not signed.query:
        sigv4.check_skew(signed, call.now)
    key = sigv4.verify(call.request, signed, identity.secret)
    call.payload = signed.payload
    known = (sigv4.UNSIGNED, chunks.SIGNED, chunks.SIGNED_TRAILER, chunks.UNSIGNED_TRAILER)
    if signed.payload not in known and not _is_digest(signed.payload):
        raise S3Error("InvalidArgument", "x-amz-content-sha256 must be a digest or a known word.")
    if signed.payload.startswith(chunks.STREAMING):
        scope = signed.credential.scope
        call.seal = chunks.Seal(key, signed.timestamp, scope, signed.signature)
    call.identity = identity


def _is_digest(text: str) -> bool:
    return len(text) == 64 and all(each in "0123456789abcdefABCDEF" for each in text)


def _version_2(
    call: Call, access_key: str, signature: str, expires: str | None, bucket_in_host: bool
) -> None:
    if not call.account.config.signature_v2:
        raise S3Error(
            "InvalidRequest",
            "The authorization mechanism you have provided is not supported. "
            "Please use AWS4-HMAC-SHA256.",
        )
    identity = identify(call.account, access_key)
    bucket = call.bucket_name if bucket_in_host else ""
    # Unlike version 4 it signs the bucket and the key, and no path of an endpoint before these.
    request = replace(call.request, path=call.request.path.removeprefix(call.prefix))
    sigv2.verify(request, bucket, identity.secret, signature, expires, call.now)
    call.identity = identity
    call.payload = call.headers.get("x-amz-content-sha256", sigv4.UNSIGNED)
