"""Which resource a request means when neither host nor path names it, and who may use it."""

from __future__ import annotations

import hmac
import re

from skerry.kernel.keys import Keys
from skerry.kernel.kind import Address, Head, Resource

_BEARER = re.compile(rb"[Bb]earer +skt_([0-9a-f]{16})_[0-9A-Za-z]{1,64} *")


def claim(head: Head) -> str | None:
    """Return the resource id in the bearer token of a request to `/quantum/…`."""
    if not head.path.startswith(b"/quantum/"):
        return None
    found = _BEARER.fullmatch(head.header(b"authorization") or b"")
    return found[1].decode() if found else None


def token(resource_id: str, keys: Keys) -> str:
    """Return the token that opens a resource."""
    return f"skt_{resource_id}_{keys.secret('token')}"


def opens(header: bytes, resource_id: str, keys: Keys) -> bool:
    """Tell whether an Authorization header holds the resource's token."""
    scheme, _, presented = header.partition(b" ")
    expected = token(resource_id, keys).encode()
    return scheme.lower() == b"bearer" and hmac.compare_digest(presented.strip(), expected)


def connection(resource: Resource, address: Address) -> dict[str, str]:
    """Return the fields of the lines that `skerry connect` prints."""
    return {
        "url": address.http.rstrip("/"),
        "token": token(resource.id, resource.keys),
        "app": resource.ref.app,
        "name": resource.ref.name,
        "id": resource.id,
    }
