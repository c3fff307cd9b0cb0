"""Workers KV's part of the Cloudflare API, under `/client/v4/accounts/{account}/storage/kv`.

    GET    /namespaces, /namespaces/{id}
    GET    /namespaces/{id}/keys?prefix=&limit=&cursor=
    GET    /namespaces/{id}/values/{key}     PUT (?expiration=&expiration_ttl=)     DELETE
    GET    /namespaces/{id}/metadata/{key}
    PUT    /namespaces/{id}/bulk             POST …/bulk/delete, …/bulk/get

The account is not looked at: the bearer token alone decides. Every answer but a value is the
envelope `{success, errors, messages, result}`. Beside the types of Cloudflare, `bulk/get` knows
`bytes`: values in base64, whatever they are. Source: https://developers.cloudflare.com/api (KV).
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec

from skerry.kernel.errors import INVALID, NOT_FOUND, TOO_LARGE, SkerryError
from skerry.kernel.kind import ASGIApplication, Response
from skerry.kinds.kv import claim
from skerry.kinds.kv.engine import KvEngine
from skerry.kinds.kv.gate import RefusedError, enter
from skerry.kinds.kv.multipart import parts
from skerry.kinds.kv.store import BULK_MAX, VALUE_BYTES_MAX, Entry, Store, new_entry
from skerry.kinds.kv.transfer import Item, as_text, from_item
from skerry.kinds.kv.wire_limits import (
    BULK_BODY_MAX,
    GET_MANY_BYTES_MAX,
    GET_MANY_MAX,
    KEY_NOT_FOUND,
)

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

VALUE_BODY_MAX = VALUE_BYTES_MAX + (64 << 10)
NAMESPACE_NOT_FOUND, REFUSED = 10013, 10147

_encoder = msgspec.json.Encoder()
_items = msgspec.json.Decoder(list[Item])
_keys = msgspec.json.Decoder(list[str])


class GetMany(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `POST …/bulk/get`."""

    keys: list[str]
    type: str = "text"
    with_metadata: bool = False


_get_many = msgspec.json.Decoder(GetMany)


class Reply(msgspec.Struct, frozen=True):
    """An answer: an envelope's result, or the bytes of a value."""

    result: Any = None
    info: Any = None
    value: bytes | None = None
    expiration: int | None = None


class Call:
    """One request: what it names and how to read its body."""

    def __init__(self, scope: MutableMapping[str, Any], receive: Receive) -> None:
        self.method: str = scope["method"]
        self.headers: dict[bytes, bytes] = dict(reversed(scope["headers"]))
        self.query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        self.path: bytes = scope.get("raw_path") or scope["path"].encode()
        self._receive = receive

    def number(self, name: str) -> int | None:
        """Return an integer of the query; raise INVALID if it is none."""
        text = self.query.get(name)
        if not text:
            return None
        if not text.isascii() or not text.isdigit() or len(text) > 15:
            raise INVALID(f"{name} is {text[:40]!r}, not a number.")
        return int(text)

    async def body(self, limit: int) -> bytes:
        """Return the body; raise RefusedError beyond the limit, or if it breaks off."""
        chunks, size, more = [], 0, True
        while more:
            message = await self._receive()
            if message["type"] != "http.request":
                raise RefusedError(400, REFUSED, "The body broke off.")
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > limit:
                raise RefusedError(413, REFUSED, f"The body is larger than {limit} bytes.")
            more = message.get("more_body", False)
        return b"".join(chunks)


