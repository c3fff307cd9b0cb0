"""AWS Signature Version 4, made and verified: in headers, queries, chunks and POST policies.

Source: Amazon S3 API Reference, "Authenticating Requests (AWS Signature Version 4)". Nothing here
reads a clock or a secret by itself; the caller looks both up.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote_plus, unquote_to_bytes

from skerry.kinds._shared.s3 import times
from skerry.kinds._shared.s3.errors import S3Error

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
SKEW_NS = 15 * 60 * times.NANOSECONDS
EXPIRES_SECONDS_MAX = 7 * 24 * 3600
_DIGITS_MAX = 12
_CREDENTIAL_MAX = 512
_SPACES = re.compile(r" +")
_UNRESERVED = "-_.~"


@dataclass(frozen=True, slots=True)
class Request:
    """The signed parts of a request; header names are lower-case, `path` and `query` are raw."""

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]

    def header(self, name: str) -> str | None:
        """Return the first header of that name."""
        return next((value for key, value in self.headers if key == name), None)


@dataclass(frozen=True, slots=True)
class Credential:
    """Who signs, and for what: access key, date (yyyymmdd), region and service."""

    access_key: str
    date: str
    region: str
    service: str

    @property
    def scope(self) -> str:
        """The scope as the string to sign holds it."""
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature as presented, before it is verified."""

    credential: Credential
    headers: tuple[str, ...]
    signature: str
    timestamp: str
    payload: str
    query: bool


def parse_credential(text: str) -> Credential:
    """Read `<access key>/<date>/<region>/<service>/aws4_request`; raise S3Error."""
    parts = text.rsplit("/", 4)
    if (
        len(text) > _CREDENTIAL_MAX
        or len(parts) != 5
        or parts[4] != "aws4_request"
        or not all(parts[:2])
    ):
        raise S3Error("AuthorizationHeaderMalformed", "The credential is malformed.")
    return Credential(parts[0], parts[1], parts[2], parts[3])


def from_header(request: Request, authorization: str) -> Signed:
    """Read the signature of an Authorization header; raise S3Error."""
    fields = {}
    for item in authorization.partition(" ")[2].split(","):
        name, _, value = item.strip().partition("=")
        fields[name] = value
    if not all(fields.get(name) for name in ("Credential", "SignedHeaders", "Signature")):
        raise S3Error("AuthorizationHeaderMalformed", "The authorization header is malformed.")
    payload = request.header("x-amz-content-sha256")
    if payload is None:
        raise S3Error("InvalidRequest", "Missing required header x-amz-content-sha256.")
    return Signed(
        parse_credential(fields["Credential"]),
        tuple(fields["SignedHeaders"].lower().split(";")),
        fields["Signature"],
        _timestamp(request),
        payload,
        query=False,
    )


def from_query(request: Request, parameters: dict[str, str], now_ns: int) -> Signed:
    """Read the signature of a presigned URL; raise S3Error, also when it has expired."""

    def need(name: str) -> str:
        if name in parameters:
            return parameters[name]
        raise S3Error("AuthorizationQueryParametersError", f"Query parameter {name} is missing.")

    credential = parse_credential(need("X-Amz-Credential"))
    timestamp, expires = need("X-Amz-Date"), need("X-Amz-Expires")
    if not expires.isascii() or not expires.isdigit() or not int(expires[:_DIGITS_MAX]) > 0:
        raise S3Error("AccessDenied", "X-Amz-Expires must be positive.")
    if len(expires) > _DIGITS_MAX or int(expires) > EXPIRES_SECONDS_MAX:
        raise S3Error("AccessDenied", "X-Amz-Expires must be at most a week.")
    start = _moment(timestamp)
    if now_ns > start + int(expires) * times.NANOSECONDS:
        raise S3Error("AccessDenied", "Request has expired.")
    if start > now_ns + SKEW_NS:
        raise S3Error("AccessDenied", "Request is not yet valid.")
    payload = parameters.get("X-Amz-Content-Sha256") or request.header("x-amz-content-sha256")
    headers = tuple(need("X-Amz-SignedHeaders").lower().split(";"))
    return Signed(
        credential, headers, need("X-Amz-Signature"), timestamp, payload or UNSIGNED, query=True
    )


def check_skew(signed: Signed, now_ns: int) -> None:
    """Raise RequestTimeTooSkewed if a header signature is not of now."""
    if abs(_moment(signed.timestamp) - now_ns) > SKEW_NS:
        raise S3Error(
            "RequestTimeTooSkewed",
            "The difference between the request time and the current time is too large.",
            fields={"RequestTime": signed.timestamp, "ServerTime": times.iso(now_ns)},
        )


def verify(request: Request, signed: Signed, secret: str) -> bytes:
    """Raise SignatureDoesNotMatch, or return the signing key, with which chunks are signed."""
    names = frozenset(signed.headers)
    if "host" not in names:
        raise S3Error("AccessDenied", "The host header must be signed.")
    if len(names) < len(signed.headers):
        raise S3Error("AuthorizationHeaderMalformed", "A header is named as signed twice.")
    for name, _ in request.headers:
        if name.startswith("x-amz-") and name not in names and not signed.query:
            raise S3Error(
                "AccessDenied",
                "There were headers present in the request which were not signed",
                fields={"HeadersNotSigned": name},
            )
    canonical = canonical_request(request, signed)
    credential = signed.credential
    if not signed.timestamp.startswith(credential.date):
        raise S3Error("SignatureDoesNotMatch", "The credential's date is not the request's.")
    key = signing_key(secret, credential.date, credential.region, credential.service)
    text = string_to_sign(signed.timestamp, credential.scope, canonical)
    if not hmac.compare_digest(_hex(key, text), signed.signature.encode("utf-8", "replace")):
        raise S3Error(
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. "
            "Check your key and signing method.",
            fields={"StringToSign": text, "CanonicalRequest": canonical},
        )
    return key


