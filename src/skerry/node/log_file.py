"""The log's local backend: segment files, group commit, and recovery from a torn tail.

A segment is a sequence of frames, each a length and a CRC-32 (little-endian, 4 bytes each) and an
entry's canonical bytes; its name is the sequence number of its first entry. Entries that arrive
while a sync is under way are written and synced together by the next one.
"""

from __future__ import annotations

import asyncio
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from skerry.kernel.clock import Clock
from skerry.kernel.errors import BUSY, CORRUPT, ENGINE_FAILED
from skerry.kernel.log import GENESIS, Entry, check_chain
from skerry.node.home import sync_directory

SEGMENT_BYTES = 64 * 1024 * 1024
ENTRY_BYTES_MAX = 8 * 1024 * 1024
PENDING_MAX = 10_000

_FRAME = struct.Struct("<II")
_decoder = msgspec.msgpack.Decoder(Entry)


class LogFile:
    """A log in a directory of segment files. One process at a time may open it.

    Opening it folds what it holds: `apply` gets the body of every durable entry, in order, once.
    """

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        apply: Callable[[bytes], None],
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._apply = apply
        self._segment_bytes = segment_bytes
        self._pending: list[tuple[Entry, asyncio.Future[Entry]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._recover()
        for entry in self.read():
            apply(entry.body)

    def _recover(self) -> None:
        """Find the last whole entry; cut off what a crash left half-written after it."""
        segments = self._segments()
        if not segments:
            segments = [self._segment_path(0)]
            segments[0].touch()
            sync_directory(self._directory)
        self._path = segments[-1]
        sequence, previous = int(self._path.stem), GENESIS
        if len(segments) > 1:
            *_, last = _frames(segments[-2], torn_tail_allowed=False)
            previous = last[1].digest()
        end = 0
        offsets: list[int] = []
        frames = _frames(self._path, torn_tail_allowed=True)
        for entry in check_chain(_entries(frames, offsets), previous, sequence):
            sequence, previous, end = entry.sequence + 1, entry.digest(), offsets[-1]
        self._sequence, self._previous, self._end = sequence, previous, end
        self._descriptor = os.open(self._path, os.O_RDWR)
        if os.fstat(self._descriptor).st_size > end:
            os.ftruncate(self._descriptor, end)
            os.fsync(self._descriptor)
        self._durable = (self._sequence, self._previous)

    def read(self, start: int = 0) -> Iterator[Entry]:
        """See `Log.read`."""
        segments = self._segments()
        first = max((i for i, path in enumerate(segments) if int(path.stem) <= start), default=0)
        entries = (
            entry
            for path in segments[first:]
            for _, entry in _frames(path, torn_tail_allowed=path == segments[-1])
        )
        first_entry = next(entries, None)
        if first_entry is None:
            return
        chain = check_chain(entries, first_entry.digest(), first_entry.sequence + 1)
        for entry in (first_entry, *chain) if start <= first_entry.sequence else chain:
            if entry.sequence >= start:
                yield entry

    async def append(self, body: bytes) -> Entry:
        """See `Log.append`. Raises BUSY when the disk is too slow, ENGINE_FAILED when it fails."""
        if len(self._pending) >= PENDING_MAX:
            raise BUSY("The log's disk does not keep up.")
        assert len(body) <= ENTRY_BYTES_MAX, "an entry is small"
        entry = Entry(self._sequence, self._clock.now(), body, self._previous)
        self._sequence, self._previous = entry.sequence + 1, entry.digest()
        done: asyncio.Future[Entry] = asyncio.get_running_loop().create_future()
        self._pending.append((entry, done))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_batches())
        return await asyncio.shield(done)

    async def _write_batches(self) -> None:
        try:
            while self._pending:
                batch, self._pending = self._pending, []
                try:
                    await asyncio.to_thread(self._write, [entry for entry, _ in batch])
                except OSError as error:
                    self._fail(batch + self._pending, error)
                    self._pending = []
                    continue
                last = batch[-1][0]
                self._durable = (last.sequence + 1, last.digest())
                for entry, done in batch:
                    self._apply(entry.body)
                    if not done.done():
                        done.set_result(entry)
        finally:
            self._writer = None

    def _write(self, entries: list[Entry]) -> None:
        """Write and sync a batch; on failure leave the file as it was."""
        frames = bytearray()
        for entry in entries:
            data = entry.encode()
            frames += _FRAME.pack(len(data), zlib.crc32(data)) + data
        if self._end and self._end + len(frames) > self._segment_bytes:
            self._start_segment(entries[0].sequence)
        try:
            view = memoryview(frames)
            written = 0
            while written < len(view):
                written += os.pwrite(self._descriptor, view[written:], self._end + written)
            os.fdatasync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, self._end)
            raise
        self._end += len(frames)

    def _start_segment(self, sequence: int) -> None:
        path = self._segment_path(sequence)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        sync_directory(self._directory)
        os.close(self._descriptor)
        self._path, self._descriptor, self._end = path, descriptor, 0

    def _fail(self, batch: list[tuple[Entry, asyncio.Future[Entry]]], error: OSError) -> None:
        self._sequence, self._previous = self._durable
        for _, done in batch:
            if not done.done():
                done.set_exception(
                    ENGINE_FAILED(
                        "The log cannot be written.", why=str(error), hint="skerry doctor"
                    )
                )

    async def close(self) -> None:
        """Wait for what is being written, then close the file."""
        if self._writer is not None:
            await asyncio.shield(self._writer)
        os.close(self._descriptor)

    def _segments(self) -> list[Path]:
        return sorted(self._directory.glob("*.log"))

    def _segment_path(self, sequence: int) -> Path:
        return self._directory / f"{sequence:020d}.log"


def _frames(path: Path, *, torn_tail_allowed: bool) -> Iterator[tuple[int, Entry]]:
    """Yield (end offset, entry); stop at a torn tail, raise CORRUPT at other damage."""
    data = path.read_bytes()
    offset = 0
    while offset < len(data):
        entry = _frame(data, offset)
        if entry is None:
            if torn_tail_allowed and not _whole_frame_after(data, offset):
                return
            raise CORRUPT(
                f"{path.name} is damaged at byte {offset}.",
                why="The checksum of an entry before the last is wrong.",
                hint="skerry doctor",
            )
        offset += _FRAME.size + _FRAME.unpack_from(data, offset)[0]
        yield offset, entry


def _frame(data: bytes, offset: int) -> Entry | None:
    if offset + _FRAME.size > len(data):
        return None
    length, checksum = _FRAME.unpack_from(data, offset)
    body = data[offset + _FRAME.size : offset + _FRAME.size + length]
    if length > ENTRY_BYTES_MAX * 2 or len(body) < length or zlib.crc32(body) != checksum:
        return None
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError:
        return None


def _whole_frame_after(data: bytes, offset: int) -> bool:
    """Tell whether an intact entry follows a damaged one: then it is no torn tail."""
    if offset + _FRAME.size > len(data):
        return False
    following = offset + _FRAME.size + _FRAME.unpack_from(data, offset)[0]
    return following < len(data) and _frame(data, following) is not None


def _entries(frames: Iterator[tuple[int, Entry]], offsets: list[int]) -> Iterator[Entry]:
    for end, entry in frames:
        offsets.append(end)
        yield entry
