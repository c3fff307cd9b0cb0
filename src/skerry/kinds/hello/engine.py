"""The engine of kind hello."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from skerry.kernel.errors import INVALID
from skerry.kernel.journal import journal_of
from skerry.kernel.kind import Engine
from skerry.kinds.hello.guestbook import FILE_NAME, Guestbook
from skerry.kinds.hello.manifest import Greet, Greeted


class HelloEngine(Engine):
    """Serves one guestbook."""

    _book: Guestbook | None = None
    _hold: Guestbook | None = None

    @property
    def book(self) -> Guestbook:
        """The open guestbook."""
        assert self._book is not None, "the engine is started"
        return self._book

    async def start(self) -> None:
        """See `Engine.start`."""
        self._book = await asyncio.to_thread(Guestbook, self.context.directory)

    async def stop(self) -> None:
        """See `Engine.stop`."""
        if self._book is not None:
            self._book.close()
            self._book = None

    async def freeze(self, atomic: bool) -> None:
        """Take the lock on a descriptor of its own, so that this engine's writers wait too."""
        self._hold = Guestbook(self.context.directory)
        await asyncio.to_thread(self._hold.hold)

    async def thaw(self) -> None:
        """See `Engine.thaw`."""
        if self._hold is not None:
            self._hold.close()
            self._hold = None

    async def export(self, target: Path) -> None:
        """Write the guests, one a line, in the order of their greetings."""
        source = self.context.directory / FILE_NAME
        await asyncio.to_thread(lambda: (target / FILE_NAME).write_bytes(source.read_bytes()))

    async def restore(self, source: Path) -> None:
        """See `Engine.restore`."""
        file = source / FILE_NAME
        if not file.is_file():
            raise INVALID(f"The export has no {FILE_NAME}.")
        data = await asyncio.to_thread(file.read_bytes)
        await self.stop()
        target = self.context.directory / FILE_NAME
        target.write_bytes(data)
        await asyncio.to_thread(journal_of(target).replaced, target)
        await self.start()

    async def status(self) -> dict[str, Any]:
        """See `Engine.status`."""
        return {"guests": len(self.book.counts())}

    async def greet(self, guest: str) -> Greeted:
        """Greet a guest and remember it."""
        times = await asyncio.to_thread(self.book.add, guest)
        self.context.meter.add("greetings")
        return Greeted(f"{self.context.config.greeting}, {guest}!", times)

    async def guests(self) -> dict[str, int]:
        """Return how often each guest has been greeted."""
        return dict(await asyncio.to_thread(self.book.counts))

    async def word_greet(self, params: Greet) -> Greeted:
        """Carry out `skerry hello greet`."""
        return await self.greet(params.guest)
