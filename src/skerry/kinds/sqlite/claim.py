"""Which database a request means when neither host nor path names it, and who may use it."""

from __future__ import annotations

import hmac
import re

from skerry.kernel.keys import Keys
from skerry.kernel.kind import Head

_BEARER = re.compile(rb"[Bb]earer +skt_([0-9a-f]{16})_[0-9A-Za-z]{1,64} *")


def claim(head: Head) -> str | None:
    """Return the resource id in a bearer token `skt_<id>_<secret>`; the token is not checked."""
    found = _BEARER.fullmatch(head.header(b"authorization") or b"")
    return found[1].decode() if found else None


def token(resource_id: str, keys: Keys) -> str:
    """Return the token that opens a database."""
    return f"skt_{resource_id}_{keys.secret('token')}"


def database_id(resource_id: str) -> str:
    """Return the id in the shape that D1 gives databases, a UUID."""
    digits = resource_id.zfill(32)
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


class Lock:
    """Compares presented tokens with the one token of a database, in constant time."""

    def __init__(self, resource_id: str, keys: Keys) -> None:
        self._token = token(resource_id, keys).encode()

    def opens(self, presented: str | None) -> bool:
        """Tell whether a token, as it stands in a WebSocket hello, is valid."""
        return presented is not None and hmac.compare_digest(
            presented.encode(errors="surrogatepass"), self._token
        )

    def opens_header(self, value: bytes) -> bool:
        """Tell whether an Authorization header holds the token."""
        scheme, _, rest = value.partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(rest.strip(), self._token)
