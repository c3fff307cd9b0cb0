"""The log's local backend: segment files, group commit, and recovery from a torn tail.

A segment is a sequence of frames, each a length and a CRC-32 (little-endian, 4 bytes each) and a
msgpack array of the canonical bytes of entries; its name is the sequence number of its first entry.
Entries that arrive while a sync is under way are written and synced together by the next one, in
one frame: so only the last frame can be torn, and none of its entries was acknowledged.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from skerry.kernel.clock import Clock
from skerry.kernel.disk import sync_data
from skerry.kernel.errors import BUSY, CORRUPT, DISK_FULL, ENGINE_FAILED, TOO_LARGE, SkerryError
from skerry.kernel.log import GENESIS, Entry, check_chain
from skerry.node.home import sync_directory

SEGMENT_BYTES = 64 * 1024 * 1024
ENTRY_BYTES_MAX = 8 * 1024 * 1024
BATCH_BYTES_MAX = 2 * ENTRY_BYTES_MAX
PENDING_MAX = 10_000
_READ_BYTES = 1 << 20

_FRAME = struct.Struct("<II")
_FRAME_BYTES_MAX = BATCH_BYTES_MAX + ENTRY_BYTES_MAX
_FRAME_BODY = re.compile(rb"(?=(?:[\x91-\x9f]|\xdc..|\xdd....)[\xc4-\xc6])", re.DOTALL)
"""How a frame's body begins: a msgpack array (fixarray, 16, 32) whose first element is binary."""
_encode_frame = msgspec.msgpack.Encoder().encode
_frame_decoder = msgspec.msgpack.Decoder(list[bytes])
_entry_decoder = msgspec.msgpack.Decoder(Entry)

Pending = tuple[Entry, "asyncio.Future[Entry]"]


class Head(NamedTuple):
    """A place in a log: the number of the next entry, and the digest of the one before it.

    `frame` is where the frame of that one begins in its segment, or 0 if that is not known.
    """

    sequence: int = 0
    digest: bytes = GENESIS
    frame: int = 0


