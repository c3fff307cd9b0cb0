"""Encrypting contents at rest: AES-256 in counter mode, each piece under a key of its own.

A piece's key is HMAC-SHA-256 of the object's key and the piece's random nonce, so no key stream is
ever used twice; what is read is covered by the SHA-256 under which the encrypted file is kept.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from skerry.kernel.clock import SystemEntropy
from skerry.kernel.keys import Keys
from skerry.kinds.bucket.state.records import Encryption

NONCE_BYTES = 16
_BLOCK = 16


class Key(NamedTuple):
    """The key of an object; `hides_digest`: its entity tag must not be the MD5 of what it hides."""

    secret: bytes
    hides_digest: bool = True


def new_nonce() -> bytes:
    """Return a nonce for a new piece."""
    return SystemEntropy().bytes(NONCE_BYTES)


def stream(key: Key, nonce: bytes, offset: int = 0) -> CipherContext:
    """Return what encrypts, and decrypts, a piece from a byte offset on."""
    piece_key = hmac.digest(key.secret, nonce, hashlib.sha256)
    start = (offset // _BLOCK).to_bytes(_BLOCK, "big")
    context = Cipher(algorithms.AES256(piece_key), modes.CTR(start)).encryptor()
    context.update(bytes(offset % _BLOCK))
    return context


def etag(key: Key | None, md5: bytes) -> str:
    """Return the entity tag of a content: of the same content and key always the same."""
    if key is None or not key.hides_digest:
        return md5.hex()
    return hmac.digest(key.secret, b"etag" + md5, hashlib.sha256)[:16].hex()


def own_key(keys: Keys, encryption: Encryption) -> Key:
    """Return the key of an object that Skerry encrypts; every branch can derive it."""
    purpose = "sse-s3" if encryption.mode == "AES256" else f"sse-kms:{encryption.key}"
    secret = hashlib.sha256(keys.shared(purpose).encode()).digest()
    return Key(secret, hides_digest=encryption.mode != "AES256")


def fingerprint(key: bytes, salt: bytes) -> bytes:
    """Return what tells a customer's right key from a wrong one, and nothing else about it."""
    return salt + hmac.digest(salt, key, hashlib.sha256)


def fits(key: bytes, known: bytes) -> bool:
    """Tell whether a fingerprint is that of a key."""
    return hmac.compare_digest(fingerprint(key, known[:NONCE_BYTES]), known)
