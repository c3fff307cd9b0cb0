"""How a database follows on another node: by PostgreSQL's own replication stream.

The engine is a standby of its own server: it receives the write-ahead log over the replication
protocol, keeps it in `stream/`, and says that it has it once the journal lets it. The server waits
for that before it acknowledges a commit (`synchronous_standby_names`). A standby on another node
has the data directory of one instant, and `stream/` from there on; when it takes over, the server
recovers from both, on a new timeline. Source: PostgreSQL 18, "Streaming Replication Protocol".
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import struct
from pathlib import Path
from typing import NamedTuple

from skerry.kernel.errors import SkerryError
from skerry.kernel.journal import journal_of
from skerry.kernel.replica import FedReplica
from skerry.kinds._shared.pgwire import messages
from skerry.kinds._shared.pgwire.scram import Credential
from skerry.kinds._shared.replica import StateReplica
from skerry.kinds._shared.replica.inside import open_inside
from skerry.kinds.postgres.control import CONNECTION_ERRORS
from skerry.kinds.postgres.roles import SUPERUSER
from skerry.kinds.postgres.server import SOCKET
from skerry.kinds.postgres.superuser import StatementError
from skerry.kinds.postgres.upstream import Upstream, connect

STREAM = "stream"
"""The folder of the log that was received, in the state's directory."""

NAME = "skerry_stream"
"""The name under which the engine follows its server."""

SETTINGS = {
    "synchronous_standby_names": NAME,
    "wal_keep_size": "64MB",
    "wal_sender_timeout": "0",
}
"""What the server of a replicated database is told besides."""

RECOVERY = {
    "restore_command": "false",
    "recovery_target_timeline": "latest",
    "hot_standby": "off",
}
"""What a server is told that takes over: everything is in its `pg_wal`."""

_SIGNAL = "recovery.signal"
_MESSAGE_BYTES_MAX = 1 << 20
_RETRY_SECONDS = 0.2
_FEED_BYTES = 1 << 20
_SEED_FILES = 500
_DATA = struct.Struct("!cQQq")
_STATUS = struct.Struct("!cQQQqB")
_POSITIONS = 1 << 32


class PostgresReplica(StateReplica, FedReplica):
    """Follows `stream/`; everything else of a database comes with the snapshot alone."""

    folder = STREAM
    renew_bytes = 1 << 30

    def can_be_fed(self, copy: Path) -> bool:
        """See `FedReplica.can_be_fed`: a database that came to be since then is copied first."""
        return (self.directory / "data").exists() or not (copy / "data").exists()

    def feed(self, copy: Path) -> list[Path]:
        """See `FedReplica.feed`; segments of the log only grow."""
        made = []
        source = copy / STREAM
        for each in sorted(source.iterdir()) if source.is_dir() else ():
            target = self.directory / STREAM / each.name
            done = target.stat().st_size if target.exists() else 0
            size = each.stat().st_size
            if size <= done:
                continue
            if not done:
                made.append(target)
            self._grow(each, f"{STREAM}/{each.name}", done, size)
        return made

    def _grow(self, source: Path, path: str, done: int, size: int) -> None:
        file = open_inside(self.directory, path, os.O_WRONLY | os.O_CREAT, make=True)
        try:
            with source.open("rb") as opened:
                opened.seek(done)
                while done < size and (data := opened.read(min(_FEED_BYTES, size - done))):
                    done += os.pwrite(file, data, done)
        finally:
            os.close(file)


