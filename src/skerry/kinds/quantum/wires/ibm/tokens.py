"""Access tokens as IBM's IAM gives them out: a signed JWT (RFC 7519) for the resource's token."""

from __future__ import annotations

import base64
import hashlib
import hmac

import msgspec

from skerry.kernel.kind import Context

SECONDS = 3600
_HEAD = {"alg": "HS256", "typ": "JWT"}
_NANOSECONDS = 1_000_000_000


def issue(context: Context) -> dict[str, object]:
    """Return what IAM answers: an access token and when it ends."""
    now = context.clock.now() // _NANOSECONDS
    claims = {"sub": context.id, "iat": now, "exp": now + SECONDS}
    signed = f"{_encoded(_HEAD)}.{_encoded(claims)}"
    return {
        "access_token": f"{signed}.{_signature(context, signed)}",
        "refresh_token": "not_supported",
        "token_type": "Bearer",
        "expires_in": SECONDS,
        "expiration": now + SECONDS,
        "scope": "ibm openid",
    }


def opens(context: Context, token: str) -> bool:
    """Tell whether an access token was issued for this resource and has not ended."""
    signed, _, signature = token.rpartition(".")
    if not hmac.compare_digest(_signature(context, signed).encode(), signature.encode()):
        return False
    body = signed.partition(".")[2]
    claims = msgspec.json.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    now = context.clock.now() // _NANOSECONDS
    return bool(claims["sub"] == context.id and now < claims["exp"])


def _signature(context: Context, text: str) -> str:
    key = context.keys.secret("ibm-access-token", 42).encode()
    return _plain(hmac.digest(key, text.encode(), hashlib.sha256))


def _encoded(found: object) -> str:
    return _plain(msgspec.json.encode(found))


def _plain(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
