"""Finding the resource that an S3 request means by its access key; light, for the node's router."""

from __future__ import annotations

from skerry.kernel.keys import Keys
from skerry.kernel.kind import Head

ACCESS_KEY_PREFIX = "SKRY"
_PREFIX = ACCESS_KEY_PREFIX.encode()
_ID_LENGTH = 16
_SECRET_LENGTH = 40
_HEX = frozenset(b"0123456789ABCDEF")
_MARKS = (b"Credential=", b"AWS ", b"AWSAccessKeyId=")


def claim(head: Head) -> str | None:
    """Return the id of the resource that a request's access key names, or None."""
    for text in (head.header(b"authorization") or b"", head.query):
        for mark in _MARKS:
            start = text.find(mark)
            if start >= 0:
                return _id(text[start + len(mark) : start + len(mark) + len(_PREFIX) + _ID_LENGTH])
    return None


def access_key(resource_id: str, suffix: str = "") -> str:
    """Return the access key of the resource's owner, or of the user that has a suffix."""
    return f"{ACCESS_KEY_PREFIX}{resource_id.upper()}{suffix}"


def secret_key(keys: Keys, suffix: str = "") -> str:
    """Return the secret that goes with the access key."""
    return keys.secret(f"s3:{suffix}" if suffix else "s3", _SECRET_LENGTH)


def _id(access_key: bytes) -> str | None:
    found = access_key[len(_PREFIX) :]
    if not access_key.startswith(_PREFIX) or len(found) < _ID_LENGTH or set(found) - _HEX:
        return None
    return found.decode().lower()
