"""A log with a snapshot of its fold, so that a start reads only what came after it.

The log stays whole: it is what counts, and what a dispute is settled by. A snapshot that is damaged
or of another version is left alone, and all of the log is folded. Snapshots are made beside the
log's own work, in a thread that folds on its own from the last one; nobody waits for it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import msgspec

from skerry.kernel.clock import Clock
from skerry.kernel.errors import CORRUPT, SkerryError
from skerry.kernel.log import GENESIS, Entry
from skerry.node.home import write_secret
from skerry.node.log_file import LogFile

FILE = "snapshot"
SNAPSHOT_BYTES = 16 << 20
"""How much log there is between two snapshots while the node runs: about a second of a start."""
STOP_SNAPSHOT_BYTES = 256 << 10
"""How much log since the last snapshot makes one worth while at the end."""
_DIGEST_BYTES = 32
_log = logging.getLogger("skerry.market")


class Fold(Protocol):
    """What a log is folded into."""

    def apply(self, body: bytes) -> None:
        """Fold one entry."""
        ...

    def save(self) -> bytes:
        """Return the whole state."""
        ...


F = TypeVar("F", bound=Fold)


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """A snapshot: the head of the log that it was taken at, and the state."""

    sequence: int
    digest: bytes
    state: bytes


class Archive(Generic[F]):
    """The log of a fold in a directory. `new` makes an empty fold, `restore` one that was saved."""

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        new: Callable[[], F],
        restore: Callable[[bytes], F],
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._new = new
        self._restore = restore
        self._unsaved = 0
        self._saving: asyncio.Task[None] | None = None
        self.folded = 0
        """How many entries were folded since this was opened."""

    async def open(self) -> F:
        """Open the log and fold what came after the last snapshot. Raises CORRUPT."""
        return await asyncio.to_thread(self._open)

    def _open(self) -> F:
        self._directory.mkdir(parents=True, exist_ok=True)
        self.fold, start = self._load()

        def take(body: bytes) -> None:
            self._unsaved += len(body)
            self.folded += 1
            self.fold.apply(body)

        self.log = LogFile(self._directory, self._clock, take, start=start)
        return self.fold

    def _load(self) -> tuple[F, tuple[int, bytes]]:
        """Return the fold of the snapshot and the head that it was taken at."""
        path = self._directory / FILE
        if path.exists():
            try:
                kept = _read(path)
                return self._restore(kept.state), (kept.sequence, kept.digest)
            except (ValueError, AssertionError) as error:
                _log.warning("%s is not used, and the whole log is folded: %s", path, error)
        return self._new(), (0, GENESIS)

    async def append(self, body: bytes) -> Entry:
        """Append an entry; it is durable and folded when this returns. See `LogFile.append`."""
        entry = await self.log.append(body)
        if self._unsaved >= SNAPSHOT_BYTES and self._saving is None:
            self._unsaved = 0
            self._saving = asyncio.create_task(self._save())
        return entry

    async def _save(self) -> None:
        try:
            await asyncio.to_thread(self._fold_beside, self.log.head)
        except (SkerryError, OSError) as error:
            # The log has everything; the next start only takes longer.
            _log.warning("no snapshot of the log was made: %s", error)
        finally:
            self._saving = None

    def _fold_beside(self, head: tuple[int, bytes]) -> None:
        """Fold once more from the last snapshot, up to a head, and keep what comes of it."""
        fold, reached = self._load()
        for entry in self.log.read(reached[0]):
            if entry.sequence >= head[0]:
                break
            fold.apply(entry.body)
            reached = entry.sequence + 1, entry.digest()
        if reached != head:
            raise CORRUPT(f"The log was read up to entry {reached[0]}, and {head[0]} was meant.")
        self._write(fold, head)

    def _write(self, fold: F, head: tuple[int, bytes]) -> None:
        body = msgspec.msgpack.encode(Kept(head[0], head[1], fold.save()))
        write_secret(self._directory / FILE, hashlib.sha256(body).digest() + body)

    async def close(self) -> None:
        """Close the log, with a snapshot if it is worth it."""
        if self._saving is not None:
            await self._saving
        await self.log.close()
        if self._unsaved >= STOP_SNAPSHOT_BYTES:
            await asyncio.to_thread(self._write, self.fold, self.log.head)


def _read(path: Path) -> Kept:
    """Return a snapshot; raise ValueError if it is damaged."""
    data = path.read_bytes()
    digest, body = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        raise ValueError("it does not have the digest that it tells")
    try:
        return msgspec.msgpack.decode(body, type=Kept)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error
