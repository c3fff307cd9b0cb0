"""SQLite's write-ahead log, read as bytes: where it begins, and where its last commit ends.

A log has a header of 32 bytes and frames of 24 bytes and a page each. Frames count while their salt
is the header's and the checksum, which runs from the header through all of them, is right; a frame
with a size of the database ends a commit. Source: https://sqlite.org/fileformat2.html#walformat
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
_MAGIC = 0x377F0682
_BATCH_BYTES = 1 << 20
_MASK = 0xFFFFFFFF

Sums = tuple[int, int]


class Header(NamedTuple):
    """What a log's header says: its order of bytes for checksums, size of pages, and sums."""

    order: str
    page_bytes: int
    sums: Sums


class Commit(NamedTuple):
    """Where the frames of a commit end in the log, and what the checksum is there."""

    end: int
    sums: Sums


class Frame(NamedTuple):
    """A frame of a commit: the number of its page, where the page's content lies in the log."""

    page: int
    offset: int
    database_pages: int


def read_header(data: bytes) -> Header | None:
    """Return what a header says, or None if it is not whole."""
    if len(data) < HEADER_BYTES:
        return None
    magic, _, page_bytes, _ = struct.unpack_from(">4I", data)
    if magic & ~1 != _MAGIC:
        return None
    order = ">" if magic & 1 else "<"
    sums = _sum(order, data[:24], (0, 0))
    if sums != struct.unpack_from(">2I", data, 24):
        return None
    return Header(order, page_bytes, sums)


def read_frames(
    file: int, start: bytes, header: Header, after: Commit
) -> Iterator[tuple[Frame, Commit]]:
    """Yield the whole frames of a log after a commit, each with where it ends."""
    size = FRAME_HEADER_BYTES + header.page_bytes
    batch = max(1, _BATCH_BYTES // size) * size
    at, sums = after
    while True:
        data = os.pread(file, batch, at)
        for begin in range(0, len(data) - size + 1, size):
            head = data[begin : begin + FRAME_HEADER_BYTES]
            page, database_pages = struct.unpack_from(">2I", head)
            if head[8:16] != start[16:24] or not page:
                return
            sums = _sum(header.order, head[:8], sums)
            sums = _sum(header.order, data[begin + FRAME_HEADER_BYTES : begin + size], sums)
            if sums != struct.unpack_from(">2I", head, 16):
                return
            frame = Frame(page, at + begin + FRAME_HEADER_BYTES, database_pages)
            yield frame, Commit(at + begin + size, sums)
        if len(data) < batch:
            return
        at += len(data)


def _sum(order: str, data: bytes, sums: Sums) -> Sums:
    """Go on with a checksum over a whole number of pairs of words."""
    first, second = sums
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for one, two in zip(words, words, strict=True):
        first = (first + one + second) & _MASK
        second = (second + two + first) & _MASK
    return first, second


class LogReader:
    """Follows one log: yields the bytes of commits that it has not yielded."""

    def __init__(self) -> None:
        self._start = b""
        self._commit = Commit(0, (0, 0))
        self._last = b""

    def read(self, file: int) -> Iterator[tuple[int, bytes]]:
        """Yield (offset, bytes) up to the last whole commit; from the start if the log is new."""
        start = os.pread(file, HEADER_BYTES, 0)
        header = read_header(start)
        if header is None:
            return
        begin = self._commit.end
        if start != self._start or not self._stands(file, header):
            self._start, begin = start, 0
            self._commit = Commit(HEADER_BYTES, header.sums)
        commit = self._commit
        for frame, end in read_frames(file, start, header, commit):
            if frame.database_pages:
                commit = end
        if commit.end in (begin, HEADER_BYTES):
            return
        self._commit = commit
        size = FRAME_HEADER_BYTES + header.page_bytes
        self._last = os.pread(file, FRAME_HEADER_BYTES, commit.end - size)
        for at in range(begin, commit.end, _BATCH_BYTES):
            yield at, os.pread(file, min(_BATCH_BYTES, commit.end - at), at)

    def _stands(self, file: int, header: Header) -> bool:
        """Tell whether the last commit is still what was read.

        After a failed sync, SQLite writes other frames in the place of a commit that did not count.
        """
        if self._commit.end == HEADER_BYTES:
            return True
        size = FRAME_HEADER_BYTES + header.page_bytes
        return os.pread(file, FRAME_HEADER_BYTES, self._commit.end - size) == self._last


def last_commit(file: int) -> tuple[bytes, int]:
    """Return the header of a log and where its last commit ends; (b"", 0) for an empty log."""
    start = os.pread(file, HEADER_BYTES, 0)
    header = read_header(start)
    if header is None:
        return b"", 0
    end = HEADER_BYTES
    for frame, commit in read_frames(file, start, header, Commit(HEADER_BYTES, header.sums)):
        if frame.database_pages:
            end = commit.end
    return start, end


def fold(log: int, database: int) -> None:
    """Write the pages of a log's commits into the database file, and bring it to the disk."""
    start = os.pread(log, HEADER_BYTES, 0)
    header = read_header(start)
    if header is None:
        return
    pages: dict[int, int] = {}
    waiting: dict[int, int] = {}
    size = 0
    for frame, _ in read_frames(log, start, header, Commit(HEADER_BYTES, header.sums)):
        waiting[frame.page] = frame.offset
        if frame.database_pages:
            pages |= waiting
            waiting.clear()
            size = frame.database_pages
    if not size:
        return
    for page, offset in sorted(pages.items()):
        if page <= size:
            content = os.pread(log, header.page_bytes, offset)
            os.pwrite(database, content, (page - 1) * header.page_bytes)
    os.ftruncate(database, size * header.page_bytes)
    os.fsync(database)
