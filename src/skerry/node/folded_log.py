"""A log with a snapshot of its fold, so that a start reads only what came after it.

The log stays whole: it is what counts, and what a dispute is settled by. A snapshot that is absent,
damaged, or made by other code is left alone, and all of the log is folded. One is made when the log
is closed, and while it grows: beside its own work, in a thread that folds on its own from the last
one; nobody waits for it.

A start checks the chain from the snapshot on. What lies before is checked by `check`, in a thread
that leaves the machine to others; if it is damaged, nothing more is appended.

<directory>/snapshot    a length and bytes for each part, then the SHA-256 of all that; the first
                        part says at which head of the log it was made, and by what code
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Generic, Protocol, TypeVar

import msgspec

from skerry.kernel.clock import Clock
from skerry.kernel.errors import CORRUPT, SkerryError
from skerry.kernel.log import Entry
from skerry.node.home import write_secret_parts
from skerry.node.log_file import Head, LogFile

FILE = "snapshot"
SNAPSHOT_BYTES = 16 << 20
"""How much log there is between two snapshots while the node runs."""
STOP_SNAPSHOT_BYTES = 256 << 10
"""How much log since the last snapshot makes one worth while at the end."""
CHECK_WORK_SECONDS = 0.01
CHECK_REST_SECONDS = 0.09
"""The check of what lies before a snapshot takes at most a tenth of a core."""
_DIGEST_BYTES = 32
_LENGTH = struct.Struct("<I")
_PIECE_BYTES = 1 << 20
_log = logging.getLogger(__name__)


class Fold(Protocol):
    """What a log is folded into."""

    def apply(self, body: bytes) -> None:
        """Fold one entry."""
        ...


F = TypeVar("F", bound=Fold)


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """What a snapshot says of itself: the head of the log that it was made at, and by what code."""

    sequence: int
    digest: bytes
    frame: int
    code: str

    @property
    def head(self) -> Head:
        """The head of the log that it was made at."""
        return Head(self.sequence, self.digest, self.frame)


class FoldedLog(Generic[F]):
    """The log of a fold in a directory.

    `new` makes an empty fold, `save` yields the parts of one, `restore` makes one of such parts and
    raises ValueError if it cannot. `drop` lets go of one. A snapshot holds only for the `code` that
    made it. `changed` is called after each entry that was folded.
    """

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        new: Callable[[], F],
        save: Callable[[F], Iterable[bytes]],
        restore: Callable[[Iterator[bytes]], F],
        *,
        code: str = "",
        drop: Callable[[F], None] = lambda _: None,
        changed: Callable[[], None] = lambda: None,
        snapshot_bytes: int = SNAPSHOT_BYTES,
        stop_bytes: int = STOP_SNAPSHOT_BYTES,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._new = new
        self._save_parts = save
        self._restore = restore
        self._code = code
        self._drop = drop
        self._changed = changed
        self._snapshot_bytes = snapshot_bytes
        self._stop_bytes = stop_bytes
        self._unsaved = self._snapshot_size = 0
        self._saving: asyncio.Task[None] | None = None
        self._checking: asyncio.Task[None] | None = None
        self._closing = threading.Event()
        self.folded = 0
        """How many entries were folded since this was opened."""

    async def open(self) -> F:
        """Open the log and fold what came after the last snapshot. Raises CORRUPT."""
        return await asyncio.to_thread(self._open)

    def _open(self) -> F:
        self._directory.mkdir(parents=True, exist_ok=True)
        self.fold, self._start = self._load()
        if self._start.sequence:
            self._snapshot_size = (self._directory / FILE).stat().st_size
        try:
            self.log = LogFile(self._directory, self._clock, self._take, start=self._start)
        except BaseException:
            self._drop(self.fold)
            raise
        return self.fold

    def _take(self, body: bytes) -> None:
        self._unsaved += len(body)
        self.folded += 1
        self.fold.apply(body)
        self._changed()

    def _load(self, most: int | None = None) -> tuple[F, Head]:
        """Return the fold of the snapshot and the head that it was made at.

        It is an empty one if there is no good snapshot of at `most` so many entries.
        """
        path = self._directory / FILE
        if path.exists():
            try:
                return self._read(path, most)
            except (ValueError, AssertionError) as error:
                _log.warning("%s is not used, and the whole log is folded: %s", path, error)
        return self._new(), Head()

    def _read(self, path: Path, most: int | None) -> tuple[F, Head]:
        """Read a snapshot; raise ValueError if it is no good."""
        parts = _parts(path)
        try:
            kept = msgspec.msgpack.decode(next(parts, b""), type=Kept)
            if kept.code != self._code:
                raise ValueError("other code made it")
            if most is not None and kept.sequence > most:
                return self._new(), Head()
            return self._restore(parts), kept.head
        except msgspec.MsgspecError as error:
            raise ValueError(str(error)) from error

    def beside(self, most: int) -> tuple[F, Head]:
        """Return a fold of its own of at `most` so many entries, and the head of those. Blocks."""
        return self._load(most)

    # ---- the log -------------------------------------------------------------------------------

    @property
    def head(self) -> tuple[int, bytes]:
        """See `LogFile.head`."""
        return self.log.head

    @property
    def position(self) -> Head:
        """See `LogFile.position`."""
        return self.log.position

    def read(self, start: int = 0, frame: int = 0) -> Iterator[Entry]:
        """See `LogFile.read`."""
        return self.log.read(start, frame)

    async def append(self, body: bytes) -> Entry:
        """Append an entry; it is durable and folded when this returns. See `LogFile.append`."""
        entry = await self.log.append(body)
        if self._unsaved >= self._worth(self._snapshot_bytes) and self._saving is None:
            self._saving = asyncio.create_task(self._save())
        return entry

    async def close(self) -> None:
        """Close the log, with a snapshot if it is worth it."""
        self._closing.set()
        for task in (self._saving, self._checking):
            if task is not None:
                await task
        await self.log.close()
        if self._unsaved < self._worth(self._stop_bytes):
            return
        try:
            await asyncio.to_thread(self._write, self.fold, self.log.position)
        except OSError as error:
            _log.warning("no snapshot of the log was made: %s", error)

    # ---- snapshots -----------------------------------------------------------------------------

    def _worth(self, least: int) -> int:
        """Return how much log makes a snapshot worth while: more if the last one was large."""
        return max(least, self._snapshot_size // 4)

    async def _save(self) -> None:
        covered = self._unsaved
        try:
            if await asyncio.to_thread(self._fold_beside, self.log.position):
                self._unsaved -= covered
        except (SkerryError, OSError) as error:
            # The log has everything; the next start only takes longer.
            _log.warning("no snapshot of the log was made: %s", error)
        finally:
            self._saving = None

    def _fold_beside(self, head: Head) -> bool:
        """Fold once more from the last snapshot, up to a head, and keep what comes of it.

        Returns False if the log was about to be closed, which makes one itself.
        """
        fold, start = self._load()
        try:
            sequence, digest = start.sequence, start.digest
            for entry in self.log.read(sequence, start.frame):
                if entry.sequence >= head.sequence:
                    break
                if self._closing.is_set():
                    return False
                fold.apply(entry.body)
                sequence, digest = entry.sequence + 1, entry.digest()
            if (sequence, digest) != head[:2]:
                raise CORRUPT(f"The log was read up to entry {sequence}, and {head[0]} was meant.")
            self._write(fold, head)
        finally:
            self._drop(fold)
        return True

    def _write(self, fold: F, head: Head) -> None:
        kept = msgspec.msgpack.encode(Kept(*head, self._code))
        path = self._directory / FILE
        write_secret_parts(path, _framed(kept, self._save_parts(fold)))
        self._snapshot_size = path.stat().st_size

    # ---- the check -----------------------------------------------------------------------------

    def check(self) -> None:
        """Begin to check what the start did not read: the chain from its origin to the snapshot."""
        if self._start.sequence:
            self._checking = asyncio.create_task(self._check())

    async def _check(self) -> None:
        try:
            await asyncio.to_thread(self._check_before, self._start)
        except (SkerryError, OSError) as error:
            _log.exception("the log in %s is damaged; nothing is appended to it", self._directory)
            self.log.refuse(error)

    async def checked(self) -> None:
        """Wait until that check has ended."""
        if self._checking is not None:
            await asyncio.shield(self._checking)

    def _check_before(self, head: Head) -> None:
        """Read the log up to a head; raise CORRUPT if it does not lead there."""
        began = time.monotonic()
        for entry in self.log.read():
            if entry.sequence == head.sequence - 1:
                if entry.digest() != head.digest:
                    raise CORRUPT(
                        f"The log does not lead to its snapshot at entry {head.sequence}.",
                        why="It was written anew, or the snapshot is of another log.",
                        hint="skerry doctor",
                    )
                return
            if time.monotonic() - began > CHECK_WORK_SECONDS:
                if self._closing.wait(CHECK_REST_SECONDS):
                    return
                began = time.monotonic()


def code_of(package: ModuleType) -> str:
    """Return a digest of a package's code: a snapshot of what it folds holds for no other."""
    digest = hashlib.sha256()
    for folder in package.__path__:
        for path in sorted(Path(folder).rglob("*.py")):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _framed(kept: bytes, parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what a snapshot's file holds."""
    digest = hashlib.sha256()
    for part in chain((kept,), parts):
        for piece in (_LENGTH.pack(len(part)), part):
            digest.update(piece)
            yield piece
    yield digest.digest()


def _parts(path: Path) -> Iterator[bytes]:
    """Yield the parts of a snapshot once its digest was checked; raise ValueError if it differs."""
    with path.open("rb") as file:
        left = os.fstat(file.fileno()).st_size - _DIGEST_BYTES
        digest, end = hashlib.sha256(), left
        while left > 0 and (piece := file.read(min(left, _PIECE_BYTES))):
            digest.update(piece)
            left -= len(piece)
        if end < 0 or file.read() != digest.digest():
            raise ValueError("it does not have the digest that it tells")
        file.seek(0)
        while file.tell() < end:
            (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
            yield file.read(length)
