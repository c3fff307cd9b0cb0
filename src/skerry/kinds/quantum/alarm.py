"""When the node is to wake a resource, kept in a file of its state.

The file is there while jobs are not over. It is empty where there is something to do at once, else
it holds the moment (nanoseconds since 1970) at which a job on hardware is looked at next.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from skerry.kernel.journal import journal_of

OPEN_FILE = "open-jobs"


class Alarm:
    """The file of one resource, set by the queue of twins, by hybrid jobs and by jobs on
    hardware."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / OPEN_FILE
        self._lock = asyncio.Lock()
        self._at_once = self._hybrid = False
        self._hardware: int | None = 0
        self._written: str | None = None

    async def queue(self, *, waits: bool) -> None:
        """Say whether jobs wait in the queue of twins, or run."""
        self._at_once = waits
        await self._write()

    async def hybrid(self, *, waits: bool) -> None:
        """Say whether hybrid jobs wait, or run."""
        self._hybrid = waits
        await self._write()

    async def hardware(self, at: int | None) -> None:
        """Say when a job on hardware is due, 0 for at once; None if none is out."""
        self._hardware = at
        await self._write()

    async def _write(self) -> None:
        async with self._lock:
            wanted: str | None = ""
            if not (self._at_once or self._hybrid):
                wanted = None if self._hardware is None else str(self._hardware or "")
            if wanted != self._written or not await asyncio.to_thread(self._path.exists):
                await asyncio.to_thread(self._put, wanted)
                self._written = wanted

    def _put(self, text: str | None) -> None:
        journal = journal_of(self._path)
        if text is None:
            if self._path.exists():
                self._path.unlink()
                journal.removed(self._path)
            return
        self._path.write_text(text, encoding="ascii")
        journal.replaced(self._path)


def due(directory: Path) -> int | None:
    """Return when a resource is to be woken, 0 for at once, None for never."""
    try:
        text = (directory / OPEN_FILE).read_text(encoding="ascii")
    except FileNotFoundError:
        return None
    return int(text) if text.isdecimal() else 0
