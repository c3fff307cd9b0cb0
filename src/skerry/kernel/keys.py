"""Secrets of a resource, derived from one key and never stored.

The node derives a key for each resource from a key that never leaves it; the resource's process
gets only its own. Every purpose has its own secret (HMAC-SHA-256, RFC 2104), so that a leaked
password opens nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import hmac


class Keys:
    """The secrets of one resource on one branch, and those that all its branches share."""

    __slots__ = ("_lineage", "_own")

    def __init__(self, own: bytes, lineage: bytes) -> None:
        self._own = own
        self._lineage = lineage

    def secret(self, purpose: str, length: int = 32) -> str:
        """Return the URL-safe secret of this branch's resource for a purpose."""
        return _text(self._own, purpose, length)

    def shared(self, purpose: str, length: int = 32) -> str:
        """Return the secret that a resource keeps over all branches of it."""
        return _text(self._lineage, purpose, length)

    def __repr__(self) -> str:
        return "Keys(…)"


def derive(key: bytes, *path: str) -> bytes:
    """Return the 32-byte key that `path` names below `key`."""
    for step in path:
        key = hmac.digest(key, step.encode(), hashlib.sha256)
    return key


def _text(key: bytes, purpose: str, length: int) -> str:
    assert length <= 42, "one digest has 42 URL-safe characters"
    digest = hmac.digest(key, purpose.encode(), hashlib.sha256)
    text = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    return text.replace("-", "x").replace("_", "y")[:length]
