"""Who signed a request, as its head proves it: light, for the engine and for its gate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from skerry.kinds._shared.s3 import chunks, sigv2, sigv4
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.wire.heads import Asked

SecretOf = Callable[[str], str]
"""Returns the secret that goes with an access key; raises InvalidAccessKeyId."""


@dataclass(frozen=True, slots=True)
class Proof:
    """Whose access key has signed (nobody's if it is empty), and how the body is signed."""

    access_key: str = ""
    payload: str = sigv4.UNSIGNED
    seal: chunks.Seal | None = field(default=None, repr=False)


def unknown_key(access_key: str) -> S3Error:
    """Return the error for an access key that nobody has."""
    return S3Error(
        "InvalidAccessKeyId",
        "The AWS Access Key Id you provided does not exist in our records.",
        fields={"AWSAccessKeyId": access_key},
    )


def prove(asked: Asked, secret_of: SecretOf, now: int, *, signature_v2: bool) -> Proof:
    """Return what a head proves; raise S3Error if a presented signature is not right.

    `now` is in nanoseconds since 1970; `signature_v2` tells whether version 2 is accepted.
    """
    authorization = asked.headers.get("authorization")
    query = asked.query
    if authorization is not None:
        if authorization.startswith(f"{sigv4.ALGORITHM} "):
            return _version_4(
                asked, sigv4.from_header(asked.request, authorization), secret_of, now
            )
        if not authorization.startswith("AWS "):
            raise S3Error("InvalidArgument", "Unsupported Authorization Type")
        access_key, _, signature = authorization[4:].partition(":")
        presented = _Version2(access_key, signature, None)
    elif "X-Amz-Algorithm" in query:
        if query["X-Amz-Algorithm"] != sigv4.ALGORITHM:
            raise S3Error("AuthorizationQueryParametersError", "Unsupported X-Amz-Algorithm.")
        return _version_4(asked, sigv4.from_query(asked.request, dict(query), now), secret_of, now)
    elif "AWSAccessKeyId" in query:
        expires = query.get("Expires", "")
        presented = _Version2(query["AWSAccessKeyId"], query.get("Signature", ""), expires)
    else:
        return Proof(payload=_payload(asked))
    if not signature_v2:
        raise S3Error(
            "InvalidRequest",
            "The authorization mechanism you have provided is not supported. "
            "Please use AWS4-HMAC-SHA256.",
        )
    return _version_2(asked, presented, secret_of, now)


def _payload(asked: Asked) -> str:
    return asked.headers.get("x-amz-content-sha256", sigv4.UNSIGNED)


def _version_4(asked: Asked, signed: sigv4.Signed, secret_of: SecretOf, now: int) -> Proof:
    access_key = signed.credential.access_key
    secret = secret_of(access_key)
    if signed.credential.service != "s3":
        raise S3Error("AuthorizationHeaderMalformed", "The credential is for another service.")
    if not signed.query:
        sigv4.check_skew(signed, now)
    key = sigv4.verify(asked.request, signed, secret)
    known = (sigv4.UNSIGNED, chunks.SIGNED, chunks.SIGNED_TRAILER, chunks.UNSIGNED_TRAILER)
    if signed.payload not in known and not _is_digest(signed.payload):
        raise S3Error("InvalidArgument", "x-amz-content-sha256 must be a digest or a known word.")
    seal = None
    if signed.payload.startswith(chunks.STREAMING):
        seal = chunks.Seal(key, signed.timestamp, signed.credential.scope, signed.signature)
    return Proof(access_key, signed.payload, seal)


def _is_digest(text: str) -> bool:
    return len(text) == 64 and all(each in "0123456789abcdefABCDEF" for each in text)


@dataclass(frozen=True, slots=True)
class _Version2:
    """A signature of version 2 as presented; one in a query expires."""

    access_key: str
    signature: str
    expires: str | None


def _version_2(asked: Asked, presented: _Version2, secret_of: SecretOf, now: int) -> Proof:
    secret = secret_of(presented.access_key)
    bucket = asked.bucket if asked.bucket_in_host else ""
    # Unlike version 4 it signs the bucket and the key, and no path of an endpoint before these.
    request = replace(asked.request, path=asked.request.path.removeprefix(asked.prefix))
    sigv2.verify(request, bucket, secret, presented.signature, presented.expires, now)
    return Proof(presented.access_key, _payload(asked))
