"""The ASGI application of the S3 wire: from a request's head to its handler, and back."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote_plus

from skerry.kernel.clock import SystemEntropy
from skerry.kernel.errors import SkerryError
from skerry.kernel.kind import ASGIApplication
from skerry.kernel.reading import leader_of, refusal
from skerry.kinds._shared.s3 import sigv4
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.account import Account
from skerry.kinds.bucket.engine import BucketEngine
from skerry.kinds.bucket.wire import address, cors, routes
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
    request_id = SystemEntropy().bytes(8).hex().upper()
    meter = account.meter
    call: Call | None = None
    try:
        call, bucket_in_host = _read_head(account, scope, receive, request_id)
        reply = await _answer(call, bucket_in_host)
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


def _read_head(
    account: Account, scope: Scope, receive: Receive, request_id: str
) -> tuple[Call, bool]:
    headers: dict[str, str] = {}
    pairs: list[tuple[str, str]] = []
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), _text(raw_value)
        if name != "x-forwarded-prefix":
            pairs.append((name, value))
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        else:
            headers[name] = value
    prefix = headers.pop("x-forwarded-prefix", "").rstrip("/")
    path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
    in_host = ""
    if not prefix:
        host = headers.get("host", "")
        in_host = address.split_host(host, account.context.ref, account.config.domains)
    bucket, key = address.split_path(path, in_host)
    client = scope.get("client")
    call = Call(
        account=account,
        request=sigv4.Request(scope["method"], prefix + path, query, tuple(pairs)),
        headers=headers,
        query=parse_query(query),
        bucket_name=bucket,
        key=key,
        receive=receive,
        request_id=request_id,
        now=account.now(),
        source_ip=client[0] if client else "",
        secure=scope.get("scheme") == "https",
        prefix=prefix,
    )
    return call, bool(in_host)


def _text(raw: bytes) -> str:
    """Return a header's value, which clients send in UTF-8 or in Latin-1."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _raw(text: str) -> bytes:
    """Return a header's value as it is sent; what Latin-1 lacks is encoded as RFC 2047 tells."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return b"=?UTF-8?B?" + base64.b64encode(text.encode("utf-8", "surrogateescape")) + b"?="


def parse_query(query: str) -> dict[str, str]:
    """Return the query's parameters; the first of a name counts. Raise InvalidURI."""
    found: dict[str, str] = {}
    for item in query.split("&"):
        name, _, value = item.partition("=")
        if not item:
            continue
        try:
            found.setdefault(unquote_plus(name), unquote_plus(value, errors="strict"))
        except UnicodeDecodeError as error:
            raise S3Error("InvalidURI", "The query is not UTF-8.") from error
    return found


async def _answer(call: Call, bucket_in_host: bool) -> Reply:
    if call.method == "OPTIONS":
        return await cors.preflight(call)
    handler = routes.find(call)
    if not routes.signs_in_form(call):
        authenticate(call, bucket_in_host)
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
    headers = [("content-type", "application/xml"), *error.headers]
    body = b"" if error.status == 304 else error.body(resource, request_id)
    return Reply(error.status, headers, body)


async def _send(reply: Reply, method: str, request_id: str, send: Send, account: Account) -> None:
    """Send an answer; a stream is closed whatever happens to the client."""
    length = reply.length if reply.stream is not None else len(reply.body)
    headers = [*reply.headers, ("x-amz-request-id", request_id)]
    names = {name for name, _ in headers}
    if reply.status not in (204, 304) and "content-length" not in names:
        headers.append(("content-length", str(length)))
    raw = [(name.encode("latin-1"), _raw(value)) for name, value in headers]
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
