"""A terminal in a workload, over a WebSocket of the node's own address: `/workload/session`.

The first message is text: what to run, and the terminal's size. Then binary messages go both ways,
each beginning with the byte of a session's frame (`sessions.py`). It is for the operator alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from skerry.kernel.errors import INVALID, SkerryError
from skerry.kernel.policy import Request, enforce
from skerry.node.workload.handler import Handler
from skerry.node.workload.sessions import ENDED, ERRORS, FAILED, INPUT, INPUT_END, OUTPUT, RESIZE
from skerry.node.workload.sessions import Session as Terminal

OPERATOR = "operator"
_REFUSED = 4401
Size = Annotated[int, msgspec.Meta(ge=1, le=10_000)]

T = TypeVar("T")


class Open(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first message."""

    name: str
    argv: tuple[str, ...]
    terminal: tuple[Size, Size] | None = None


def make(handler: Handler) -> ASGIApp:
    """Make the application."""

    async def begin(first: str) -> Terminal:
        ask = read_ask(first, Open)
        node = handler.node
        request = Request(OPERATOR, "workload:shell", where=node.name, resource=ask.name)
        enforce(node.policy, request)
        return await handler.workloads.execute(ask.name, ask.argv, terminal=ask.terminal)

    return make_terminal(handler.node.home.token(), begin)


def read_ask(first: str, wanted: type[T]) -> T:
    """Read the first message; raise INVALID if it does not say what to run."""
    try:
        return msgspec.json.decode(first, type=wanted)
    except msgspec.DecodeError as error:
        raise INVALID("The first message says what to run.", why=str(error)) from error


def make_terminal(token: str, begin: Callable[[str], Awaitable[Any]]) -> ASGIApp:
    """Make an application that connects WebSockets with the sessions that `begin` opens.

    It gets the first message and returns what has the methods of `sessions.Session`.
    """

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await send({"type": "http.response.start", "status": 426, "headers": []})
            await send({"type": "http.response.body", "body": b"A WebSocket is wanted here.\n"})
            return
        await _serve(token, begin, WebSocket(scope, receive, send))

    return application


async def _serve(wanted: str, begin: Callable[[str], Awaitable[Any]], socket: WebSocket) -> None:
    scheme, _, token = socket.headers.get("authorization", "").partition(" ")
    known = hmac.compare_digest(token.strip().encode(), wanted.encode())
    if scheme.lower() != "bearer" or not known:
        await socket.close(_REFUSED, "The operator's token is wanted.")
        return
    await socket.accept()
    try:
        await _exchange(await begin(await _first(socket)), socket)
    except SkerryError as error:
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await socket.send_bytes(bytes([FAILED]) + msgspec.json.encode(error.as_dict()))
    except WebSocketDisconnect:
        return
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):
        await socket.close()


async def _first(socket: WebSocket) -> str:
    try:
        return await socket.receive_text()
    except KeyError as error:
        raise INVALID("The first message is text, and says what to run.") from error


async def _exchange(session: Any, socket: WebSocket) -> None:
    taking = asyncio.ensure_future(_take(session, socket))
    try:
        giving = asyncio.ensure_future(_give(session, socket))
        await asyncio.wait({taking, giving}, return_when=asyncio.FIRST_COMPLETED)
        if giving.done():
            giving.result()
        else:
            giving.cancel()
    finally:
        taking.cancel()
        await session.close()


async def _take(session: Any, socket: WebSocket) -> None:
    """Pass on what the operator types."""
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        data = message.get("bytes") or b""
        kind, rest = data[:1], data[1:]
        if kind == bytes([INPUT]):
            await session.write(rest)
        elif kind == bytes([INPUT_END]):
            session.end_input()
        elif kind == bytes([RESIZE]):
            session.resize(*msgspec.json.decode(rest, type=tuple[Size, Size]))


async def _give(session: Any, socket: WebSocket) -> None:
    """Pass on what the program says, and how it ended."""
    async for stream, data in session.output():
        kind = ERRORS if stream == "stderr" else OUTPUT
        await socket.send_bytes(bytes([kind]) + data)
    await socket.send_bytes(bytes([ENDED]) + str(session.code).encode())
