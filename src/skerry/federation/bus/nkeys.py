"""NATS' keys and tokens (nkeys and JWT, version 2), made from Ed25519 keys that exist already.

A node's own key is the operator that its server trusts; nothing else signs for it. An account that
nobody signs for but by signing keys needs no key of its own: its name is a digest, for which nobody
has a private key. So nodes that name the same account need no secret in common.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any, Protocol

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from skerry.federation.identity import public_bytes

OPERATOR, ACCOUNT, USER = 14 << 3, 0, 20 << 3
_SEED = 18 << 3
_HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}
_UNLIMITED = -1


class Signer(Protocol):
    """Who signs: a node's identity, or a key that was made for a while."""

    public_key: bytes

    def sign(self, data: bytes) -> bytes:
        """Return the 64 bytes of a signature (RFC 8032)."""
        ...


class Key:
    """A user's key, made for as long as a server runs."""

    def __init__(self, private_key: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(private_key)
        self.private_key = private_key
        self.public_key = public_bytes(self._key.public_key())

    def __repr__(self) -> str:
        return f"Key({encode(USER, self.public_key)})"

    def sign(self, data: bytes) -> bytes:
        """See `Signer.sign`."""
        return self._key.sign(data)


def credentials(token: str, key: Key) -> str:
    """Return a user's token and private key as a file that nats-server reads."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed(USER, key.private_key)}\n"
        "------END USER NKEY SEED------\n"
    )


def encode(kind: int, public_key: bytes) -> str:
    """Return a public key as NATS writes it: its kind's letter, then base32 with a CRC-16."""
    return _armoured(bytes([kind]) + public_key)


def seed(kind: int, private_key: bytes) -> str:
    """Return the 32 bytes of a private key as NATS writes them."""
    return _armoured(bytes([_SEED | kind >> 5, (kind & 31) << 3]) + private_key)


def _armoured(data: bytes) -> str:
    checksum = binascii.crc_hqx(data, 0).to_bytes(2, "little")
    return base64.b32encode(data + checksum).decode().rstrip("=")


def nobodys(name: str) -> bytes:
    """Return a public key that belongs to a name, and to which nobody has the private key."""
    return hashlib.sha256(f"skerry account without a key: {name}".encode()).digest()


def operator_token(signer: Signer, system_account: str) -> str:
    """Return the token with which a server trusts an operator."""
    name = encode(OPERATOR, signer.public_key)
    return _token(signer, OPERATOR, "operator", name, {"system_account": system_account})


def account_token(
    operator: Signer, account: str, signing: list[str], *, store_bytes: int = 0
) -> str:
    """Return an account's token: who may sign for its users, and how much it may keep."""
    names = ("subs", "data", "payload", "imports", "exports", "conn", "leaf")
    limits = dict.fromkeys(names, _UNLIMITED)
    limits |= {"wildcards": True, "mem_storage": 0, "disk_storage": store_bytes}
    if store_bytes:
        limits |= {"streams": _UNLIMITED, "consumer": _UNLIMITED, "mem_storage": _UNLIMITED}
    claims = {"limits": limits, "signing_keys": signing}
    return _token(operator, OPERATOR, "account", account, claims)


def user_token(signer: Signer, account: str, user: str, subjects: list[str] | None = None) -> str:
    """Return a user's token, for these subjects only if they are given."""
    allowed = {"allow": subjects} if subjects is not None else {}
    claims: dict[str, Any] = {
        "issuer_account": account,
        "pub": allowed,
        "sub": allowed,
        "subs": _UNLIMITED,
        "data": _UNLIMITED,
        "payload": _UNLIMITED,
    }
    return _token(signer, ACCOUNT, "user", user, claims)


def _token(signer: Signer, signs_as: int, sort: str, subject: str, claims: dict[str, Any]) -> str:
    """Return a signed token that says these claims of a subject."""
    payload = {
        "iat": 0,
        "iss": encode(signs_as, signer.public_key),
        "name": subject,
        "sub": subject,
        "nats": {**claims, "type": sort, "version": 2},
    }
    payload["jti"] = base64.b32encode(hashlib.sha256(_json(payload)).digest()).decode().rstrip("=")
    signed = f"{_text(_json(_HEADER))}.{_text(_json(payload))}"
    return f"{signed}.{_text(signer.sign(signed.encode()))}"


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value, order="sorted")


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
