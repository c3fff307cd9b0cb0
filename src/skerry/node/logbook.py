"""The logbook: what functions and engines said, a bounded file a branch, with secrets masked."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import msgspec

from skerry.kernel.clock import Clock
from skerry.kernel.commands import LogRecord
from skerry.node.log_lines import ENGINES, parse_line

FILE_BYTES_MAX = 8 * 1024 * 1024
FOLLOWER_LINES_MAX = 1000
PENDING_LINES_MAX = 20_000
WRITE_SECONDS = 0.2
_MASK = "••••••"
_SECRET_LENGTH_MIN = 6

_log = logging.getLogger(__name__)


class Logbook:
    """Takes lines, keeps them, and hands them to who follows.

    A file that is full becomes the branch's older file; what was older is dropped.
    """

    def __init__(
        self, directory: Path, clock: Clock, secrets_of: Callable[[str], Iterable[str]]
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._secrets_of = secrets_of
        self._pending: deque[LogRecord] = deque(maxlen=PENDING_LINES_MAX)
        self._followers: dict[asyncio.Queue[LogRecord], tuple[str, str]] = {}
        self._writer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None

    def take(self, app: str, branch: str, source: str, line: str) -> None:
        """Take a line that a process wrote."""
        level, name, text = parse_line(line)
        for secret in self._secrets_of(app):
            if len(secret) >= _SECRET_LENGTH_MIN:
                text = text.replace(secret, _MASK)
        where = name.removeprefix("skerry.") if name else ""
        record = LogRecord(
            time=self._clock.now(),
            app=app,
            branch=branch,
            source=f"{source} {where}".strip() if source == ENGINES else source,
            level=level,
            text=text,
        )
        self._pending.append(record)
        for queue, place in self._followers.items():
            if place == (app, branch) and not queue.full():
                queue.put_nowait(record)
        if self._writer is None:
            self._writer = asyncio.get_running_loop().call_later(WRITE_SECONDS, self._start_writing)

    def _start_writing(self) -> None:
        self._writer = None
        self._writing = asyncio.ensure_future(self.flush())

    async def flush(self) -> None:
        """Write what was taken."""
        records = list(self._pending)
        self._pending.clear()
        by_place: dict[Path, list[LogRecord]] = {}
        for record in records:
            by_place.setdefault(self._path(record.app, record.branch), []).append(record)
        try:
            await asyncio.to_thread(_append, by_place)
        except OSError:
            _log.exception("%d lines of the log could not be written", len(records))

    def _path(self, app: str, branch: str) -> Path:
        return self._directory / app / f"{branch}.log"

    async def tail(self, app: str, branch: str, source: str | None, lines: int) -> list[LogRecord]:
        """Return the last lines of a branch, oldest first."""
        await self.flush()
        path = self._path(app, branch)
        return await asyncio.to_thread(_tail, path, source, lines)

    async def follow(self, app: str, branch: str, source: str | None) -> AsyncIterator[LogRecord]:
        """Yield lines as they come. A follower that is too slow misses some."""
        queue: asyncio.Queue[LogRecord] = asyncio.Queue(FOLLOWER_LINES_MAX)
        self._followers[queue] = (app, branch)
        try:
            while True:
                record = await queue.get()
                if _wanted(record, source):
                    yield record
        finally:
            del self._followers[queue]

    async def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.cancel()
        if self._writing is not None:
            await self._writing
        await self.flush()


def _wanted(record: LogRecord, source: str | None) -> bool:
    return source is None or record.source.split(" ")[0] == source


def _append(by_place: dict[Path, list[LogRecord]]) -> None:
    for path, records in by_place.items():
        path.parent.mkdir(exist_ok=True)
        if path.exists() and path.stat().st_size > FILE_BYTES_MAX:
            path.rename(path.with_suffix(".log.old"))
        with path.open("ab", buffering=0) as file:
            size = file.tell()
            data = b"".join(msgspec.json.encode(record) + b"\n" for record in records)
            try:
                written = file.write(data)
            except OSError:
                file.truncate(size)
                raise
            if written != len(data):
                file.truncate(size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _tail(path: Path, source: str | None, lines: int) -> list[LogRecord]:
    kept: deque[LogRecord] = deque(maxlen=lines)
    decoder = msgspec.json.Decoder(LogRecord)
    for each in (path.with_suffix(".log.old"), path):
        if not each.exists():
            continue
        with each.open("rb") as file:
            for line in file:
                try:
                    record = decoder.decode(line)
                except msgspec.DecodeError:
                    # A power cut tore it.
                    continue
                if _wanted(record, source):
                    kept.append(record)
    return list(kept)
