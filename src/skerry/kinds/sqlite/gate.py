"""Whom the wire lets in, as it stands in a request's head; light, for the node's router.

A WebSocket is let in: its token comes in the first message, after the upgrade.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

import msgspec

from skerry.kernel.kind import Head, Resource, Response
from skerry.kinds.sqlite.claim import Lock
from skerry.kinds.sqlite.failure import HranaError

UNAUTHENTICATED = 10000
"""Cloudflare's code for a token that is not right."""

_PROBES = {"/v2", "/v3", "/v2/", "/v3/"}
_D1 = re.compile(r"/client/v4/accounts/[^/]+/d1/database/([0-9a-fA-F-]{1,64})/(query|raw)")


def d1_route(method: str, path: str) -> re.Match[str] | None:
    """Return the database, and query or raw, that a call of D1's API names."""
    return _D1.fullmatch(path) if method == "POST" else None


def before(method: str, path: str, authorization: bytes, lock: Lock) -> Response | None:
    """Return what is answered before the database is asked; None if the request may come in."""
    if method in ("GET", "HEAD") and path in _PROBES:
        return _whole(200, b"text/plain; charset=utf-8", b"Hrana over HTTP\n")
    if lock.opens_header(authorization):
        return None
    if d1_route(method, path):
        return d1_failure(401, UNAUTHENTICATED, "Authentication error")
    error = HranaError("The bearer token is missing or wrong.", "AUTH_INVALID")
    return _json(401, error.answer(), (b"www-authenticate", b"Bearer"))


def d1_failure(status: int, code: int, message: str) -> Response:
    """Return the envelope in which Cloudflare's API tells a failure."""
    errors = [{"code": code, "message": message}]
    return _json(status, {"success": False, "errors": errors, "messages": [], "result": None})


def gate(head: Head, resource: Resource, _: int) -> Response | None:
    """See `kernel.kind.Gate`."""
    if head.header(b"upgrade") is not None:
        return None
    lock = Lock(resource.id, resource.keys)
    authorization = head.header(b"authorization") or b""
    return before(head.method.decode(), unquote(head.path.decode()), authorization, lock)


def _json(status: int, shape: object, *more: tuple[bytes, bytes]) -> Response:
    return _whole(status, b"application/json", msgspec.json.encode(shape), *more)


def _whole(status: int, kind: bytes, body: bytes, *more: tuple[bytes, bytes]) -> Response:
    length = str(len(body)).encode()
    headers = ((b"content-type", kind), (b"content-length", length), *more)
    return Response(status, headers, body)
