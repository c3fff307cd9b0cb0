"""Tokens: JSON Web Tokens that an address signs (ES256K, and ES256KADR36 of browser wallets).

There are two. A **lease token** is Akash's: it lets its holder do what its scopes say with the
leases of its issuer, as often as it likes until it expires. A **message token** is ours: it covers
the digest of one request to one market, and is good once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

from skerry.kernel.clock import NANOSECONDS, Clock, Entropy
from skerry.kernel.errors import DENIED, UNAUTHENTICATED, SkerryError
from skerry.market.identity.keys import Wallet, is_address, signed_by

SCOPES = (
    "send-manifest",
    "get-manifest",
    "logs",
    "shell",
    "events",
    "status",
    "restart",
    "hostname-migrate",
    "ip-migrate",
    "attestation",
)
TOKEN_BYTES_MAX = 16 * 1024
MESSAGE_SECONDS = 60
LEASE_SECONDS = 15 * 60
SKEW_SECONDS = 30
SEEN_MAX = 100_000
_ALGORITHMS = ("ES256K", "ES256KADR36")


class Deployments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a granular permission says of a deployment."""

    dseq: int
    scope: list[str]
    services: list[str] = []
    gseq: int = 0
    oseq: int = 0


class Permission(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a token allows at one provider."""

    provider: str
    access: str
    scope: list[str] = []
    deployments: list[Deployments] = []


class Leases(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a token allows."""

    access: str
    scope: list[str] = []
    permissions: list[Permission] = []


class LeaseClaims(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The claims of a lease token; times are seconds since 1970."""

    iss: str
    iat: int
    nbf: int
    exp: int
    version: str
    leases: Leases
    jti: str = ""

    def allow(
        self, scope: str, provider: str, dseq: int, gseq: int = 0, oseq: int = 0, service: str = ""
    ) -> bool:
        """Tell whether the token covers an action on a lease."""
        if self.leases.access == "full":
            return True
        if self.leases.access == "scoped":
            return scope in self.leases.scope
        for each in self.leases.permissions:
            if each.provider != provider:
                continue
            if each.access == "full" or (each.access == "scoped" and scope in each.scope):
                return True
            if each.access == "granular":
                return any(
                    one.dseq == dseq
                    and scope in one.scope
                    and one.gseq in (0, gseq)
                    and one.oseq in (0, oseq)
                    and (not service or service in one.services)
                    for one in each.deployments
                )
        return False


class MessageClaims(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The claims of a message token: one request, by its digest, to one market."""

    iss: str
    aud: str
    iat: int
    exp: int
    jti: str
    digest: str


def lease_token(wallet: Wallet, clock: Clock, leases: Leases | None = None) -> str:
    """Return a lease token of a wallet; without a limit it allows everything."""
    now = clock.now() // NANOSECONDS
    full = leases or Leases("full")
    claims = LeaseClaims(wallet.address, now, now, now + LEASE_SECONDS, "v1", full)
    return _sign(wallet, claims)


def message_token(wallet: Wallet, clock: Clock, entropy: Entropy, market: str, body: bytes) -> str:
    """Return the token of one request."""
    now = clock.now() // NANOSECONDS
    digest = hashlib.sha256(body).hexdigest()
    number = entropy.bytes(16).hex()
    claims = MessageClaims(wallet.address, market, now, now + MESSAGE_SECONDS, number, digest)
    return _sign(wallet, claims)


def read_lease_token(text: str, clock: Clock) -> LeaseClaims:
    """Return the claims of a lease token; raise UNAUTHENTICATED if it is not good now."""
    now = clock.now() // NANOSECONDS

    def check(claims: LeaseClaims) -> None:
        if claims.version != "v1":
            raise _bad(f"its version is {claims.version!r}, not v1")
        if not claims.nbf <= claims.iat <= claims.exp:
            raise _bad("its times contradict each other")
        _check_times(claims.nbf, claims.exp, now)
        _check_access(claims.leases)

    claims: LeaseClaims = _read(text, LeaseClaims, check)
    return claims


class MessageTokens:
    """Reads message tokens, each once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[str, int] = {}

    def read(self, text: str, market: str, body: bytes) -> str:
        """Return who signed a request; raise UNAUTHENTICATED, or DENIED if it came before."""
        now = self._clock.now() // NANOSECONDS

        def check(claims: MessageClaims) -> None:
            _check_times(claims.iat, claims.exp, now)
            if claims.exp - claims.iat > MESSAGE_SECONDS:
                raise _bad(f"it is good for more than {MESSAGE_SECONDS} s")
            if claims.aud != market:
                raise _bad(f"it is for {claims.aud[:80]}, not for this market ({market})")
            if claims.digest != hashlib.sha256(body).hexdigest():
                raise _bad("it covers another body")

        claims: MessageClaims = _read(text, MessageClaims, check)
        self._forget(now)
        key = f"{claims.iss}/{claims.jti}"
        if key in self._seen:
            raise DENIED("This request came before.", why="A message token is good once.")
        if len(self._seen) >= SEEN_MAX:
            raise DENIED("Too many requests came within a minute.")
        self._seen[key] = claims.exp
        return claims.iss

    def _forget(self, now: int) -> None:
        """Forget tokens that have expired; they were seen in about the order of their times."""
        while self._seen:
            oldest = next(iter(self._seen))
            if self._seen[oldest] + SKEW_SECONDS >= now:
                return
            del self._seen[oldest]


def _sign(wallet: Wallet, claims: msgspec.Struct) -> str:
    head = _encode(msgspec.json.encode({"alg": "ES256K", "typ": "JWT"}))
    data = f"{head}.{_encode(msgspec.json.encode(claims))}"
    return f"{data}.{_encode(wallet.sign(data.encode()))}"


def _read(text: str, wanted: type[Any], check: Callable[[Any], None]) -> Any:
    """Return the claims of a token whose signature is its issuer's.

    What is cheap to check comes first: the signature costs milliseconds.
    """
    if len(text) > TOKEN_BYTES_MAX or not text.isascii() or text.count(".") != 2:
        raise _bad("it has not three parts")
    data, _, tail = text.rpartition(".")
    head, _, body = data.partition(".")
    try:
        algorithm = msgspec.json.decode(_decode(head), type=dict[str, str]).get("alg", "")
        claims = msgspec.json.decode(_decode(body), type=wanted)
        signature = _decode(tail)
    except (binascii.Error, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _bad(f"it cannot be read ({str(error)[:120]})") from error
    if algorithm not in _ALGORITHMS:
        raise _bad(f"its algorithm is {algorithm[:20]!r}, not ES256K")
    if not is_address(claims.iss):
        raise _bad("its issuer is no address")
    check(claims)
    signed = data.encode() if algorithm == "ES256K" else _arbitrary(claims.iss, data.encode())
    if not signed_by(claims.iss, signed, signature):
        raise _bad("its signature is not its issuer's")
    return claims


def _arbitrary(signer: str, data: bytes) -> bytes:
    """Return what a browser wallet signs in place of the data (ADR 36 of the Cosmos SDK)."""
    message = {"data": base64.b64encode(data).decode(), "signer": signer}
    return msgspec.json.encode(
        {
            "account_number": "0",
            "chain_id": "",
            "fee": {"amount": [], "gas": "0"},
            "memo": "",
            "msgs": [{"type": "sign/MsgSignData", "value": message}],
            "sequence": "0",
        }
    )


def _check_times(start: int, end: int, now: int) -> None:
    if now < start - SKEW_SECONDS:
        raise _bad("it is not yet good; is the clock right?")
    if now > end + SKEW_SECONDS:
        raise _bad("it has expired")


def _check_access(leases: Leases) -> None:
    scopes = [*leases.scope, *(s for p in leases.permissions for s in p.scope)]
    scopes += [s for p in leases.permissions for d in p.deployments for s in d.scope]
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown:
        raise _bad(f"{unknown[0][:40]!r} is no scope")
    if leases.access not in ("full", "scoped", "granular"):
        raise _bad(f"{leases.access[:40]!r} is no access")
    providers = [each.provider for each in leases.permissions]
    if len(set(providers)) != len(providers):
        raise _bad("it names a provider twice")


def _bad(why: str) -> SkerryError:
    return UNAUTHENTICATED("The token is not good.", why=f"The reason: {why}.")


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