class LogFile:
    """A log in a directory of segment files. One process at a time may open it.

    Opening it folds what it holds: `apply` gets the body of every durable entry, in order, once.
    `start` is the head at which a snapshot of the fold was taken: only entries from there on are
    folded, and what lies before is not read, but for the frame before it. Raises CORRUPT if that
    does not lead to this head.
    """

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        apply: Callable[[bytes], None],
        segment_bytes: int = SEGMENT_BYTES,
        start: Head = Head(),  # noqa: B008 (it cannot be changed)
    ) -> None:
        self._start = start
        self._directory = directory
        self._clock = clock
        self._apply = apply
        self._segment_bytes = segment_bytes
        self._pending: list[Pending] = []
        self._writer: asyncio.Task[None] | None = None
        self._closed = False
        self._damage: Exception | None = None
        self._recover()

    def _recover(self) -> None:
        """Fold every whole entry; cut off what a crash left half-written after the last."""
        segments = self._segments()
        if not segments:
            segments = [self._segment_path(0)]
            segments[0].touch(mode=0o600)
            sync_directory(self._directory)
        after, digest, frame = self._start
        at = _segment_of(segments, after)
        sequence, end, begin = int(segments[at].stem) if at else 0, 0, 0
        previous = digest if sequence == after else None
        for path in segments[at:]:
            end = begin = frame if previous is None else 0
            _check_start(path, sequence)
            last = path == segments[-1]
            for offset, entries in _frames(path, torn_tail_allowed=last, offset=end):
                begin = end
                if previous is None:
                    sequence = entries[0].sequence
                for entry in check_chain(iter(entries), previous or entries[0].previous, sequence):
                    if entry.sequence >= after:
                        self._apply(entry.body)
                    sequence, previous = entry.sequence + 1, entry.digest()
                    if sequence == after and previous != digest:
                        raise _elsewhere(after)
                end = offset
        if sequence < after or previous is None:
            raise _elsewhere(after)
        self._path, self._sequence, self._previous, self._end = path, sequence, previous, end
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        if os.fstat(self._descriptor).st_size > end:
            os.ftruncate(self._descriptor, end)
            os.fsync(self._descriptor)
        self._durable = Head(sequence, previous, begin)

    @property
    def head(self) -> tuple[int, bytes]:
        """The sequence number that the next entry gets, and the digest of the last durable one."""
        return self._durable[:2]

    @property
    def position(self) -> Head:
        """The head, with the place of its last frame: whoever opens the log can `start` here."""
        return self._durable

    def refuse(self, damage: Exception) -> None:
        """Append nothing from now on: the log was found to be damaged."""
        self._damage = damage

    def read(self, start: int = 0, frame: int = 0) -> Iterator[Entry]:
        """See `Log.read`. `frame` is that of the head at `start`: nothing before it is read."""
        segments = self._segments()
        first = _segment_of(segments, start)
        sequence, previous = (0, GENESIS) if first == 0 else (int(segments[first].stem), None)
        offset = frame if sequence < start else 0
        for path in segments[first:]:
            _check_start(path, sequence)
            last = path == segments[-1]
            for _, entries in _frames(path, torn_tail_allowed=last, offset=offset):
                if offset:
                    sequence, previous, offset = entries[0].sequence, None, 0
                chain = check_chain(iter(entries), previous or entries[0].previous, sequence)
                for entry in chain:
                    sequence, previous = entry.sequence + 1, entry.digest()
                    if entry.sequence >= start:
                        yield entry

    async def append(self, body: bytes) -> Entry:
        """See `Log.append`.

        Raises TOO_LARGE, BUSY when the disk is too slow, DISK_FULL when it is full, and
        ENGINE_FAILED when it fails; then the log is as it was.
        """
        if self._closed:
            raise ENGINE_FAILED("The log is closed.", why="The node is stopping.")
        if self._damage is not None:
            raise self._damage
        if len(self._pending) >= PENDING_MAX:
            raise BUSY("The log's disk does not keep up.", hint="skerry doctor")
        if len(body) > ENTRY_BYTES_MAX:
            raise TOO_LARGE(f"An entry of the log has at most {ENTRY_BYTES_MAX} bytes.")
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
                batch = self._take_batch()
                try:
                    frame = await asyncio.to_thread(self._write, [entry for entry, _ in batch])
                except OSError as error:
                    self._fail(batch, error)
                    continue
                last = batch[-1][0]
                self._durable = Head(last.sequence + 1, last.digest(), frame)
                for entry, done in batch:
                    self._acknowledge(entry, done)
        finally:
            self._writer = None

    def _take_batch(self) -> list[Pending]:
        """Take what waits, as far as one frame holds it."""
        count = total = 0
        while count < len(self._pending) and total < BATCH_BYTES_MAX:
            total += len(self._pending[count][0].body)
            count += 1
        batch, self._pending = self._pending[:count], self._pending[count:]
        return batch

    def _acknowledge(self, entry: Entry, done: asyncio.Future[Entry]) -> None:
        """Fold a durable entry; a fold that fails is told to whoever appended it, not to others."""
        try:
            self._apply(entry.body)
        except Exception as error:
            if not done.done():
                done.set_exception(error)
            return
        if not done.done():
            done.set_result(entry)

    def _write(self, entries: list[Entry]) -> int:
        """Write and sync a batch; return where it begins. On failure leave the file as it was."""
        data = _encode_frame([entry.encode() for entry in entries])
        frame = _FRAME.pack(len(data), zlib.crc32(data)) + data
        if self._end and self._end + len(frame) > self._segment_bytes:
            self._start_segment(entries[0].sequence)
        try:
            view = memoryview(frame)
            written = 0
            while written < len(view):
                written += os.pwrite(self._descriptor, view[written:], self._end + written)
            sync_data(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, self._end)
            raise
        self._end += len(frame)
        return self._end - len(frame)

    def _start_segment(self, sequence: int) -> None:
        path = self._segment_path(sequence)
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            sync_directory(self._directory)
        except OSError:
            os.close(descriptor)
            path.unlink()
            raise
        os.close(self._descriptor)
        self._path, self._descriptor, self._end = path, descriptor, 0

    def _fail(self, batch: list[Pending], error: OSError) -> None:
        """Fail a batch, and what was chained to it meanwhile; the chain goes on from before it."""
        failed, self._pending = [*batch, *self._pending], []
        self._sequence, self._previous = self._durable[:2]
        for _, done in failed:
            if not done.done():
                done.set_exception(_explain(error))

    async def close(self) -> None:
        """Refuse new entries, wait for what is being written, then close the file."""
        if self._closed:
            return
        self._closed = True
        if self._writer is not None:
            await asyncio.shield(self._writer)
        os.close(self._descriptor)

    def _segments(self) -> list[Path]:
        return sorted(self._directory.glob("*.log"))

    def _segment_path(self, sequence: int) -> Path:
        return self._directory / f"{sequence:020d}.log"


