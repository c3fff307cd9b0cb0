"""Ids and times as Scaleway writes them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from uuid import UUID

from skerry.kernel.clock import Entropy, SystemEntropy

WIRE = "scaleway"


def identity(*parts: str) -> str:
    """Return the UUID that names always have."""
    digest = hashlib.sha256("/".join((WIRE, *parts)).encode()).digest()
    return str(UUID(bytes=digest[:16], version=4))


def fresh(entropy: Entropy | None = None) -> str:
    """Return a UUID that nothing else has."""
    return str(UUID(bytes=(entropy or SystemEntropy()).bytes(16), version=4))


def moment(nanoseconds: int) -> str | None:
    """Return a time in RFC 3339; None for one that has not come."""
    if not nanoseconds:
        return None
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).isoformat().replace("+00:00", "Z")
