"""The API's ASGI application: commands, uploads, downloads, and what describes them.

Every path but `/healthz` wants `Authorization: Bearer <token>`, over the unix socket too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from skerry.kernel.commands import Command
from skerry.kernel.errors import BUSY, INVALID, NOT_FOUND, TIMED_OUT, TOO_LARGE, UNAUTHENTICATED
from skerry.surfaces.api import calls, lines, openapi
from skerry.surfaces.port import Node
from skerry.surfaces.sessions import Sessions

_log = logging.getLogger("skerry.api")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client of the API may ask for."""

    body_bytes: int = 1 << 20
    upload_bytes: int = 64 << 30
    chunk_seconds: float = 60.0
    answers: int = 256


def make_api(
    node: Node, sessions: Sessions | None = None, limits: Limits | None = None
) -> Starlette:
    """Make the application; `sessions` are those of the console that one-time logins open."""
    api = _Api(node, sessions, limits or Limits())
    routes = [
        Route("/healthz", api.health),
        Route("/v1/openapi.json", api.guarded(api.describe)),
        Route("/v1/uploads", api.guarded(api.upload), methods=["POST"]),
        Route("/v1/downloads/{id}", api.guarded(api.download)),
        Route("/v1/logins", api.guarded(api.login), methods=["POST"]),
        Route("/v1/{command}", api.guarded(api.command), methods=["POST"]),
        Route("/{path:path}", api.guarded(api.nothing)),
    ]
    return Starlette(routes=routes)


_Handler = Callable[[Request, str], Any]


class _Api:
    def __init__(self, node: Node, sessions: Sessions | None, limits: Limits) -> None:
        self._node = node
        self._sessions = sessions
        self._limits = limits
        self._answers = 0
        self._description: bytes | None = None

    def guarded(self, handler: _Handler) -> Callable[[Request], Any]:
        """Let only requests with a token through, and answer errors as problems."""

        async def answer(request: Request) -> Response:
            try:
                if self._answers >= self._limits.answers:
                    raise BUSY(f"The node answers {self._limits.answers} requests already.")
                self._answers += 1
                try:
                    answered: Response = await handler(request, self._principal(request))
                finally:
                    self._answers -= 1
            except ClientDisconnect:
                return Response(status_code=499)
            except Exception as error:
                known = calls.as_skerry_error(error)
                if known is not error:
                    _log.exception("%s %s failed", request.method, request.url.path)
                return calls.problem(known)
            return answered

        return answer

    def _principal(self, request: Request) -> str:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        wanted = scheme.lower() == "bearer" and token.isascii()
        principal = self._node.principal_of(token.strip()) if wanted else None
        if principal is None:
            raise UNAUTHENTICATED(
                "The request has no valid token.",
                why="Every request wants the header Authorization: Bearer <token>.",
                hint="skerry status",
            )
        return principal

    async def health(self, _request: Request) -> Response:
        """Tell that the node answers; the only thing that anybody may ask."""
        return _json({"ok": True})

    async def describe(self, _request: Request, _principal: str) -> Response:
        """Return the OpenAPI description."""
        if self._description is None:
            self._description = msgspec.json.encode(openapi.describe(self._node))
        return Response(self._description, media_type="application/json")

    async def nothing(self, request: Request, _principal: str) -> Response:
        """Answer for a path that leads nowhere."""
        raise NOT_FOUND(f"There is nothing at {request.url.path[:200]}.", hint="skerry docs api")

    async def command(self, request: Request, principal: str) -> Response:
        """Carry a command out."""
        name = request.path_params["command"]
        command = self._node.commands.get(name)
        if command is None:
            why = calls.unknown_command(name, list(self._node.commands))
            raise NOT_FOUND(f"There is no command {name[:80]}.", why=why, hint="skerry describe")
        params = calls.read_params(command, await self._body(request))
        if command.streams:
            items = self._node.stream(command, params, principal)
            return self._lines(lines.streamed(items))
        if lines.MEDIA_TYPE in request.headers.get("accept", ""):
            return self._lines(self._with_progress(command, params, principal))
        work = lines.kept(self._node.perform(command, params, principal, None))
        return _json(await asyncio.shield(work))

    def _with_progress(
        self, command: Command, params: msgspec.Struct, principal: str
    ) -> AsyncIterator[bytes]:
        return lines.performed(
            lambda progress: self._node.perform(command, params, principal, progress)
        )

    def _lines(self, found: AsyncIterator[bytes]) -> Response:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._counted(found), media_type=lines.MEDIA_TYPE, headers=headers)

    async def _counted(self, found: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Count an answer among those in progress for as long as it lasts."""
        self._answers += 1
        try:
            async for each in found:
                yield each
        finally:
            self._answers -= 1
            if isinstance(found, AsyncGenerator):
                await found.aclose()

    async def _body(self, request: Request) -> bytes:
        body = bytearray()
        async for chunk in self._chunks(request, self._limits.body_bytes):
            body += chunk
        return bytes(body)

    async def _chunks(self, request: Request, limit: int) -> AsyncIterator[bytes]:
        """Yield a body's chunks; raise TOO_LARGE beyond the limit, TIMED_OUT if it stalls."""
        too_large = TOO_LARGE(f"The body is larger than {limit} bytes.")
        if _length(request) > limit:
            raise too_large
        received = 0
        stream = request.stream()
        while True:
            try:
                chunk = await asyncio.wait_for(anext(stream, None), self._limits.chunk_seconds)
            except TimeoutError as error:
                seconds = self._limits.chunk_seconds
                raise TIMED_OUT(f"The body stalled for {seconds:g} s.") from error
            if chunk is None:
                return
            received += len(chunk)
            if received > limit:
                raise too_large
            if chunk:
                yield chunk

    async def upload(self, request: Request, principal: str) -> Response:
        """Keep an archive."""
        self._node.admit(principal, "upload")
        chunks = self._chunks(request, self._limits.upload_bytes)
        upload = await self._node.receive_upload(chunks)
        return _json({"upload": upload}, status=201)

    async def download(self, request: Request, principal: str) -> Response:
        """Return what a command has made ready; a failure before the first byte is a problem."""
        self._node.admit(principal, "download")
        chunks = self._node.download(request.path_params["id"])
        first = await anext(chunks, b"")

        async def body() -> AsyncIterator[bytes]:
            yield first
            async for chunk in chunks:
                yield chunk

        return StreamingResponse(self._counted(body()), media_type="application/x-tar")

    async def login(self, request: Request, principal: str) -> Response:
        """Return a path that opens the console once, without a token, within a minute.

        It takes nothing from the body, but reads it: who is answered in the middle of a request
        cannot use the connection again.
        """
        await self._body(request)
        self._node.admit(principal, "login")
        if self._sessions is None:
            raise NOT_FOUND("This node has no console.")
        return _json({"path": f"/login?code={self._sessions.one_time_code(principal)}"}, status=201)


def _length(request: Request) -> int:
    text = request.headers.get("content-length", "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise INVALID("Content-Length is not a number.")
    return int(text)


def _json(value: Any, status: int = 200) -> Response:
    body = msgspec.json.encode(value)
    return Response(body, status_code=status, media_type="application/json")
