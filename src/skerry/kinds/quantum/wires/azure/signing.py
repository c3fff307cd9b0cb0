"""Addresses of blobs that need no key: signed for one container or blob, for an hour.

They have the parameters of Azure's shared access signatures (`sr`, `sp`, `se`, `sig`), but `sig` is
this resource's own: HMAC-SHA-256 over what the address opens.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote, urlencode

from skerry.kernel.errors import UNAUTHENTICATED
from skerry.kernel.kind import Context
from skerry.kinds.quantum.wires.azure.names import account

SECONDS = 3600
"""How long an address opens."""

VERSION = "2025-11-05"
READ, ALL = "r", "rcwl"
"""What an address opens for: reading alone, or creating, writing and listing too."""

_PURPOSE = "azure-shared-access"


def link(context: Context, root: str, container: str, blob: str = "", rights: str = ALL) -> str:
    """Return the address of a container or of one blob below `root`, signed."""
    until = datetime.fromtimestamp(context.clock.now() // 10**9 + SECONDS, UTC)
    expiry = until.strftime("%Y-%m-%dT%H:%M:%SZ")
    query = {
        "sv": VERSION,
        "sr": "b" if blob else "c",
        "sp": rights,
        "se": expiry,
        "sig": _signature(context, container, blob, rights, expiry),
    }
    place = "/".join(quote(each, safe="") for each in (container, blob) if each)
    return f"{root}/{account(context.id, container)}/{place}?{urlencode(query)}"


def check(context: Context, query: Mapping[str, str], place: tuple[str, str], right: str) -> None:
    """Raise UNAUTHENTICATED unless an address opens a container or blob for what is wanted."""
    container, blob = place
    signed_blob = blob if query.get("sr") == "b" else ""
    rights, expiry = query.get("sp", ""), query.get("se", "")
    expected = _signature(context, container, signed_blob, rights, expiry)
    presented = query.get("sig", "").encode("utf-8", "replace")
    if not hmac.compare_digest(presented, expected.encode()):
        raise UNAUTHENTICATED("The address of the blob is not signed for it.")
    if right not in rights:
        raise UNAUTHENTICATED(f"The address of the blob opens it for {rights} only.")
    until = datetime.strptime(expiry, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    if until.timestamp() * 1e9 <= context.clock.now():
        raise UNAUTHENTICATED(f"The address of the blob opened it until {expiry}.")


def _signature(context: Context, container: str, blob: str, rights: str, expiry: str) -> str:
    text = "\n".join((VERSION, "b" if blob else "c", rights, expiry, container, blob))
    key = context.keys.secret(_PURPOSE, 42).encode()
    return hmac.new(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
