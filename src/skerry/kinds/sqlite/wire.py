"""The database's HTTP and WebSocket surface: finds what answers a request, and authenticates it.

GET  /v2, /v3                     probes, open to all: they tell the protocol and nothing else
POST /v2/pipeline, /v3/pipeline   requests on a stream (wire_http)
POST /v3/cursor                   a batch whose rows are streamed (wire_http)
POST /, /v1/execute, /v1/batch    the stateless calls of version 1 (wire_http)
WebSocket, any path               many streams on one connection (wire_socket)
POST /client/v4/accounts/…/d1/…   D1's query API (wire_d1)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from skerry.kernel.errors import SkerryError
from skerry.kernel.kind import ASGIApplication
from skerry.kinds.sqlite import gate, wire_d1, wire_http, wire_socket
from skerry.kinds.sqlite.engine import SqliteEngine
from skerry.kinds.sqlite.exchange import BodyTooLargeError, Exchange
from skerry.kinds.sqlite.failure import HranaError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Handler = Callable[[SqliteEngine, Exchange], Awaitable[None]]

_STATUS = {
    "BAD_REQUEST": 400,
    "STREAM_EXPIRED": 404,
    "STREAM_BUSY": 409,
    "BUSY": 503,
}
_ROUTES: dict[tuple[str, str], Handler] = {
    ("POST", "/v2/pipeline"): wire_http.pipeline,
    ("POST", "/v3/pipeline"): wire_http.pipeline,
    ("POST", "/v3/cursor"): wire_http.cursor,
    ("POST", "/v1/execute"): wire_http.execute,
    ("POST", "/v1/batch"): wire_http.batch,
    ("POST", "/"): wire_http.statements,
}


def make(engine: SqliteEngine) -> ASGIApplication:
    """Return the ASGI application of a database."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await wire_socket.serve(engine, scope, receive, send)
        elif scope["type"] == "http":
            await _answer(engine, Exchange(scope, receive, send))

    return application


async def _answer(engine: SqliteEngine, exchange: Exchange) -> None:
    method, path = exchange.method, exchange.path
    answer = gate.before(method, path, exchange.header(b"authorization"), engine.lock)
    found = gate.d1_route(method, path)
    handler = _ROUTES.get((method, path))
    if answer is not None:
        await exchange.respond(answer)
    elif found:
        await wire_d1.query(engine, exchange, found[1], raw=found[2] == "raw")
    elif handler is None:
        error = HranaError(f"There is no {method} {path} here.", "NOT_FOUND")
        await exchange.json(404, error.answer())
    else:
        await _guarded(handler, engine, exchange)


async def _guarded(handler: Handler, engine: SqliteEngine, exchange: Exchange) -> None:
    """Run a handler; answer what a client did wrong, and what is too much, in Hrana's shape."""
    try:
        await handler(engine, exchange)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        shape = HranaError(f"The body is not a request: {error}", "BAD_REQUEST")
        await exchange.json(400, shape.answer())
    except BodyTooLargeError as error:
        await exchange.json(413, HranaError(str(error), "BODY_TOO_LARGE").answer())
    except HranaError as error:
        await exchange.json(_STATUS.get(error.code, 400), error.answer())
    except SkerryError as error:
        shape = HranaError(error.what, error.code)
        await exchange.json(error.problem.http, shape.answer())
