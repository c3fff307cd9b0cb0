"""An ID token, verified as OpenID Connect Core 1.0 (3.1.3.7) says, and what it tells of groups."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from skerry.kernel.errors import EXTRA_MISSING, UNAUTHENTICATED

ALGORITHMS = ("RS256", "PS256", "ES256", "RS384", "PS384", "ES384", "RS512", "PS512", "EdDSA")
"""Signatures by key pairs only: a provider's public key must never pass as a shared secret."""

LEEWAY_SECONDS = 60
AGE_SECONDS_MAX = 600
GROUPS_MAX = 1000
KEYS_MAX = 100
TOKEN_LETTERS_MAX = 1 << 16


class UnknownKeyError(Exception):
    """No key of the provider's set has made the signature: the set may have changed."""


def verified(
    token: str,
    keys: Mapping[str, Any],
    *,
    issuer: str,
    client: str,
    nonce: str,
    now: int,
) -> dict[str, Any]:
    """Return the claims of an ID token; `keys` is a JWK set, `now` is in seconds since 1970.

    Raises UNAUTHENTICATED, and `UnknownKeyError` if the token names a key that is not in the set.
    """
    jose = library()
    if len(token) > TOKEN_LETTERS_MAX:
        raise _refused("it is too long")
    try:
        found = jose.jwt.decode(token, _signing(jose, keys), ALGORITHMS)
        claims: dict[str, Any] = dict(found.claims)
        registry = jose.jwt.JWTClaimsRegistry(
            now=now,
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": issuer},
            sub={"essential": True},
            aud={"essential": True, "value": client},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        registry.validate(claims)
    except jose.errors.InvalidKeyIdError as error:
        raise UnknownKeyError from error
    except (jose.errors.JoseError, ValueError, TypeError, KeyError) as error:
        raise _refused(_said(error)) from error
    _check_more(claims, client, now)
    return claims


def _signing(jose: ModuleType, keys: Mapping[str, Any]) -> Any:
    """Return the keys of a set that signatures are made with; sets hold others too."""
    listed = keys.get("keys")
    kept = [
        each
        for each in (listed if isinstance(listed, list) else ())[:KEYS_MAX]
        if isinstance(each, dict)
        and each.get("kty") in ("RSA", "EC", "OKP")
        and each.get("use", "sig") == "sig"
    ]
    return jose.jwk.KeySet.import_key_set({"keys": kept})


def _check_more(claims: Mapping[str, Any], client: str, now: int) -> None:
    """Check what the library does not: whom else the token is for, its age, and its subject."""
    audience = claims["aud"]
    if isinstance(audience, list) and len(audience) > 1 and claims.get("azp") != client:
        raise _refused("it is for others too, and not said to be asked for by this node")
    if claims.get("azp", client) != client:
        raise _refused("it was asked for by somebody else")
    if not isinstance(claims["iat"], int) or now - claims["iat"] > AGE_SECONDS_MAX:
        raise _refused("it is too old")
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= 255:
        raise _refused("it names nobody")


def groups_in(claims: Mapping[str, Any], path: str) -> list[str] | None:
    """Return the groups at a path of names with dots; None if nothing stands there."""
    found: Any = claims.get(path)
    if found is None:
        found = claims
        for name in path.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
    if isinstance(found, str):
        return [found]
    if isinstance(found, list):
        return [each for each in found[:GROUPS_MAX] if isinstance(each, str)]
    return None


def _said(error: Exception) -> str:
    """Return what is wrong with a token, without anything that stands in it."""
    name = getattr(error, "error", "") or type(error).__name__
    claim = getattr(error, "claim", "")
    return f"{name}: {claim}" if claim else str(name)


def _refused(why: str) -> Exception:
    return UNAUTHENTICATED(
        "The identity provider's word does not hold.", why=f"Its ID token: {why}."
    )


def library() -> ModuleType:
    """Return the library; raise EXTRA_MISSING without it."""
    try:
        import joserfc as found  # noqa: PLC0415 (an extra)
        import joserfc.errors  # noqa: PLC0415
        import joserfc.jwk  # noqa: PLC0415
        import joserfc.jwt  # noqa: PLC0415
    except ImportError as error:
        raise EXTRA_MISSING(
            "An identity provider needs the package joserfc.", hint="pip install 'skerry[identity]'"
        ) from error
    made: ModuleType = found
    return made
