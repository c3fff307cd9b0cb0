"""The engine of a namespace: reads in a few threads, writes in one, and a purge now and then."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from skerry.kernel.errors import NOT_FOUND, SkerryError
from skerry.kernel.kind import Context, Engine
from skerry.kernel.reading import leader_of
from skerry.kinds._shared.sqlite_state import WriterHold, checkpoint, connect, disk_bytes
from skerry.kinds.kv import transfer
from skerry.kinds.kv.manifest import Done, KeyParams, ListParams, Page, PutParams, Value
from skerry.kinds.kv.store import FILE, Store, new_entry

READ_THREADS = 4
PURGE_SECONDS = 60.0

P = ParamSpec("P")
T = TypeVar("T")


class Pool:
    """Threads that each have a store of their own."""

    def __init__(self, make: Callable[[], Store], threads: int, name: str) -> None:
        self._make = make
        self._local = threading.local()
        self._stores: list[Store] = []
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(
        self, job: Callable[Concatenate[Store, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call `job(store, …)` in a thread, to its end even if the caller is cancelled."""
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._threads, lambda: job(self._store(), *args, **kwargs))
        return await asyncio.shield(future)

    def close(self) -> None:
        """Wait for what runs, then close every store. Blocks."""
        self._threads.shutdown(wait=True)
        for store in self._stores:
            store.close()

    def _store(self) -> Store:
        store: Store | None = getattr(self._local, "store", None)
        if store is None:
            store = self._local.store = self._make()
            self._stores.append(store)
        return store


class KvEngine(Engine):
    """Serves one namespace."""

    reads: Pool
    writes: Pool

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.path = context.directory / FILE
        self._hold = WriterHold(self.path)
        self._purger: asyncio.Task[None] | None = None
        self._pools: tuple[Pool, ...] = ()

    async def start(self) -> None:
        """Open the namespace, making it if there is none."""
        await asyncio.to_thread(lambda: self._open(create=True).close())
        self.reads = Pool(self._open, READ_THREADS, "kv-read")
        self.writes = Pool(self._open, 1, "kv-write")
        self._pools = (self.writes, self.reads)
        if not leader_of(self.path):
            self._purger = asyncio.create_task(self._purge())

    async def stop(self) -> None:
        """Finish what runs and close the file."""
        if self._purger is not None:
            self._purger.cancel()
            await asyncio.gather(self._purger, return_exceptions=True)
        await asyncio.to_thread(self._hold.release)
        for pool in self._pools:
            await asyncio.to_thread(pool.close)

    async def prepare(self) -> None:
        """Move the log into the file, so that little is left to copy or recover."""
        await asyncio.to_thread(self._checkpoint)

    async def freeze(self, atomic: bool) -> None:
        """Hold off writers in all processes."""
        await asyncio.to_thread(self._hold.hold)

    async def thaw(self) -> None:
        """Let writers go on."""
        await asyncio.to_thread(self._hold.release)

    async def export(self, target: Path) -> None:
        """Write `entries.ndjson`."""
        await self.reads.run(transfer.export, target)

    async def restore(self, source: Path) -> None:
        """Replace everything by an export."""
        await self.writes.run(transfer.restore, source)

    async def status(self) -> dict[str, Any]:
        """Return how many values are kept and how large the files are."""
        count = await self.reads.run(Store.count)
        return {"keys": count, "bytes": disk_bytes(self.path)}

    async def word_get(self, params: KeyParams) -> Value:
        """Return a value; raise NOT_FOUND if there is none."""
        entry = await self.reads.run(Store.get, params.key)
        if entry is None:
            hint = f"skerry kv list {self.context.ref.name}"
            raise NOT_FOUND(f"There is no value under {params.key!r}.", hint=hint)
        item = transfer.to_item(entry)
        return Value(item.value, bool(item.base64), item.metadata, item.expiration)

    async def word_put(self, params: PutParams) -> Done:
        """Keep a text under a key."""
        await self.writes.run(_put, params)
        return Done(changed=True)

    async def word_delete(self, params: KeyParams) -> Done:
        """Delete a key, if it is there."""
        return Done(changed=await self.writes.run(Store.delete, [params.key]) > 0)

    async def word_list(self, params: ListParams) -> Page:
        """Return a page of keys."""
        return await self.reads.run(Store.list, params.prefix, params.limit, params.cursor)

    def _open(self, *, create: bool = False) -> Store:
        return Store(self.path, self.context.clock, self.context.meter, create=create)

    def _checkpoint(self) -> None:
        connection = connect(self.path)
        try:
            checkpoint(connection)
        finally:
            connection.close()

    async def _purge(self) -> None:
        """Remove expired values, a bounded number at a time, so that writers get their turn."""
        while True:
            try:
                while await self.reads.run(Store.has_expired):
                    await self.writes.run(Store.purge)
            except SkerryError as error:
                self.context.log.warning("expired values were not removed: %s", error.what)
            await asyncio.sleep(PURGE_SECONDS)


def _put(store: Store, params: PutParams) -> None:
    entry = new_entry(
        params.key,
        params.value,
        store.now(),
        metadata=params.metadata,
        expiration_ttl=params.expiration_ttl,
    )
    store.put([entry])
