"""Whom the wire of kind hello lets in; the node asks it while the resource sleeps."""

from __future__ import annotations

import hmac

import msgspec

from skerry.kernel.errors import UNAUTHENTICATED, SkerryError
from skerry.kernel.keys import Keys
from skerry.kernel.kind import Head, Resource, Response


def token(resource_id: str, keys: Keys) -> str:
    """Return the bearer token of a resource."""
    return f"skt_{resource_id}_{keys.secret('token')}"


def check(authorization: bytes, resource_id: str, keys: Keys, name: str) -> None:
    """Raise UNAUTHENTICATED unless the header holds the token."""
    expected = f"Bearer {token(resource_id, keys)}".encode()
    if not hmac.compare_digest(authorization, expected):
        raise UNAUTHENTICATED("A bearer token is needed.", hint=f"skerry connect {name}")


def failure(error: SkerryError) -> Response:
    """Return the answer that tells an error."""
    return whole(error.problem.http, msgspec.json.encode(error.as_dict()))


def whole(status: int, body: bytes) -> Response:
    """Return an answer in JSON."""
    length = str(len(body)).encode()
    headers = ((b"content-type", b"application/json"), (b"content-length", length))
    return Response(status, headers, body)


def gate(head: Head, resource: Resource, _: int) -> Response | None:
    """See `kernel.kind.Gate`: the engine's own check, before anything wakes."""
    authorization = dict(head.headers).get(b"authorization", b"")
    try:
        check(authorization, resource.id, resource.keys, resource.ref.name)
    except SkerryError as error:
        return failure(error)
    return None
