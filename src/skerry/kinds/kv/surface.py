"""What a function can ask of a namespace, whether it is on this node or on another one.

    env.sessions.put("u7", {"cart": [1, 2]}, expiration_ttl=3600)
    env.sessions.get("u7", "json")

Calls are plain. Asynchronous code that minds waiting uses the same calls under `env.sessions.aio`.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from skerry.kernel.errors import INVALID
from skerry.kinds.kv.manifest import Page
from skerry.kinds.kv.store import BULK_MAX, LIST_MAX, Entry, new_entry

Type = Literal["text", "json", "bytes"]


class WithMetadata(NamedTuple):
    """A value and its metadata; both are None where there is no value."""

    value: Any
    metadata: Any


class Namespace(ABC):
    """A namespace as a function uses it; safe to use from many threads and tasks."""

    def __init__(self) -> None:
        self.aio = AsyncNamespace(self)

    @abstractmethod
    def get(self, key: str, type: Type = "text") -> Any:  # noqa: A002 - Workers KV calls it so
        """Return the value under a key as `text`, `json` or `bytes`, or None."""

    @abstractmethod
    def get_with_metadata(self, key: str, type: Type = "text") -> WithMetadata:  # noqa: A002
        """Return the value under a key and its metadata."""

    @abstractmethod
    def get_many(self, keys: Iterable[str], type: Type = "text") -> dict[str, Any]:  # noqa: A002
        """Return the values under some keys; None where there is none."""

    @abstractmethod
    def put(
        self,
        key: str,
        value: Any,
        *,
        expiration: int | None = None,
        expiration_ttl: int | None = None,
        metadata: Any = None,
    ) -> None:
        """Keep a value, durably: text and bytes as they are, anything else as JSON.

        `expiration` is a moment in seconds since 1970, `expiration_ttl` seconds from now. Raises
        INVALID or TOO_LARGE beyond 512 bytes of key, 25 MiB of value, 1024 bytes of metadata.
        """

    @abstractmethod
    def put_many(self, values: Mapping[str, Any], *, expiration_ttl: int | None = None) -> None:
        """Keep up to 10,000 values in one transaction."""

    @abstractmethod
    def delete(self, *keys: str) -> None:
        """Delete keys, durably; those that are not there are fine."""

    @abstractmethod
    def list(self, prefix: str = "", limit: int = LIST_MAX, cursor: str = "") -> Page:
        """Return a page of the keys that begin with `prefix`, in the order of their bytes."""

    @abstractmethod
    def close(self) -> None:
        """Close what this process has open of it and does not use; the next call opens anew."""


class AsyncNamespace:
    """The calls of `Namespace` as coroutines; they wait in a thread."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace

    async def get(self, key: str, type: Type = "text") -> Any:  # noqa: A002
        """See `Namespace.get`."""
        return await asyncio.to_thread(self._namespace.get, key, type)

    async def get_with_metadata(self, key: str, type: Type = "text") -> WithMetadata:  # noqa: A002
        """See `Namespace.get_with_metadata`."""
        return await asyncio.to_thread(self._namespace.get_with_metadata, key, type)

    async def put(self, key: str, value: Any, **options: Any) -> None:
        """See `Namespace.put`."""
        await asyncio.to_thread(self._namespace.put, key, value, **options)

    async def delete(self, *keys: str) -> None:
        """See `Namespace.delete`."""
        await asyncio.to_thread(self._namespace.delete, *keys)

    async def list(self, prefix: str = "", limit: int = LIST_MAX, cursor: str = "") -> Page:
        """See `Namespace.list`."""
        return await asyncio.to_thread(self._namespace.list, prefix, limit, cursor)


def entry_of(
    now: int,
    key: str,
    value: Any,
    *,
    expiration: int | None = None,
    expiration_ttl: int | None = None,
    metadata: Any = None,
) -> Entry:
    """Return what is to be kept, checked; raise INVALID or TOO_LARGE."""
    if not isinstance(value, str | bytes | bytearray | memoryview):
        try:
            value = msgspec.json.encode(value)
        except (TypeError, ValueError, msgspec.MsgspecError) as error:
            raise INVALID(f"The value of {key!r} is not JSON.", why=str(error)) from error
    return new_entry(
        key,
        value,
        now,
        metadata=metadata,
        expiration=expiration,
        expiration_ttl=expiration_ttl,
    )


def few(values: Mapping[str, Any]) -> None:
    """Raise INVALID for more values than one transaction takes."""
    if len(values) > BULK_MAX:
        raise INVALID(f"{len(values)} values are more than {BULK_MAX}.")


def decoded(value: bytes, kind: str) -> Any:
    """Return a value as it was asked for; raise INVALID if it is not of that type."""
    try:
        if kind == "text":
            return value.decode()
        if kind == "json":
            return msgspec.json.decode(value)
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        raise INVALID(f"The value is not {kind}.", why=str(error)) from error
    if kind != "bytes":
        raise INVALID(f"A value is read as text, json or bytes, not {kind!r}.")
    return value