def string_to_sign(timestamp: str, scope: str, canonical: str) -> str:
    """Return what the signature of a request is over."""
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return f"{ALGORITHM}\n{timestamp}\n{scope}\n{digest}"


def canonical_request(request: Request, signed: Signed) -> str:
    """Return the canonical form of a request."""
    values: dict[str, list[str]] = {name: [] for name in signed.headers}
    for name, value in request.headers:
        if name in values:
            values[name].append(_SPACES.sub(" ", value.strip()))
    missing = [name for name, found in values.items() if not found]
    if missing and missing != ["content-length"]:
        raise S3Error("SignatureDoesNotMatch", f"Signed header {missing[0]} is missing.")
    lines = "".join(f"{name}:{','.join(found)}\n" for name, found in values.items())
    query = canonical_query(request.query, without="X-Amz-Signature" if signed.query else "")
    return "\n".join(
        (
            request.method,
            quote(unquote_to_bytes(request.path), safe=f"/{_UNRESERVED}"),
            query,
            lines,
            ";".join(signed.headers),
            signed.payload,
        )
    )


def canonical_query(query: str, without: str = "") -> str:
    """Return a raw query sorted and encoded in the one way that is signed."""
    pairs = []
    for item in query.split("&"):
        name, _, value = item.partition("=")
        name = _encode(unquote_plus(name))
        if item and name != without:
            pairs.append((name, _encode(unquote_plus(value))))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


@functools.lru_cache(maxsize=256)
def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """Return the key of a day, a region and a service."""
    key = f"AWS4{secret}".encode()
    for step in (date, region, service, "aws4_request"):
        key = hmac.digest(key, step.encode(), hashlib.sha256)
    return key


def signature(key: bytes, text: str) -> str:
    """Return the signature of a string to sign."""
    return _hex(key, text).decode()


def verify_policy(policy: str, fields: dict[str, str], secret: str) -> None:
    """Raise SignatureDoesNotMatch unless a POST form's policy (base64 text) is signed."""
    credential = parse_credential(fields.get("x-amz-credential", ""))
    key = signing_key(secret, credential.date, credential.region, credential.service)
    given = fields.get("x-amz-signature", "").encode("utf-8", "replace")
    if not hmac.compare_digest(_hex(key, policy), given):
        raise S3Error("SignatureDoesNotMatch", "The policy's signature does not match.")


def sign(
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    credential: tuple[str, str],
    payload: str,
    now_ns: int,
    region: str = "us-east-1",
) -> dict[str, str]:
    """Return the headers, all signed, with what the signature adds; `headers` name the host.

    `credential` is access key and secret; `payload` is the SHA-256 of the body, or what S3 writes
    there instead.
    """
    stamp = times.moment(now_ns).strftime("%Y%m%dT%H%M%SZ")
    scope = Credential(credential[0], stamp[:8], region, "s3")
    whole = {**headers, "x-amz-content-sha256": payload, "x-amz-date": stamp}
    names = tuple(sorted(whole))
    request = Request(method, path, query, tuple(whole.items()))
    signed = Signed(scope, names, "", stamp, payload, query=False)
    text = string_to_sign(stamp, scope.scope, canonical_request(request, signed))
    key = signing_key(credential[1], stamp[:8], region, "s3")
    whole["authorization"] = (
        f"{ALGORITHM} Credential={credential[0]}/{scope.scope}, "
        f"SignedHeaders={';'.join(names)}, Signature={signature(key, text)}"
    )
    return whole


def presign(
    method: str,
    host: str,
    path: str,
    credential: tuple[str, str],
    now_ns: int,
    expires_seconds: int,
    query: Iterable[tuple[str, str]] = (),
    region: str = "us-east-1",
) -> str:
    """Return `path?query` of a presigned URL; `credential` is access key and secret."""
    stamp = times.moment(now_ns).strftime("%Y%m%dT%H%M%SZ")
    scope = Credential(credential[0], stamp[:8], region, "s3")
    pairs = [
        *query,
        ("X-Amz-Algorithm", ALGORITHM),
        ("X-Amz-Credential", f"{credential[0]}/{scope.scope}"),
        ("X-Amz-Date", stamp),
        ("X-Amz-Expires", str(expires_seconds)),
        ("X-Amz-SignedHeaders", "host"),
    ]
    encoded = "&".join(f"{_encode(name)}={_encode(value)}" for name, value in pairs)
    request = Request(method, path, encoded, (("host", host),))
    signed = Signed(scope, ("host",), "", stamp, UNSIGNED, query=True)
    text = string_to_sign(stamp, scope.scope, canonical_request(request, signed))
    key = signing_key(credential[1], stamp[:8], region, "s3")
    return f"{path}?{encoded}&X-Amz-Signature={_hex(key, text).decode()}"


def _timestamp(request: Request) -> str:
    stamp = request.header("x-amz-date")
    if stamp is not None:
        return stamp
    date = request.header("date")
    if not date:
        raise S3Error("AccessDenied", "A valid date is required: x-amz-date or date.")
    try:
        return times.moment(times.parse_http_date(date)).strftime("%Y%m%dT%H%M%SZ")
    except ValueError as error:
        raise S3Error("AccessDenied", "The date header cannot be read.") from error


def _moment(stamp: str) -> int:
    try:
        return times.parse_basic(stamp)
    except ValueError as error:
        raise S3Error("AccessDenied", "x-amz-date is not of the form yyyymmddThhmmssZ.") from error


def _encode(text: str) -> str:
    return quote(text, safe=_UNRESERVED)


def _hex(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), hashlib.sha256).hex().encode()
