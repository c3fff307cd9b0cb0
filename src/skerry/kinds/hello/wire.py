"""The wire of kind hello: HTTP, with a bearer token."""

from __future__ import annotations

import hmac
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import unquote

import msgspec

from skerry.kernel.errors import UNAUTHENTICATED, SkerryError
from skerry.kernel.kind import Address, ASGIApplication, Resource
from skerry.kinds.hello.engine import HelloEngine

Send = Any


def token(resource_id: str, secret: str) -> str:
    """Return the bearer token of a resource."""
    return f"skt_{resource_id}_{secret}"


def connection(resource: Resource, address: Address) -> dict[str, str]:
    """Return what `skerry connect` needs."""
    return {
        "url": address.host_url,
        "token": token(resource.id, resource.keys.secret("token")),
    }


def application(engine: HelloEngine) -> ASGIApplication:
    """Return the ASGI application over an engine."""
    context = engine.context
    expected = f"Bearer {token(context.id, context.keys.secret('token'))}".encode()

    async def serve(scope: MutableMapping[str, Any], receive: Any, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            authorization = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(authorization, expected):
                raise UNAUTHENTICATED(
                    "A bearer token is needed.", hint=f"skerry connect {context.ref.name}"
                )
            guest = unquote(scope["path"].strip("/"))
            found = await engine.greet(guest) if guest else await engine.guests()
            await _answer(send, 200, msgspec.json.encode(found))
        except SkerryError as error:
            await _answer(send, error.problem.http, msgspec.json.encode(error.as_dict()))

    return serve


async def _answer(send: Send, status: int, body: bytes) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
