"""What leaves this machine: lines of JSON, compressed (gzip), then sealed (AES-256-GCM).

The owner of the bucket can keep it and lose it, but neither read nor change it unnoticed: the key
never leaves, and the object's name is authenticated with its content.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12


class DamageError(Exception):
    """An archived object is not what was archived."""


def seal(rows: Iterable[Any], name: str, key: str) -> tuple[bytes, str]:
    """Return the object that holds some rows, and the SHA-256 of what is in it."""
    lines = [
        json.dumps({"at": row["at"].isoformat(), "metric": row["metric"], "value": row["value"]})
        for row in rows
    ]
    plain = "".join(f"{line}\n" for line in lines).encode()
    nonce = os.urandom(_NONCE_BYTES)
    packed = gzip.compress(plain, 6, mtime=0)
    sealed = AESGCM(_key(key)).encrypt(nonce, packed, name.encode())
    return nonce + sealed, hashlib.sha256(plain).hexdigest()


def unseal(data: bytes, name: str, key: str) -> bytes:
    """Return the lines of an object; raise DamageError if a bit of it is wrong."""
    try:
        packed = AESGCM(_key(key)).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], name.encode())
    except (InvalidTag, ValueError) as error:
        raise DamageError(f"{name} was changed, or was sealed with another key") from error
    return gzip.decompress(packed)


def rows(plain: bytes) -> Iterator[tuple[datetime, str, float]]:
    """Yield the rows in an object's lines."""
    for line in plain.splitlines():
        row = json.loads(line)
        yield datetime.fromisoformat(row["at"]), row["metric"], row["value"]


def _key(text: str) -> bytes:
    return hashlib.sha256(b"offsite_archive " + text.encode()).digest()
