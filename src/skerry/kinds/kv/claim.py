"""Which namespace a request means when neither host nor path names it, and who may use it."""

from __future__ import annotations

import hmac
import re

from skerry.kernel.keys import Keys
from skerry.kernel.kind import Address, Head, Resource

_PATH = re.compile(rb"/client/v4/accounts/[^/]+/storage/kv/namespaces/0{16}([0-9a-f]{16})(?:/.*)?")
_BEARER = re.compile(rb"[Bb]earer +skt_([0-9a-f]{16})_[0-9A-Za-z]{1,64} *")


def claim(head: Head) -> str | None:
    """Return the resource id in the path's namespace id, or else in the bearer token."""
    found = _PATH.fullmatch(head.path)
    found = found or _BEARER.fullmatch(head.header(b"authorization") or b"")
    return found[1].decode() if found else None


def namespace_id(resource_id: str) -> str:
    """Return the id in the shape that Workers KV gives namespaces: 32 hexadecimal digits."""
    return resource_id.zfill(32)


def token(resource_id: str, keys: Keys) -> str:
    """Return the token that opens a namespace."""
    return f"skt_{resource_id}_{keys.secret('token')}"


def opens(header: bytes, resource_id: str, keys: Keys) -> bool:
    """Tell whether an Authorization header holds the namespace's token."""
    scheme, _, presented = header.partition(b" ")
    expected = token(resource_id, keys).encode()
    return scheme.lower() == b"bearer" and hmac.compare_digest(presented.strip(), expected)


def connection(resource: Resource, address: Address) -> dict[str, str]:
    """Return the fields of the lines that `skerry connect` prints."""
    return {
        "url": address.http.rstrip("/"),
        "token": token(resource.id, resource.keys),
        "namespace_id": namespace_id(resource.id),
        "app": resource.ref.app,
        "name": resource.ref.name,
        "id": resource.id,
    }
