"""The engine of a bucket resource."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from skerry.kernel.kind import Context, Engine
from skerry.kernel.reading import leader_of
from skerry.kinds.bucket import archive, words
from skerry.kinds.bucket.account import Account
from skerry.kinds.bucket.expiry import Expiry
from skerry.kinds.bucket.state.store import Store

RUNNING = "running"


class BucketEngine(words.Words, Engine):
    """Serves an S3 account from one directory."""

    account: Account

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._store = Store(context.directory, context.log)
        self.account = Account(context, self._store)
        self.expiry = Expiry(self.account)

    async def start(self) -> None:
        """See `Engine.start`; a state without the mark of a clean stop is swept."""
        mark = self.context.directory / RUNNING
        crashed = await self._store.disk(mark.exists)
        await self._store.open()
        await self._store.disk(mark.touch)
        await self.account.load_users()
        if leader_of(mark):
            return
        await self.account.create_default()
        self._store.keep_tidy(after_crash=crashed)
        self.expiry.start()

    async def stop(self) -> None:
        """See `Engine.stop`."""
        await self.expiry.stop()
        await self._store.disk((self.context.directory / RUNNING).unlink, True)
        await self._store.close()

    async def prepare(self) -> None:
        """See `Engine.prepare`."""
        await self._store.checkpoint()

    async def freeze(self, atomic: bool) -> None:
        """See `Engine.freeze`; content files never change, so the database's lock is enough."""
        await self._store.freeze()

    async def thaw(self) -> None:
        """See `Engine.thaw`."""
        await self._store.thaw()

    async def export(self, target: Path) -> None:
        """See `Engine.export`; the shape is told in `archive`."""
        await archive.export(self.account, target)

    async def restore(self, source: Path) -> None:
        """See `Engine.restore`."""
        await archive.restore(self.account, source)

    async def status(self) -> dict[str, Any]:
        """Return counts and sizes."""
        return await self._store.read(words.status)
