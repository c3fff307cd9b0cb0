"""Makes a restic repository on a local disk or in a bucket cheap to open, once it was made.

Each opening of a repository costs half a second of CPU, so that passwords of people cannot be
guessed (scrypt). Tests open hundreds, with passwords of 256 random bits: here the key of a new
repository is sealed anew under the same password with the least of stretching. All else is restic's
own; the format is in its design document, under "Keys, Encryption and MAC".
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, ECB
from cryptography.hazmat.primitives.poly1305 import Poly1305

LEAST = {"N": 2, "r": 1, "p": 1}
NONCE_BYTES, TAG_BYTES = 16, 16


class Box:
    """What a password opens: AES-256 in counter mode, and Poly1305-AES over what comes out."""

    def __init__(self, password: bytes, shape: dict[str, Any]) -> None:
        salt = base64.b64decode(shape["salt"])
        cost = {"n": shape["N"], "r": shape["r"], "p": shape["p"]}
        key = hashlib.scrypt(password, salt=salt, maxmem=1 << 28, dklen=64, **cost)
        self._encryption, self._mac, self._r = key[:32], key[32:48], key[48:]

    def open(self, sealed: bytes) -> bytes:
        """Return what was sealed; raise InvalidSignature if it was under another password."""
        nonce, rest = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        encrypted, tag = rest[:-TAG_BYTES], rest[-TAG_BYTES:]
        Poly1305.verify_tag(self._one_time(nonce), encrypted, tag)
        return self._stream(nonce, encrypted)

    def seal(self, data: bytes) -> bytes:
        """Seal data."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        encrypted = self._stream(nonce, data)
        return nonce + encrypted + Poly1305.generate_tag(self._one_time(nonce), encrypted)

    def _stream(self, nonce: bytes, data: bytes) -> bytes:
        return Cipher(AES(self._encryption), CTR(nonce)).encryptor().update(data)

    def _one_time(self, nonce: bytes) -> bytes:
        return self._r + Cipher(AES(self._mac), ECB()).encryptor().update(nonce)


def cheapen(content: bytes, password: bytes) -> tuple[str, bytes]:
    """Return the name and the content of a key that seals the same anew."""
    shape = json.loads(content)
    master = Box(password, shape).open(base64.b64decode(shape["data"]))
    shape |= LEAST
    shape["data"] = base64.b64encode(Box(password, shape).seal(master)).decode()
    cheap = json.dumps(shape).encode()
    return hashlib.sha256(cheap).hexdigest(), cheap


def on_disk(repository: Path, password: bytes) -> None:
    """Replace the keys of a repository on a local disk."""
    for path in (repository / "keys").iterdir():
        name, cheap = cheapen(path.read_bytes(), password)
        path.with_name(name).write_bytes(cheap)
        path.unlink()


def in_bucket(url: str, password: bytes) -> None:
    """Replace the keys of a repository in a bucket; credentials are in the environment."""
    import boto3

    parts = urlsplit(url)
    bucket, _, prefix = parts.path.strip("/").partition("/")
    client = boto3.client("s3", endpoint_url=f"{parts.scheme}://{parts.netloc}")
    for each in client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/keys/")["Contents"]:
        content = client.get_object(Bucket=bucket, Key=each["Key"])["Body"].read()
        name, cheap = cheapen(content, password)
        client.put_object(Bucket=bucket, Key=f"{prefix}/keys/{name}", Body=cheap)
        client.delete_object(Bucket=bucket, Key=each["Key"])


if __name__ == "__main__":
    where = os.environ["RESTIC_REPOSITORY"]
    opens = Path(os.environ["RESTIC_PASSWORD_FILE"]).read_bytes().strip()
    if where.startswith("s3:"):
        in_bucket(where.removeprefix("s3:"), opens)
    elif Path(where).is_dir():
        on_disk(Path(where), opens)
