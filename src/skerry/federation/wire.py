"""What other nodes may ask of this one, over the federation port.

Every path but `/join` is for bound nodes alone. More paths are added by what is built on the
federation (`Wire.add`): placing, replication, witnessing.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec

from skerry.federation.listener import PEER
from skerry.kernel.errors import (
    INTERNAL,
    INVALID,
    NOT_FOUND,
    TOO_LARGE,
    UNAUTHENTICATED,
    SkerryError,
)

BODY_BYTES_MAX = 1 << 20
_log = logging.getLogger("skerry.federation")

Chunks = AsyncIterator[bytes]
Answer = Callable[[str, Any], Awaitable[Any]]
"""From the id of the peer and the request's body (a struct, or chunks) to what is answered."""


class Wire:
    """The ASGI application of the federation port."""

    def __init__(self, join: Callable[[Any], Awaitable[Any]], joining: type[msgspec.Struct]):
        self._join = join
        self._joining = joining
        self._answers: dict[str, tuple[Answer, type[msgspec.Struct] | None]] = {}

    def add(self, path: str, answer: Answer, body: type[msgspec.Struct] | None) -> None:
        """Answer a path; without a type for its body, the body comes in chunks."""
        assert path not in self._answers, path
        self._answers[path] = (answer, body)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """See ASGI."""
        assert scope["type"] == "http", scope["type"]
        try:
            status, found = 200, await self._answer(scope, receive)
        except SkerryError as error:
            status, found = error.problem.http, error.as_dict()
        except Exception:
            _log.exception("%s failed", scope["path"])
            defect = INTERNAL("A defect in Skerry.", hint="Run skerry doctor on that node.")
            status, found = defect.problem.http, defect.as_dict()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": msgspec.json.encode(found)})

    async def _answer(self, scope: Any, receive: Any) -> Any:
        path, peer = scope["path"], scope[PEER]
        if scope["method"] != "POST":
            raise INVALID("Nodes ask each other by POST.")
        if path == "/join":
            return await self._join(await _struct(receive, self._joining))
        if peer is None:
            raise UNAUTHENTICATED(
                "The caller is not bound to this node.", hint="Run skerry node invite on this node."
            )
        if path not in self._answers:
            raise NOT_FOUND(f"Nodes of this version do not answer {path[:80]}.")
        answer, wanted = self._answers[path]
        body = _chunks(receive) if wanted is None else await _struct(receive, wanted)
        return await answer(peer, body)


async def _chunks(receive: Any) -> Chunks:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise INVALID("The caller went away in the middle of its request.")
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body"):
            return


async def _struct(receive: Any, wanted: type[msgspec.Struct]) -> Any:
    body = bytearray()
    async for chunk in _chunks(receive):
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise TOO_LARGE(f"A request between nodes has at most {BODY_BYTES_MAX} bytes.")
    try:
        return msgspec.json.decode(bytes(body), type=wanted)
    except msgspec.DecodeError as error:
        raise INVALID("The request is not well-formed.", why=f"{error}.") from error
