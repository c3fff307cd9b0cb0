"""The record: what happened to backups, durable, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.kernel.errors import SkerryError
from skerry.kernel.ledger import Reading
from skerry.node.backup.history import Failed, Happening, History, encode
from skerry.node.backup.index import parse_scope
from skerry.node.log_file import LogFile

if TYPE_CHECKING:
    from skerry.node.node import Node

ACCOUNT = "@backup"
"""Where what belongs to no single app is posted; no app can have that name."""

_MIB_HOUR = 3600 << 20


class Record:
    """Writes down what happens, and tells the ledger what was used."""

    def __init__(self, node: Node) -> None:
        self.history = History()
        self._clock = node.clock
        self._log: LogFile | None = None

    async def open(self, folder: Path) -> None:
        """Read what is kept. It is used for as long as the node runs."""
        await asyncio.to_thread(folder.mkdir, mode=0o700, exist_ok=True)
        self._log = await asyncio.to_thread(LogFile, folder, self._clock, self.history.apply)

    async def close(self) -> None:
        """Let go of the file."""
        if self._log is not None:
            await self._log.close()

    async def note(self, event: Happening) -> None:
        """Put something on record."""
        assert self._log is not None, "it is opened first"
        await self._log.append(encode(event))

    async def failed(self, what: str, store: str, scope: str, error: SkerryError) -> SkerryError:
        """Put a failure on record; return it."""
        await self.note(Failed(what, store, scope, self._clock.now(), error.code, error.what))
        return error

    def accounts(self) -> set[str]:
        """Return the accounts, besides those of apps, that backups are posted to."""
        return {ACCOUNT} if self.history.sent or self.history.kept_byte_seconds else set()

    def readings(self) -> Iterator[Reading]:
        """Yield what was sent to each store and kept there so far.

        The totals follow from this record alone, so that a crash posts nothing twice or never.
        """
        for (store, scope), sent in sorted(dict(self.history.sent).items()):
            app = parse_scope(scope).app
            account = app or f"{ACCOUNT}/{store}"
            yield Reading(f"backup-{store}-{app}", account, "backup_sent_bytes", sent)
        for store, kept in sorted(dict(self.history.kept_byte_seconds).items()):
            account = f"{ACCOUNT}/{store}"
            yield Reading(f"backup-{store}-", account, "backup_kept_mib_h", kept // _MIB_HOUR)
