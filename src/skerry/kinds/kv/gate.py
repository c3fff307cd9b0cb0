"""Whom the wire lets in, as it stands in a request's head; light, for the node's router."""

from __future__ import annotations

import re

import msgspec

from skerry.kernel.keys import Keys
from skerry.kernel.kind import Head, Resource, Response
from skerry.kinds.kv import claim

AUTHENTICATION = 10000

_BASE = rb"/client/v4/accounts/[^/]+/storage/kv/namespaces"
_ROUTE = re.compile(
    _BASE + rb"(?:/([0-9a-fA-F]{1,64})(?:/(keys|bulk|values|metadata)(?:/(.+))?)?)?/?"
)


class RefusedError(Exception):
    """A failure in Cloudflare's terms: HTTP status, code and message."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    def response(self) -> Response:
        """Return the envelope that tells it."""
        errors = [{"code": self.code, "message": str(self)}]
        shape = {"success": False, "errors": errors, "messages": [], "result": None}
        body = msgspec.json.encode(shape)
        length = str(len(body)).encode()
        headers = ((b"content-type", b"application/json"), (b"content-length", length))
        return Response(self.status, headers, body)


Route = tuple[bytes | None, bytes | None, bytes | None]
"""The namespace, the part of it and the rest of the path that a request names."""


def enter(path: bytes, authorization: bytes, resource_id: str, keys: Keys) -> Route:
    """Return what a raw path names; raise RefusedError unless the header holds the token."""
    found = _ROUTE.fullmatch(path)
    if found is None:
        raise RefusedError(404, 7003, "Could not route to this path.")
    if not claim.opens(authorization, resource_id, keys):
        raise RefusedError(401, AUTHENTICATION, "Authentication error")
    return found[1], found[2], found[3]


def gate(head: Head, resource: Resource, _: int) -> Response | None:
    """See `kernel.kind.Gate`."""
    try:
        enter(head.path, head.header(b"authorization") or b"", resource.id, resource.keys)
    except RefusedError as error:
        return error.response()
    return None
