"""The provider: where it answers, its keys, and codes exchanged for what it says of somebody.

Authorization code with PKCE (RFC 7636). What is known of the provider is asked for again after an
hour, and its keys also when a token names one that is not known. Everything here blocks.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from skerry.kernel.clock import NANOSECONDS, Clock
from skerry.kernel.errors import CONFIG_INVALID, ENGINE_FAILED, UNAUTHENTICATED
from skerry.node.identity.calls import call, check_url
from skerry.node.identity.claims import ALGORITHMS, UnknownKeyError, groups_in, verified
from skerry.node.identity.settings import IdentityConfig

KNOWN_SECONDS = 3600.0
KEYS_AGAIN_SECONDS = 30.0
_DISCOVERY = "/.well-known/openid-configuration"


@dataclass(frozen=True)
class Known:
    """What discovery says."""

    authorize: str
    token: str
    keys_at: str
    userinfo: str
    posts_secret: bool


@dataclass(frozen=True)
class Person:
    """Somebody, by the provider's word."""

    subject: str
    called: str
    groups: tuple[str, ...]


class Provider:
    """See the module's docstring."""

    def __init__(self, config: IdentityConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._known: tuple[float, Known] | None = None
        self._keys: tuple[float, dict[str, Any]] | None = None

    def __repr__(self) -> str:
        return f"Provider({self._config.issuer})"

    def known(self) -> Known:
        """Return where the provider answers; raises as `call`, and CONFIG_INVALID for another."""
        if self._known is not None and self._age(self._known[0]) < KNOWN_SECONDS:
            return self._known[1]
        issuer = self._config.issuer
        found = self._call(issuer.rstrip("/") + _DISCOVERY)
        if found.get("issuer") != issuer:
            raise CONFIG_INVALID(
                f"[identity] issuer: {issuer} calls itself {str(found.get('issuer'))[:200]!r}.",
                hint="skerry docs identity",
            )
        offered = found.get("id_token_signing_alg_values_supported")
        if isinstance(offered, list) and not set(offered) & set(ALGORITHMS):
            raise CONFIG_INVALID(f"{issuer} signs with none of {', '.join(ALGORITHMS)}.")
        ways = found.get("token_endpoint_auth_methods_supported")
        made = Known(
            authorize=_endpoint(found, "authorization_endpoint"),
            token=_endpoint(found, "token_endpoint"),
            keys_at=_endpoint(found, "jwks_uri"),
            userinfo=_endpoint(found, "userinfo_endpoint", must=False),
            posts_secret=isinstance(ways, list) and "client_secret_basic" not in ways,
        )
        self._known = (self._clock.monotonic(), made)
        return made

    def keys(self, *, again: bool = False) -> dict[str, Any]:
        """Return the provider's set of keys; `again` asks for it anew, but not too often."""
        most = KEYS_AGAIN_SECONDS if again else KNOWN_SECONDS
        if self._keys is None or self._age(self._keys[0]) >= most:
            found = self._call(self.known().keys_at)
            self._keys = (self._clock.monotonic(), found)
        return self._keys[1]

    def address(self, redirect: str, state: str, nonce: str, verifier: str) -> str:
        """Return where a browser is sent to log in."""
        said = {
            "response_type": "code",
            "client_id": self._config.client_id,
            "redirect_uri": redirect,
            "scope": " ".join(dict.fromkeys(("openid", *self._config.scopes))),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge_of(verifier),
            "code_challenge_method": "S256",
        }
        at = self.known().authorize
        return f"{at}{'&' if '?' in at else '?'}{urlencode(said)}"

    def person(self, code: str, redirect: str, nonce: str, verifier: str) -> Person:
        """Exchange a code for who somebody is; raises UNAUTHENTICATED, and as `call`."""
        answer = self._exchange(code, redirect, verifier)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise UNAUTHENTICATED("The identity provider sent no ID token.")
        claims = self._verified(token, nonce)
        groups = groups_in(claims, self._config.groups_claim)
        if groups is None:
            groups = groups_in(self._userinfo(answer, claims), self._config.groups_claim)
        names = ("preferred_username", "email", "name", "sub")
        called = next(str(claims[each]) for each in names if claims.get(each))
        return Person(claims["sub"], called, tuple(groups or ()))

    def _verified(self, token: str, nonce: str) -> dict[str, Any]:
        for again in (False, True):
            try:
                return verified(
                    token,
                    self.keys(again=again),
                    issuer=self._config.issuer,
                    client=self._config.client_id,
                    nonce=nonce,
                    now=self._clock.now() // NANOSECONDS,
                )
            except UnknownKeyError:
                continue
        raise UNAUTHENTICATED("The ID token is signed with a key that the provider does not name.")

    def _exchange(self, code: str, redirect: str, verifier: str) -> dict[str, Any]:
        config, known = self._config, self.known()
        said = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect,
            "client_id": config.client_id,
            "code_verifier": verifier,
        }
        headers = {}
        secret = self._secret()
        if secret and known.posts_secret:
            said["client_secret"] = secret
        elif secret:
            pair = f"{quote(config.client_id, safe='')}:{quote(secret, safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        try:
            return self._call(known.token, urlencode(said).encode(), headers)
        except Exception as error:
            problem = getattr(error, "problem", None)
            if problem is ENGINE_FAILED:
                raise UNAUTHENTICATED(
                    "The identity provider does not take the code.", why=getattr(error, "why", "")
                ) from error
            raise

    def _userinfo(self, answer: Mapping[str, Any], claims: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the provider says of the same person where ID tokens are kept short."""
        access, at = answer.get("access_token"), self.known().userinfo
        if not at or not isinstance(access, str):
            return {}
        found = self._call(at, None, {"Authorization": f"Bearer {access}"})
        if found.get("sub") != claims["sub"]:
            raise UNAUTHENTICATED("The identity provider speaks of two people at once.")
        return found

    def _secret(self) -> str:
        """Return the client's secret, read every time so that it can be renewed."""
        path = self._config.client_secret_file
        if not path:
            return ""
        try:
            return Path(path).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise CONFIG_INVALID(
                f"[identity] client-secret-file: {path} cannot be read.", why=str(error)
            ) from error

    def _call(
        self, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        return call(url, self._config.ca_file, body, headers)

    def _age(self, then: float) -> float:
        return self._clock.monotonic() - then


def challenge_of(verifier: str) -> str:
    """Return the challenge of a PKCE verifier (RFC 7636, S256)."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _endpoint(found: Mapping[str, Any], name: str, *, must: bool = True) -> str:
    url = found.get(name)
    if url is None and not must:
        return ""
    if not isinstance(url, str):
        raise ENGINE_FAILED(f"The identity provider's discovery has no {name}.")
    check_url(url)
    return url