class Place(NamedTuple):
    """A timeline, and the size of its segments."""

    timeline: int
    segment_bytes: int

    def name(self, position: int) -> str:
        """Return the name of the segment that a position lies in."""
        number = position // self.segment_bytes
        high, low = divmod(number, _POSITIONS // self.segment_bytes)
        return f"{self.timeline:08X}{high:08X}{low:08X}"

    def begin(self, name: str) -> int:
        """Return the position at which a segment begins."""
        number = int(name[8:16], 16) * (_POSITIONS // self.segment_bytes) + int(name[16:24], 16)
        return number * self.segment_bytes


class Receiver:
    """Follows a server for as long as it runs."""

    def __init__(self, directory: Path, run: Path, log: logging.Logger) -> None:
        self._data = directory / "data"
        self._stream = directory / STREAM
        self._run = run
        self._log = log

    async def run(self, credential: Credential) -> None:
        """Receive, for ever; after a failure again from where it was."""
        while True:
            try:
                await self._follow(credential)
            except (*CONNECTION_ERRORS, EOFError) as error:
                self._log.info("the replication stream broke off: %s", error)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _follow(self, credential: Credential) -> None:
        upstream = await connect(str(self._run / SOCKET))
        upstream.high_bytes = _MESSAGE_BYTES_MAX
        try:
            parameters = {"user": SUPERUSER, "replication": "true", "application_name": NAME}
            await upstream.log_in(parameters, credential)
            place, start = await self._begin(upstream)
            text = f"{start >> 32:X}/{start & (_POSITIONS - 1):X}"
            sql = f"START_REPLICATION PHYSICAL {text} TIMELINE {place.timeline}"
            upstream.transport.write(messages.query(sql))
            await self._receive(upstream, place, start)
        finally:
            upstream.close()

    async def _begin(self, upstream: Upstream) -> tuple[Place, int]:
        """Return where to begin: at the segment that was received last, or that is the first."""
        system = await _ask(upstream, "IDENTIFY_SYSTEM")
        size = int((await _ask(upstream, "SHOW wal_segment_size"))[0].removesuffix("MB")) << 20
        place = Place(int(system[1]), size)
        high, _, low = system[2].partition("/")
        now = (int(high, 16) << 32) | int(low, 16)
        return place, await asyncio.to_thread(self._first, place, now)

    def _first(self, place: Place, now: int) -> int:
        self._stream.mkdir(mode=0o700, exist_ok=True)
        prefix = f"{place.timeline:08X}"
        known = sorted(each.name for each in self._stream.glob(f"{prefix}*") if each.suffix == "")
        if known:
            return place.begin(known[-1])
        history = self._data / "pg_wal" / f"{prefix}.history"
        if history.exists():
            copy = self._stream / history.name
            shutil.copyfile(history, copy)
            journal_of(copy).announce(copy)
            high, _, low = (
                history.read_text().strip().splitlines()[-1].split("\t")[1].partition("/")
            )
            switched = (int(high, 16) << 32) | int(low, 16)
            return switched - switched % place.segment_bytes
        there = sorted(p.name for p in (self._data / "pg_wal").glob(f"{prefix}*") if not p.suffix)
        return place.begin(there[0]) if there else now - now % place.segment_bytes

    async def _receive(self, upstream: Upstream, place: Place, start: int) -> None:
        flushed = start
        while True:
            kind, body = await upstream.message(_MESSAGE_BYTES_MAX)
            if kind == b"E":
                raise StatementError(body)
            if kind == b"c":
                raise EOFError("the timeline has ended")
            if kind != b"d":
                continue
            if body[:1] == b"w":
                _, begin, _, _ = _DATA.unpack_from(body)
                data = body[_DATA.size :]
                await self._keep(place, begin, data)
                flushed = begin + len(data)
            elif body[:1] != b"k":
                continue
            status = _STATUS.pack(b"r", flushed, flushed, flushed, 0, 0)
            upstream.transport.write(messages.message(b"d", status))

    async def _keep(self, place: Place, begin: int, data: bytes) -> None:
        """Keep a part of the log until whoever stands by has it too."""
        paths = await asyncio.to_thread(self._write, place, begin, data)
        journal = journal_of(self._stream)
        while True:
            try:
                await asyncio.to_thread(journal.wrote, *paths)
                return
            except SkerryError as error:
                self._log.warning("commits wait: %s %s", error.what, error.why)
            await asyncio.sleep(_RETRY_SECONDS)

    def _write(self, place: Place, begin: int, data: bytes) -> list[Path]:
        """Write to the segments of `stream/`; the server itself has all of it on the disk."""
        paths = []
        left = memoryview(data)
        while left:
            path = self._stream / place.name(begin)
            at = begin % place.segment_bytes
            part = left[: place.segment_bytes - at]
            file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.pwrite(file, part, at)
            finally:
                os.close(file)
            paths.append(path)
            left, begin = left[len(part) :], begin + len(part)
        return paths


async def _ask(upstream: Upstream, sql: str) -> list[str]:
    """Return the only row of an answer."""
    answer = await upstream.ask(messages.query(sql))
    for kind, body in answer:
        if kind == b"E":
            raise StatementError(body)
        if kind == b"D":
            return [each or "" for each in messages.row(body)]
    raise EOFError(f"{sql} has no answer")


def seed(data: Path) -> None:
    """Send the data directory of a server that has not run yet; raises what the journal does.

    A standby that has no snapshot of it, because nobody had used the database, begins with that.
    """
    journal = journal_of(data)
    if not journal.replicated:
        return
    paths = [each for each in data.rglob("*") if each.is_file() and not each.is_symlink()]
    for begin in range(0, len(paths), _SEED_FILES):
        journal.announce(*paths[begin : begin + _SEED_FILES])


def may_take_up(directory: Path) -> bool:
    """Tell whether there is something to take up: most often there is not."""
    return (directory / "data" / _SIGNAL).exists() or (directory / STREAM).exists()


def take_up(directory: Path) -> bool:
    """Put what was received where the server recovers from; return whether it has to.

    That is so if `stream/` holds what the data directory does not have: on a node that stood by,
    and never on the one that wrote it.
    """
    data, stream = directory / "data", directory / STREAM
    if (data / _SIGNAL).exists():
        return True
    segments = [each for each in stream.glob("*") if not each.suffix] if stream.is_dir() else []
    if not segments:
        return False
    last = max(segments, key=lambda each: (each.name[8:], each.name))
    ours = data / "pg_wal" / last.name
    content = last.read_bytes()
    if ours.exists() and ours.read_bytes()[: len(content)] == content:
        return False
    size = next(p.stat().st_size for p in (data / "pg_wal").iterdir() if len(p.name) == 24)
    for each in (*segments, *stream.glob("*.history")):
        target = data / "pg_wal" / each.name
        shutil.copyfile(each, target)
        if each.suffix == "":
            os.truncate(target, size)
        _sync(target)
    (data / _SIGNAL).touch(mode=0o600)
    _sync(data / "pg_wal")
    _sync(data)
    return True


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
