"""Keys of a models resource: how they look, and which resource a request means by one.

A key is `skm_<resource>_<number>_<secret>`. The secret is derived from the resource's own key and
the key's number and never stored, so that the keys of a branch open that branch only.
"""

from __future__ import annotations

import hmac
import re

from skerry.kernel.keys import Keys
from skerry.kernel.kind import Address, Head, Resource

OWNER, APP = 1, 2
"""The keys that every resource has: its owner's, which may make others, and the one of bindings."""

_KEY = re.compile(rb"[Bb]earer +skm_([0-9a-f]{16})_([0-9]{1,12})_([0-9A-Za-z]{32}) *")


def claim(head: Head) -> str | None:
    """Return the id of the resource that a request's bearer key is for."""
    found = _KEY.fullmatch(head.header(b"authorization") or b"")
    return found[1].decode() if found else None


def secret_key(resource_id: str, number: int, keys: Keys) -> str:
    """Return a key in the shape that clients present."""
    return f"skm_{resource_id}_{number}_{keys.secret(f'api-key/{number}')}"


def presented(header: bytes, resource_id: str, keys: Keys) -> int | None:
    """Return the number of the key that an Authorization header holds, or None if it is no key."""
    found = _KEY.fullmatch(header)
    if found is None:
        return None
    number = int(found[2])
    expected = secret_key(resource_id, number, keys).encode()
    given = header.partition(b" ")[2].strip()
    return number if hmac.compare_digest(given, expected) else None


def connection(resource: Resource, address: Address) -> dict[str, str]:
    """Return the fields of the lines that `skerry connect` prints."""
    base = address.http.rstrip("/")
    return {
        "url": base,
        "base_url": f"{base}/v1",
        "token": secret_key(resource.id, OWNER, resource.keys),
        "name": resource.ref.name,
        "id": resource.id,
    }
