"""The binding of a namespace on another node: Workers KV's HTTP API, through the nodes' tunnel.

What can be checked without the other node is checked here, by the same code as there. A read is
sent again if its connection breaks; a write never is.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from skerry.kernel.clock import NANOSECONDS, SystemEntropy
from skerry.kernel.errors import (
    BUSY,
    CONFLICT,
    ENGINE_FAILED,
    INVALID,
    READ_ONLY,
    TOO_LARGE,
    UNAUTHENTICATED,
    Problem,
    SkerryError,
)
from skerry.kernel.kind import Context
from skerry.kinds._shared.http.message import Answer, Ask
from skerry.kinds._shared.http.pool import Pool
from skerry.kinds.kv.claim import namespace_id, token
from skerry.kinds.kv.manifest import Key, Page
from skerry.kinds.kv.multipart import form
from skerry.kinds.kv.store import (
    BULK_MAX,
    LIST_MAX,
    VALUE_BYTES_MAX,
    Entry,
    key_bytes,
    listable,
)
from skerry.kinds.kv.surface import Namespace, Type, WithMetadata, decoded, entry_of, few
from skerry.kinds.kv.transfer import to_item
from skerry.kinds.kv.wire_limits import BULK_BODY_MAX, GET_MANY_MAX, KEY_NOT_FOUND

REQUEST_SECONDS = 60.0
"""Longer than a write waits for another writer, so that its own error comes first."""
ANSWER_BYTES_MAX = VALUE_BYTES_MAX * 4 // 3 + (4 << 20)

_PROBLEMS: dict[int, Problem] = {
    400: INVALID,
    401: UNAUTHENTICATED,
    403: READ_ONLY,
    409: CONFLICT,
    413: TOO_LARGE,
    503: BUSY,
}


class _Error(msgspec.Struct, frozen=True):
    code: int
    message: str


class _Found(msgspec.Struct, frozen=True):
    value: str
    metadata: Any = None


class _Values(msgspec.Struct, frozen=True):
    values: dict[str, _Found | None]


class _Info(msgspec.Struct, frozen=True):
    cursor: str = ""


class _Envelope(msgspec.Struct, frozen=True):
    success: bool
    errors: list[_Error] = []
    result: msgspec.Raw = msgspec.Raw(b"null")
    result_info: _Info = _Info()


_envelope = msgspec.json.Decoder(_Envelope)


class RemoteNamespace(Namespace):
    """A namespace on another node."""

    def __init__(self, context: Context, path: str) -> None:
        super().__init__()
        self._clock = context.clock
        self._name = context.ref.name
        self._pool = Pool(context.ref.name, path, context.clock, REQUEST_SECONDS)
        self._authorization = f"Bearer {token(context.id, context.keys)}"
        account, namespace = context.ref.app, namespace_id(context.id)
        self._base = f"/client/v4/accounts/{account}/storage/kv/namespaces/{namespace}"

    def get(self, key: str, type: Type = "text") -> Any:  # noqa: A002 - Workers KV calls it so
        """See `Namespace.get`."""
        answer = self._ask("GET", self._value(key), repeatable=True)
        return None if answer is None else decoded(answer.body, type)

    def get_with_metadata(self, key: str, type: Type = "text") -> WithMetadata:  # noqa: A002
        """See `Namespace.get_with_metadata`."""
        key_bytes(key)
        found = self._get_many([key], metadata=True)[key]
        if found is None:
            return WithMetadata(None, None)
        return WithMetadata(decoded(base64.b64decode(found.value), type), found.metadata)

    def get_many(self, keys: Iterable[str], type: Type = "text") -> dict[str, Any]:  # noqa: A002
        """See `Namespace.get_many`: a hundred keys a request, unless their values are large."""
        values: dict[str, Any] = {}
        for some in _some(keys):
            for key in some:
                key_bytes(key)
            try:
                found = self._get_many(some, metadata=False)
            except SkerryError as error:
                if error.problem is not TOO_LARGE or len(some) == 1:
                    raise
                values.update({key: self.get(key, type) for key in some})
                continue
            for key, each in found.items():
                raw = None if each is None else base64.b64decode(each.value)
                values[key] = None if raw is None else decoded(raw, type)
        return values

    def put(
        self,
        key: str,
        value: Any,
        *,
        expiration: int | None = None,
        expiration_ttl: int | None = None,
        metadata: Any = None,
    ) -> None:
        """See `Namespace.put`."""
        entry = entry_of(
            self._now(),
            key,
            value,
            expiration=expiration,
            expiration_ttl=expiration_ttl,
            metadata=metadata,
        )
        given = {"expiration": expiration, "expiration_ttl": expiration_ttl}
        query = urlencode({name: each for name, each in given.items() if each is not None})
        target = self._value(key) + (f"?{query}" if query else "")
        if entry.metadata is None:
            self._ask("PUT", target, entry.value, "application/octet-stream")
            return
        kind, body = form({"value": entry.value, "metadata": entry.metadata.encode()}, _boundary())
        self._ask("PUT", target, body, kind)

    def put_many(self, values: Mapping[str, Any], *, expiration_ttl: int | None = None) -> None:
        """See `Namespace.put_many`; TOO_LARGE beyond 100 MiB, which the wire has as a limit."""
        few(values)
        now = self._now()
        entries = [
            entry_of(now, key, each, expiration_ttl=expiration_ttl) for key, each in values.items()
        ]
        items = [_item(each, expiration_ttl) for each in entries]
        self._ask("PUT", f"{self._base}/bulk", _bounded(items), "application/json")

    def delete(self, *keys: str) -> None:
        """See `Namespace.delete`; beyond 10,000 keys it is more than one transaction."""
        for key in keys:
            key_bytes(key)
        if len(keys) == 1:
            self._ask("DELETE", self._value(keys[0]))
            return
        for some in _some(keys, BULK_MAX):
            body = _bounded(some)
            self._ask("POST", f"{self._base}/bulk/delete", body, "application/json")

    def list(self, prefix: str = "", limit: int = LIST_MAX, cursor: str = "") -> Page:
        """See `Namespace.list`."""
        listable(prefix, limit, cursor)
        query = urlencode({"prefix": prefix, "limit": limit, "cursor": cursor})
        answer = self._ask("GET", f"{self._base}/keys?{query}", repeatable=True)
        envelope = self._envelope(answer)
        keys = msgspec.json.decode(envelope.result, type=tuple[Key, ...])
        return Page(keys, envelope.result_info.cursor)

    def close(self) -> None:
        """See `Namespace.close`."""
        self._pool.close()

    def _get_many(self, keys: Sequence[str], *, metadata: bool) -> dict[str, _Found | None]:
        shape = {"keys": keys, "type": "bytes", "withMetadata": True}
        body = msgspec.json.encode({**shape, "withMetadata": metadata})
        target = f"{self._base}/bulk/get"
        answer = self._ask("POST", target, body, "application/json", repeatable=True)
        raw = self._envelope(answer).result
        if metadata:
            return msgspec.json.decode(raw, type=_Values).values
        plain = msgspec.json.decode(raw, type=dict[str, dict[str, str | None]])["values"]
        return {key: None if each is None else _Found(each) for key, each in plain.items()}

    def _value(self, key: str) -> str:
        key_bytes(key)
        return f"{self._base}/values/{quote(key, safe='')}"

    def _now(self) -> int:
        return self._clock.now() // NANOSECONDS

    def _ask(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        kind: str = "",
        *,
        repeatable: bool = False,
    ) -> Answer | None:
        """Send a request; return the answer, None for a key that is not there, or raise."""
        headers = {"authorization": self._authorization}
        if kind:
            headers["content-type"] = kind
        ask = Ask(method, target, headers, body, repeatable)
        answer = self._pool.ask(ask, limit=ANSWER_BYTES_MAX)
        if answer.status == 200:
            return answer
        errors = self._envelope(answer).errors
        if answer.status == 404 and errors and errors[0].code == KEY_NOT_FOUND:
            return None
        what = errors[0].message if errors else f"The namespace answered {answer.status}."
        raise _PROBLEMS.get(answer.status, ENGINE_FAILED)(what)

    def _envelope(self, answer: Answer | None) -> _Envelope:
        try:
            return _envelope.decode(b"" if answer is None else answer.body)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            what = f"What answers for {self._name} is no namespace."
            raise ENGINE_FAILED(what, why=str(error)) from error


async def bind(context: Context) -> Namespace:
    """Return the binding; nothing is sent yet."""
    return RemoteNamespace(context, await context.host.ready(context.ref.name))


def _item(entry: Entry, expiration_ttl: int | None) -> Any:
    """Return an entry as bulk calls take it, with the lifetime that was asked for."""
    item = msgspec.structs.replace(to_item(entry), expiration=None)
    return msgspec.structs.replace(item, expiration_ttl=expiration_ttl)


def _bounded(shape: Any) -> bytes:
    body = msgspec.json.encode(shape)
    if len(body) > BULK_BODY_MAX:
        raise TOO_LARGE(f"{len(body)} bytes in one call are more than {BULK_BODY_MAX}.")
    return body


def _boundary() -> str:
    return SystemEntropy().bytes(16).hex()


def _some(keys: Iterable[str], count: int = GET_MANY_MAX) -> Iterator[list[str]]:
    """Yield keys, so many at a time."""
    left = iter(keys)
    while some := list(islice(left, count)):
        yield some
