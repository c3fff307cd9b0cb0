"""The state of a resource as its users see it: the database, the content files, and the janitor."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from skerry.kinds.bucket.state import collect
from skerry.kinds.bucket.state.blobs import Blobs
from skerry.kinds.bucket.state.content import MissingContentError
from skerry.kinds.bucket.state.database import Database
from skerry.kinds.bucket.state.sink import Taken

T = TypeVar("T")
DATABASE = "bucket.sqlite"
_DISK_THREADS = 8
_COLLECT_DELAY_SECONDS = 1.0
_COLLECT_RETRY_SECONDS = 30.0
_COLLECT_PERIOD_SECONDS = 60.0
"""Bindings delete in other processes, which cannot tell the janitor."""

_PLACE_TRIES = 5


class Store:
    """Opens and serves the state in a directory; several processes may have it open at once."""

    def __init__(self, directory: Path, log: logging.Logger) -> None:
        self._directory = directory
        self._log = log
        self._database = Database(directory / DATABASE)
        self._disk = ThreadPoolExecutor(_DISK_THREADS, thread_name_prefix="bucket-disk")
        self._rubbish = asyncio.Event()
        self._janitor: asyncio.Task[None] | None = None
        self._collecting = asyncio.Lock()
        self.blobs = Blobs(directory)

    async def open(self) -> None:
        """Open the state, making it if the directory is empty."""
        await self.disk(self.blobs.prepare)
        await self._database.open()

    async def close(self) -> None:
        """Close the state."""
        if self._janitor is not None:
            self._janitor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._janitor
            self._janitor = None
        await self._database.close()
        await asyncio.to_thread(self._disk.shutdown)

    def keep_tidy(self, *, after_crash: bool) -> None:
        """Collect what nobody refers to from now on; the engine does, bindings do not."""
        self._janitor = asyncio.create_task(self._tidy(after_crash))
        self._rubbish.set()

    async def disk(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run what may wait for the disk, or computes long, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._disk, function, *arguments)

    async def read(self, function: Callable[..., T], *arguments: Any) -> T:
        """See `Database.read`."""
        return await self._database.read(function, *arguments)

    async def write(self, function: Callable[..., T], *arguments: Any) -> T:
        """See `Database.write`."""
        return await self._database.write(function, *arguments)

    async def adopt(self, taken: Taken, function: Callable[..., T], *arguments: Any) -> T:
        """Write what refers to a content that was taken in, and end its temporary file."""
        try:
            for _ in range(_PLACE_TRIES):
                try:
                    return await self.write(function, *arguments)
                except MissingContentError:
                    incoming = taken.incoming
                    assert incoming is not None, "only files can be missing"
                    await self.disk(self.blobs.place, incoming, taken.pieces[0].digest)
            raise MissingContentError
        finally:
            if taken.incoming is not None:
                await asyncio.shield(self.disk(taken.close))

    def rubbish(self) -> None:
        """Tell the janitor that something was deleted."""
        self._rubbish.set()

    def keeping(self) -> asyncio.Lock:
        """Return a context in which content files stay though they are deleted."""
        return self._collecting

    async def freeze(self) -> None:
        """Hold off writers of all processes."""
        await self._database.freeze()

    async def thaw(self) -> None:
        """Let writers go on."""
        await self._database.thaw()

    async def checkpoint(self) -> None:
        """Make the coming freeze short."""
        await self._database.checkpoint()

    async def _tidy(self, after_crash: bool) -> None:
        if after_crash:
            await self._guarded(self._sweep)
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._rubbish.wait(), _COLLECT_PERIOD_SECONDS)
            self._rubbish.clear()
            await asyncio.sleep(_COLLECT_DELAY_SECONDS)
            async with self._collecting:
                await self._guarded(self._empty_trash)

    async def _guarded(self, step: Callable[[], Any]) -> None:
        """Run a step; rubbish that cannot be removed now is logged and tried again later."""
        try:
            await step()
        except Exception:
            self._log.exception("Collecting deleted contents failed; it will be tried again.")
            await asyncio.sleep(_COLLECT_RETRY_SECONDS)
            self._rubbish.set()

    async def _empty_trash(self) -> None:
        more, kept = True, False
        while more:
            more, kept = await self.write(collect.empty_trash, self.blobs)
        if kept:
            asyncio.get_running_loop().call_later(_COLLECT_RETRY_SECONDS, self._rubbish.set)

    async def _sweep(self) -> None:
        removed = await self.disk(self.blobs.sweep_incoming)
        for folder in await self.disk(self.blobs.folders):
            removed += await self.write(collect.sweep, self.blobs, folder)
            await asyncio.sleep(0)
        if removed:
            self._log.info("Removed %d content files that a crash had left.", removed)