def make(engine: KvEngine) -> ASGIApplication:
    """Return the ASGI application of a namespace."""

    async def application(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            await _serve(engine, Call(scope, receive), send)

    return application


async def _serve(engine: KvEngine, call: Call, send: Send) -> None:
    try:
        reply = await _answer(engine, call)
    except RefusedError as error:
        await _refuse(send, error)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        await _refuse(send, RefusedError(400, REFUSED, f"The request is malformed: {error}"))
    except SkerryError as error:
        code = KEY_NOT_FOUND if error.problem is NOT_FOUND else REFUSED
        await _refuse(send, RefusedError(error.problem.http, code, error.what))
    else:
        await _reply(send, reply)


async def _answer(engine: KvEngine, call: Call) -> Reply:
    context = engine.context
    authorization = call.headers.get(b"authorization", b"")
    namespace, part, rest = enter(call.path, authorization, context.id, context.keys)
    own = claim.namespace_id(context.id)
    if namespace is None or part is None:
        return _namespaces(call, own, context.ref.name, listed=namespace is None)
    if namespace.decode().lower() != own:
        raise RefusedError(404, NAMESPACE_NOT_FOUND, "namespace not found")
    handler = _HANDLERS.get((call.method, part.decode(), _kind(part, rest)))
    if handler is None:
        raise RefusedError(405, 10405, "Method not allowed")
    return await handler(engine, call, unquote_to_bytes(rest or b"").decode())


def _kind(part: bytes, rest: bytes | None) -> str:
    """Return what follows a part: nothing, a key, or the name of a bulk call."""
    if rest is None:
        return ""
    return rest.decode("latin-1") if part == b"bulk" else "key"


def _namespaces(call: Call, own: str, name: str, *, listed: bool) -> Reply:
    """Answer what the token's own namespace is; others are not its business."""
    if call.method != "GET":
        raise RefusedError(405, 10405, "Namespaces are declared in skerry.toml.")
    shape = {"id": own, "title": name, "supports_url_encoding": True}
    if not listed:
        return Reply(shape)
    page, size = call.number("page") or 1, call.number("per_page") or 20
    found = [shape] if page == 1 else []
    info = {"page": page, "per_page": size, "count": len(found), "total_count": 1}
    return Reply(found, info)


async def _list(engine: KvEngine, call: Call, _: str) -> Reply:
    limit = call.number("limit") or 1000
    prefix, cursor = call.query.get("prefix", ""), call.query.get("cursor", "")
    page = await engine.reads.run(Store.list, prefix, limit, cursor)
    return Reply(page.keys, {"count": len(page.keys), "cursor": page.cursor})


async def _get(engine: KvEngine, _: Call, key: str) -> Reply:
    entry = await engine.reads.run(Store.get, key)
    if entry is None:
        raise RefusedError(404, KEY_NOT_FOUND, "get: 'key not found'")
    return Reply(value=entry.value, expiration=entry.expires)


async def _metadata(engine: KvEngine, _: Call, key: str) -> Reply:
    entry = await engine.reads.run(Store.get, key)
    if entry is None:
        raise RefusedError(404, KEY_NOT_FOUND, "get: 'key not found'")
    return Reply(None if entry.metadata is None else msgspec.json.decode(entry.metadata))


async def _put(engine: KvEngine, call: Call, key: str) -> Reply:
    value, metadata = await call.body(VALUE_BODY_MAX), None
    kind = call.headers.get(b"content-type", b"")
    if kind.lower().startswith(b"multipart/form-data"):
        fields = parts(kind.decode("latin-1"), value)
        if "value" not in fields:
            raise RefusedError(400, REFUSED, "The form has no field named value.")
        value = fields["value"]
        metadata = msgspec.json.decode(fields["metadata"]) if fields.get("metadata") else None
    expiration, ttl = call.number("expiration"), call.number("expiration_ttl")

    def put(store: Store) -> None:
        entry = new_entry(
            key, value, store.now(), metadata=metadata, expiration=expiration, expiration_ttl=ttl
        )
        store.put([entry])

    await engine.writes.run(put)
    return Reply()


async def _delete(engine: KvEngine, _: Call, key: str) -> Reply:
    await engine.writes.run(Store.delete, [key])
    return Reply()


async def _bulk_put(engine: KvEngine, call: Call, _: str) -> Reply:
    body = await call.body(BULK_BODY_MAX)

    def put(store: Store) -> int:
        items = _items.decode(body)
        _few(items)
        now = store.now()
        store.put([from_item(item, now) for item in items])
        return len(items)

    count = await engine.writes.run(put)
    return Reply({"successful_key_count": count, "unsuccessful_keys": []})


async def _bulk_delete(engine: KvEngine, call: Call, _: str) -> Reply:
    keys = _keys.decode(await call.body(BULK_BODY_MAX))
    _few(keys)
    await engine.writes.run(Store.delete, keys)
    return Reply({"successful_key_count": len(keys), "unsuccessful_keys": []})


async def _bulk_get(engine: KvEngine, call: Call, _: str) -> Reply:
    body = _get_many.decode(await call.body(1 << 20))
    if len(body.keys) > GET_MANY_MAX:
        raise INVALID(f"{len(body.keys)} keys are more than {GET_MANY_MAX}.")

    def get(store: Store) -> dict[str, Any]:
        left, found = GET_MANY_BYTES_MAX, {}
        for key in body.keys:
            entry = store.get(key)
            left -= len(entry.value) if entry is not None else 0
            if left < 0:
                raise TOO_LARGE(f"The values have more than {GET_MANY_BYTES_MAX} bytes together.")
            found[key] = _one(entry, body)
        return found

    return Reply({"values": await engine.reads.run(get)})


def _one(entry: Entry | None, body: GetMany) -> Any:
    if entry is None:
        return None
    value: Any
    if body.type == "bytes":
        value = base64.b64encode(entry.value).decode()
    else:
        value = as_text(entry.value)[0]
    if body.type == "json":
        value = msgspec.json.decode(entry.value)
    if not body.with_metadata:
        return value
    metadata = None if entry.metadata is None else msgspec.json.decode(entry.metadata)
    return {"value": value, "metadata": metadata, "expiration": entry.expires}


def _few(items: list[Any]) -> None:
    if len(items) > BULK_MAX:
        raise INVALID(f"{len(items)} entries are more than {BULK_MAX}.")


_HANDLERS: dict[tuple[str, str, str], Callable[[KvEngine, Call, str], Awaitable[Reply]]] = {
    ("GET", "keys", ""): _list,
    ("GET", "values", "key"): _get,
    ("PUT", "values", "key"): _put,
    ("DELETE", "values", "key"): _delete,
    ("GET", "metadata", "key"): _metadata,
    ("PUT", "bulk", ""): _bulk_put,
    ("DELETE", "bulk", ""): _bulk_delete,
    ("POST", "bulk", "delete"): _bulk_delete,
    ("POST", "bulk", "get"): _bulk_get,
}


async def _reply(send: Send, reply: Reply) -> None:
    if reply.value is not None:
        extra = [(b"content-type", b"application/octet-stream")]
        if reply.expiration is not None:
            extra.append((b"expiration", str(reply.expiration).encode()))
        await _send(send, 200, reply.value, extra)
        return
    shape = {"success": True, "errors": [], "messages": [], "result": reply.result}
    if reply.info is not None:
        shape["result_info"] = reply.info
    await _send(send, 200, _encoder.encode(shape), [(b"content-type", b"application/json")])


async def _refuse(send: Send, error: RefusedError) -> None:
    await _respond(send, error.response())


async def _send(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    headers.append((b"content-length", str(len(body)).encode()))
    await _respond(send, Response(status, tuple(headers), body))


async def _respond(send: Send, response: Response) -> None:
    start = {"status": response.status, "headers": response.headers}
    await send({"type": "http.response.start", **start})
    await send({"type": "http.response.body", "body": response.body})
