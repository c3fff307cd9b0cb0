"""A server that is only read: a hot standby, fed from what came of the log (see `following`).

The node brings `stream/` up to what it has; here it goes into the server's `pg_wal`, segment by
segment, as far as it has come. The server looks there again and again, because it is told of no
other place. Source: PostgreSQL 18, "Standby Server Operation".
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from skerry.kinds.postgres.config import PostgresConfig
from skerry.kinds.postgres.following import STREAM, Place

_WORKERS_AT_FIRST = 8
"""What a new data directory says of worker processes: a hot standby may not have fewer."""

_SETTINGS = {
    "hot_standby": "on",
    "recovery_target_timeline": "latest",
    "wal_retrieve_retry_interval": "100ms",
    "log_min_messages": "warning",
}


def settings(config: PostgresConfig) -> dict[str, str]:
    """Return what such a server is told besides."""
    asked = config.settings.get("max_worker_processes", 0)
    workers = max(_WORKERS_AT_FIRST, int(asked))
    return {**_SETTINGS, "max_worker_processes": str(workers)}


_SIGNAL = "standby.signal"
_LOOK_SECONDS = 0.1
_STILL_LOOKS = 20
"""After so many looks at a server that replays nothing more, it has what it can have."""
_SEGMENT_NAME = 24
_BLOCK_BYTES = 1 << 20


class Standby:
    """Feeds one server; each call of `feed` blocks."""

    def __init__(self, directory: Path, log: logging.Logger) -> None:
        self._wal = directory / "data" / "pg_wal"
        self._stream = directory / STREAM
        self._data = directory / "data"
        self._log = log
        self._fed: dict[str, int] = {}
        self._first = ""
        self._segment_bytes = 0

    def prepare(self) -> None:
        """Make the directory a standby's, with all that has come; no server runs on it."""
        (self._data / "recovery.signal").unlink(missing_ok=True)
        (self._data / _SIGNAL).touch(mode=0o600)
        segments = [each for each in self._wal.iterdir() if len(each.name) == _SEGMENT_NAME]
        # What the server has dropped, it has replayed for good.
        self._first = min((each.name[8:] for each in segments), default="")
        self._segment_bytes = max((each.stat().st_size for each in segments), default=0)
        self._fed.clear()
        self.feed()

    def end(self) -> int:
        """Return the position in the log up to which it has been fed; 0 if with nothing."""
        names = [each for each in self._fed if len(each) == _SEGMENT_NAME]
        if not names or not self._segment_bytes:
            return 0
        last = max(names, key=lambda name: name[8:])
        return Place(int(last[:8], 16), self._segment_bytes).begin(last) + self._fed[last]

    async def catch_up(self, replayed: Callable[[], Awaitable[int]]) -> None:
        """Return once the server has replayed what has come, or does not come farther."""
        end, at, still = self.end(), -1, 0
        while still < _STILL_LOOKS:
            before, at = at, await replayed()
            if at >= end:
                return
            still = still + 1 if at == before else 0
            await asyncio.sleep(_LOOK_SECONDS)

    async def run(self) -> None:
        """Feed for ever."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                await asyncio.to_thread(self.feed)
            except OSError as error:
                self._log.info("what came could not be taken yet: %s", error)

    def feed(self) -> None:
        """Bring what has come to where the server looks for it."""
        if not self._stream.is_dir():
            return
        for each in sorted(self._stream.iterdir()):
            is_segment = len(each.name) == _SEGMENT_NAME
            if is_segment and each.name[8:] < self._first:
                continue
            size, done = each.stat().st_size, self._fed.get(each.name, 0)
            if size > done:
                self._copy(each, self._wal / each.name, done, size, whole=is_segment)
                self._fed[each.name] = size

    def _copy(self, source: Path, target: Path, begin: int, end: int, *, whole: bool) -> None:
        """Copy a part of a file; a segment has its full size from the beginning."""
        with source.open("rb") as opened:
            file = os.open(target, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                if whole and os.fstat(file).st_size < self._segment_bytes:
                    os.ftruncate(file, self._segment_bytes)
                opened.seek(begin)
                while begin < end and (data := opened.read(min(_BLOCK_BYTES, end - begin))):
                    begin += os.pwrite(file, data, begin)
            finally:
                os.close(file)
