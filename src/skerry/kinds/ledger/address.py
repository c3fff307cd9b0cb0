"""How a client says which ledger it means, and proves that it may.

TigerBeetle's clients know a cluster by a 128-bit number and have no password. So the number is
both: its upper half is the resource's id, and its lower half is a secret of the branch. HTTP takes
a bearer token.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from urllib.parse import urlsplit

from skerry.kernel.keys import Keys
from skerry.kernel.kind import Address, Head, Resource

_BEARER = re.compile(rb"[Bb]earer +skt_([0-9a-f]{16})_[0-9A-Za-z]{1,64} *")
_HALF = 64


def cluster_id(resource_id: str, keys: Keys) -> int:
    """Return the number by which TigerBeetle's clients open a ledger."""
    secret = hashlib.sha256(keys.secret("cluster").encode()).digest()
    return int(resource_id, 16) << _HALF | int.from_bytes(secret[: _HALF // 8], "big")


def resource_of(cluster: int) -> str:
    """Return the id of the resource that a cluster's number names."""
    return f"{cluster >> _HALF:016x}"


def opens(cluster: int, resource_id: str, keys: Keys) -> bool:
    """Tell whether a cluster's number opens a ledger."""
    expected = cluster_id(resource_id, keys).to_bytes(16, "big")
    return hmac.compare_digest(cluster.to_bytes(16, "big"), expected)


def token(resource_id: str, keys: Keys) -> str:
    """Return the token that opens a ledger over HTTP."""
    return f"skt_{resource_id}_{keys.secret('token')}"


def claim(head: Head) -> str | None:
    """Return the resource id in the bearer token."""
    found = _BEARER.fullmatch(head.header(b"authorization") or b"")
    return found[1].decode() if found else None


def connection(resource: Resource, address: Address) -> dict[str, str]:
    """Return the fields of the lines that `skerry connect` prints."""
    host = urlsplit(address.http).hostname or "127.0.0.1"
    return {
        "url": address.host_url,
        "token": token(resource.id, resource.keys),
        "host": "127.0.0.1" if host == "localhost" else host,
        "port": str(address.ports["tigerbeetle"]),
        "cluster_id": str(cluster_id(resource.id, resource.keys)),
    }