def _segment_of(segments: list[Path], sequence: int) -> int:
    """Return the place of the segment that an entry is in, or will be in."""
    return max((at for at, path in enumerate(segments) if int(path.stem) <= sequence), default=0)


def _elsewhere(sequence: int) -> SkerryError:
    return CORRUPT(
        f"The log does not lead to its snapshot at entry {sequence}.",
        why="Entries are gone, or another log is in its place.",
        hint="If the log is as it should be, remove the file `snapshot` beside it.",
    )


def _explain(error: OSError) -> SkerryError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    problem = DISK_FULL if full else ENGINE_FAILED
    return problem("The log cannot be written.", why=str(error), hint="skerry doctor")


def _check_start(path: Path, sequence: int) -> None:
    """Raise CORRUPT unless a segment begins where the one before it ended."""
    if path.stem != f"{sequence:020d}":
        raise CORRUPT(
            f"The log lacks the entries from {sequence} on.",
            why=f"The next file is {path.name}; the one before it is gone or was cut.",
            hint="skerry doctor",
        )


def _frames(
    path: Path, *, torn_tail_allowed: bool, offset: int = 0
) -> Iterator[tuple[int, list[Entry]]]:
    """Yield (end offset, entries) from an offset on, where a frame begins.

    Stops at a torn tail; raises CORRUPT at other damage. A frame at a time is in memory.
    """
    after = int(path.stem)
    with path.open("rb", buffering=_READ_BYTES) as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(offset)
        while offset < size:
            head = file.read(min(_FRAME.size, size - offset))
            length = _FRAME.unpack(head)[0] if len(head) == _FRAME.size else 0
            whole = 0 < length <= min(_FRAME_BYTES_MAX, size - offset - _FRAME.size)
            entries = _frame(head + file.read(length), 0) if whole else None
            if entries is None:
                data = path.read_bytes()[:size]
                if torn_tail_allowed and not _whole_frame_after(data, offset, after):
                    return
                raise CORRUPT(
                    f"{path.name} is damaged at byte {offset}.",
                    why="The checksum of an entry before the last is wrong.",
                    hint="skerry doctor",
                )
            offset += _FRAME.size + length
            after = entries[-1].sequence
            yield offset, entries


def _frame(data: bytes, offset: int) -> list[Entry] | None:
    """Return the entries of the whole frame at an offset, or None if there is none."""
    if offset + _FRAME.size > len(data):
        return None
    length, checksum = _FRAME.unpack_from(data, offset)
    start = offset + _FRAME.size
    if not 0 < length <= min(_FRAME_BYTES_MAX, len(data) - start):
        return None
    body = memoryview(data)[start : start + length]
    if zlib.crc32(body) != checksum:
        return None
    try:
        entries = [_entry_decoder.decode(each) for each in _frame_decoder.decode(body)]
    except msgspec.DecodeError:
        return None
    return entries or None


def _whole_frame_after(data: bytes, offset: int, sequence: int) -> bool:
    """Tell whether an intact frame follows a damaged one: then it is no torn tail.

    The length of the damaged frame may itself be what is wrong, so every offset is tried.
    """
    for found in _FRAME_BODY.finditer(data, offset + _FRAME.size + 1):
        entries = _frame(data, found.start() - _FRAME.size)
        if entries is not None and entries[0].sequence >= sequence:
            return True
    return False
