"""The wire of kind hello: HTTP, with a bearer token."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any
from urllib.parse import unquote

import msgspec

from skerry.kernel.errors import SkerryError
from skerry.kernel.kind import Address, ASGIApplication, Resource, Response
from skerry.kinds.hello.engine import HelloEngine
from skerry.kinds.hello.gate import check, failure, token, whole

Send = Any


def connection(resource: Resource, address: Address) -> dict[str, str]:
    """Return what `skerry connect` needs."""
    return {
        "url": address.host_url,
        "token": token(resource.id, resource.keys),
    }


def application(engine: HelloEngine) -> ASGIApplication:
    """Return the ASGI application over an engine."""
    context = engine.context

    async def serve(scope: MutableMapping[str, Any], receive: Any, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            authorization = dict(scope["headers"]).get(b"authorization", b"")
            check(authorization, context.id, context.keys, context.ref.name)
            guest = unquote(scope["path"].strip("/"))
            found = await engine.greet(guest) if guest else await engine.guests()
            answer = whole(200, msgspec.json.encode(found))
        except SkerryError as error:
            answer = failure(error)
        await _send(send, answer)

    return serve


async def _send(send: Send, answer: Response) -> None:
    start = {"status": answer.status, "headers": answer.headers}
    await send({"type": "http.response.start", **start})
    await send({"type": "http.response.body", "body": answer.body})
