"""The ASGI application of the S3 wire: from a request's head to its handler, and back."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from skerry.kernel.errors import SkerryError
from skerry.kernel.kind import ASGIApplication, Head
from skerry.kernel.reading import leader_of, refusal
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.account import Account
from skerry.kinds.bucket.engine import BucketEngine
from skerry.kinds.bucket.wire import cors, framing, heads, routes
from skerry.kinds.bucket.wire.authenticate import authenticate
from skerry.kinds.bucket.wire.call import Call, Reply

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_BY_CODE = {
    "BUSY": "SlowDown",
    "TOO_LARGE": "EntityTooLarge",
    "EXTRA_MISSING": "NotImplemented",
    "INVALID": "InvalidArgument",
    "NOT_FOUND": "NoSuchKey",
    "READ_ONLY": "AccessDenied",
}


def make(engine: BucketEngine) -> ASGIApplication:
    """Return the application that serves an engine."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", scope["type"]
        await _serve(engine.account, scope, receive, send)

    return application


async def _serve(account: Account, scope: Scope, receive: Receive, send: Send) -> None:
    request_id = framing.new_request_id()
    meter = account.meter
    call: Call | None = None
    try:
        call = _call(account, scope, receive, request_id)
        reply = await _answer(call)
    except Exception as error:
        reply = _failure(account, error, scope["raw_path"].decode("latin-1"), request_id)
    if call is not None:
        reply.headers += await cors.headers_of(call)
        if reply.status >= 300 and not await call.drained():
            reply.headers.append(("connection", "close"))
        meter.add(routes.billing_class(call))
        if call.written:
            meter.add("bytes_in", call.written)
    await _send(reply, scope["method"], request_id, send, account)


def _call(account: Account, scope: Scope, receive: Receive, request_id: str) -> Call:
    client = scope.get("client")
    method, path = scope["method"].encode(), scope["raw_path"]
    head = Head(method, path, scope["query_string"], tuple(scope["headers"]))
    return Call(
        account=account,
        asked=heads.read(head, account.context.ref, account.config.domains),
        receive=receive,
        request_id=request_id,
        now=account.now(),
        source_ip=client[0] if client else "",
        secure=scope.get("scheme") == "https",
    )


async def _answer(call: Call) -> Reply:
    if call.method == "OPTIONS":
        return await cors.preflight(call)
    if not call.asked.signs_in_form:
        authenticate(call)
    handler = routes.find(call)
    leader = leader_of(call.account.context.directory)
    if leader and call.method not in ("GET", "HEAD"):
        raise refusal(leader)
    return await handler(call)


def _failure(account: Account, error: Exception, resource: str, request_id: str) -> Reply:
    """Return the answer for a failure; one that is not foreseen is logged and told as such."""
    if isinstance(error, SkerryError):
        error = S3Error(_BY_CODE.get(error.code, "InternalError"), f"{error.what} {error.hint}")
    elif not isinstance(error, S3Error):
        account.context.log.error("S3 request %s failed.", request_id, exc_info=error)
        error = S3Error("InternalError", "We encountered an internal error. Please try again.")
    assert isinstance(error, S3Error)
    return Reply(error.status, *framing.told(error, resource, request_id))


async def _send(reply: Reply, method: str, request_id: str, send: Send, account: Account) -> None:
    """Send an answer; a stream is closed whatever happens to the client."""
    length = reply.length if reply.stream is not None else len(reply.body)
    raw = framing.framed(reply.status, reply.headers, length, request_id)
    await send({"type": "http.response.start", "status": reply.status, "headers": raw})
    if reply.stream is None or method == "HEAD":
        body = b"" if method == "HEAD" else reply.body
        account.meter.add("bytes_out", len(body))
        await send({"type": "http.response.body", "body": body})
        return
    async with contextlib.aclosing(reply.stream) as stream:  # type: ignore[type-var]
        async for chunk in stream:
            account.meter.add("bytes_out", len(chunk))
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
