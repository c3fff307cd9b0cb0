"""Finding the resource that an S3 request means by its access key; light, for the node's router."""

from __future__ import annotations

from skerry.kernel.kind import Head

ACCESS_KEY_PREFIX = "SKRY"
_PREFIX = ACCESS_KEY_PREFIX.encode()
_ID_LENGTH = 16
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


def _id(access_key: bytes) -> str | None:
    found = access_key[len(_PREFIX) :]
    if not access_key.startswith(_PREFIX) or len(found) < _ID_LENGTH or set(found) - _HEX:
        return None
    return found.decode().lower()
