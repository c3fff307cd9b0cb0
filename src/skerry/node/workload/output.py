"""What a program says: kept in a bounded file by its keeper, read and followed by the node."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from skerry.kernel.clock import Clock

LOG_BYTES_MAX = 8 * 1024 * 1024
LINE_BYTES_MAX = 16 * 1024
FOLLOW_SECONDS = 0.1
_STREAMS = ("stdout", "stderr", "keeper")


class LogLine(msgspec.Struct, frozen=True, array_like=True):
    """A line: nanoseconds since 1970, `stdout`, `stderr` or `keeper`, and the text."""

    time: int
    stream: str
    text: str


class LogWriter:
    """Writes lines; a file that is full becomes the older one, and what was older is dropped."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._file = path.open("ab", buffering=0)
        self._rest = dict.fromkeys(_STREAMS, b"")

    def feed(self, stream: str, data: bytes) -> None:
        """Take what was read from a stream; whole lines are written, over-long ones in pieces."""
        *lines, rest = (self._rest[stream] + data).split(b"\n")
        while len(rest) >= LINE_BYTES_MAX:
            lines.append(rest[:LINE_BYTES_MAX])
            rest = rest[LINE_BYTES_MAX:]
        self._rest[stream] = rest
        self._write(stream, lines)

    def say(self, text: str) -> None:
        """Write a line of the keeper's own."""
        self._write("keeper", [text.encode()])

    def end(self) -> None:
        """Write what came without an end of line."""
        for stream, rest in self._rest.items():
            if rest:
                self._write(stream, [rest])
            self._rest[stream] = b""

    def _write(self, stream: str, lines: list[bytes]) -> None:
        if not lines:
            return
        now = self._clock.now()
        data = b"".join(
            msgspec.json.encode(LogLine(now, stream, each.decode(errors="replace"))) + b"\n"
            for line in lines
            for each in _pieces(line)
        )
        self._file.write(data)
        if self._file.tell() > LOG_BYTES_MAX:
            self._path.rename(self._path.with_suffix(".old"))
            self._file.close()
            self._file = self._path.open("ab", buffering=0)


def _pieces(line: bytes) -> list[bytes]:
    return [line[at : at + LINE_BYTES_MAX] for at in range(0, max(len(line), 1), LINE_BYTES_MAX)]


def tail(path: Path, lines: int) -> list[LogLine]:
    """Return the last lines, oldest first."""
    kept: deque[LogLine] = deque(maxlen=lines)
    for each in (path.with_suffix(".old"), path):
        if each.exists():
            with each.open("rb") as file:
                for line in file:
                    _take(kept, line)
    return list(kept)


def _take(kept: deque[LogLine], line: bytes) -> None:
    if line.endswith(b"\n"):
        kept.append(msgspec.json.decode(line, type=LogLine))


class Follower:
    """Reads the last lines, and on where the file grows, through its change to a new one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb") if path.exists() else None
        self._rest = b""

    def first(self, lines: int) -> list[LogLine]:
        """Return the last lines there are, oldest first; `read` goes on right after them."""
        kept: deque[LogLine] = deque(maxlen=lines)
        older = self._path.with_suffix(".old")
        if older.exists():
            with older.open("rb") as file:
                if self._file is None or not _same(file, self._file):
                    for line in file:
                        _take(kept, line)
        if self._file is not None:
            self._read_on(kept)
        return list(kept)

    def read(self) -> list[LogLine]:
        """Return the whole lines that came since."""
        found: deque[LogLine] = deque()
        if self._file is None:
            if not self._path.exists():
                return []
            self._file = self._path.open("rb")
        self._read_on(found)
        if self._changed():
            self._file.close()
            self._file = self._path.open("rb")
            self._read_on(found)
        return list(found)

    def _read_on(self, found: deque[LogLine]) -> None:
        assert self._file is not None
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        for line in lines:
            _take(found, line + b"\n")

    def _changed(self) -> bool:
        assert self._file is not None
        try:
            return self._path.stat().st_ino != os.fstat(self._file.fileno()).st_ino
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _same(one: BinaryIO, other: BinaryIO) -> bool:
    return os.path.sameopenfile(one.fileno(), other.fileno())


async def follow(path: Path, lines: int) -> AsyncIterator[LogLine]:
    """Yield the last lines, and then those that come."""
    follower = await asyncio.to_thread(Follower, path)
    try:
        for line in await asyncio.to_thread(follower.first, lines):
            yield line
        while True:
            for line in await asyncio.to_thread(follower.read):
                yield line
            await asyncio.sleep(FOLLOW_SECONDS)
    finally:
        follower.close()
