"""The binding of a namespace on this node: a function opens it in its own process.

A read takes microseconds. A write waits for the disk and for other writers.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from skerry.kernel.kind import Context
from skerry.kinds.kv.manifest import Page
from skerry.kinds.kv.store import FILE, LIST_MAX, Store
from skerry.kinds.kv.surface import Namespace, Type, WithMetadata, decoded, entry_of, few


class OpenNamespace(Namespace):
    """A namespace whose file is open in this process."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self._local = threading.local()
        self._stores: weakref.WeakSet[Store] = weakref.WeakSet()

    def get(self, key: str, type: Type = "text") -> Any:  # noqa: A002 - Workers KV calls it so
        """See `Namespace.get`."""
        entry = self._store().get(key)
        return None if entry is None else decoded(entry.value, type)

    def get_with_metadata(self, key: str, type: Type = "text") -> WithMetadata:  # noqa: A002
        """See `Namespace.get_with_metadata`."""
        entry = self._store().get(key)
        if entry is None:
            return WithMetadata(None, None)
        metadata = None if entry.metadata is None else msgspec.json.decode(entry.metadata)
        return WithMetadata(decoded(entry.value, type), metadata)

    def get_many(self, keys: Iterable[str], type: Type = "text") -> dict[str, Any]:  # noqa: A002
        """See `Namespace.get_many`."""
        return {key: self.get(key, type) for key in keys}

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
        store = self._store()
        entry = entry_of(
            store.now(),
            key,
            value,
            expiration=expiration,
            expiration_ttl=expiration_ttl,
            metadata=metadata,
        )
        store.put([entry])

    def put_many(self, values: Mapping[str, Any], *, expiration_ttl: int | None = None) -> None:
        """See `Namespace.put_many`."""
        few(values)
        store = self._store()
        now = store.now()
        store.put(
            [
                entry_of(now, key, each, expiration_ttl=expiration_ttl)
                for key, each in values.items()
            ]
        )

    def delete(self, *keys: str) -> None:
        """See `Namespace.delete`."""
        self._store().delete(keys)

    def list(self, prefix: str = "", limit: int = LIST_MAX, cursor: str = "") -> Page:
        """See `Namespace.list`."""
        return self._store().list(prefix, limit, cursor)

    def close(self) -> None:
        """See `Namespace.close`."""
        self._local = threading.local()
        while self._stores:
            self._stores.pop().close()

    def _store(self) -> Store:
        """Return this thread's store."""
        try:
            store: Store = self._local.store
        except AttributeError:
            context = self._context
            store = Store(context.directory / FILE, context.clock, context.meter)
            self._local.store = store
            self._stores.add(store)
        return store


async def bind(context: Context) -> Namespace:
    """Return the binding; the namespace is made by its engine if this is its first use."""
    await context.host.ready(context.ref.name)
    return OpenNamespace(context)
