"""What the router says of a request: its prefix, scheme, host and client.

The router sets these headers on every request and drops what a client sent under their names, so
they can be believed.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any
from urllib.parse import unquote

_NAMES = (
    b"x-forwarded-prefix",
    b"x-forwarded-proto",
    b"x-forwarded-host",
    b"x-forwarded-for",
)
_SECURE = {"http": "https", "ws": "wss"}


def apply_forwarded(scope: MutableMapping[str, Any]) -> None:
    """Put what the router says where ASGI applications look for it."""
    found = {name: value for name, value in scope["headers"] if name in _NAMES}
    if not found:
        return
    prefix = found.get(b"x-forwarded-prefix", b"").rstrip(b"/")
    if prefix.startswith(b"/"):
        scope["root_path"] = unquote(prefix.decode("latin-1"))
        scope["path"] = scope["root_path"] + scope["path"]
        scope["raw_path"] = prefix + scope.get("raw_path", b"")
    apply_scheme(scope)
    host = found.get(b"x-forwarded-host")
    if host:
        others = [(name, value) for name, value in scope["headers"] if name != b"host"]
        scope["headers"] = [(b"host", host), *others]
        scope["server"] = _split_host(host.decode("latin-1"), scope["scheme"])
    client = found.get(b"x-forwarded-for", b"").split(b",")[0].strip()
    if client:
        scope["client"] = (client.decode("latin-1"), 0)


def _split_host(host: str, scheme: str) -> tuple[str, int]:
    name, colon, port = host.rpartition(":")
    if colon and port.isascii() and port.isdigit() and len(port) <= 5:
        return name, int(port)
    return host, 443 if scheme in ("https", "wss") else 80


def apply_scheme(scope: MutableMapping[str, Any]) -> None:
    """Put only the scheme that the router says where ASGI applications look for it."""
    if (b"x-forwarded-proto", b"https") in scope["headers"]:
        scope["scheme"] = _SECURE.get(scope["scheme"], scope["scheme"])
