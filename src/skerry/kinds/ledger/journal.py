"""The log of batches: one file after the other of records that are chained by SHA-256.

A record is a head of 160 bytes, little-endian, and a body that is filled up to a multiple of 16:

    digest 32   of all that follows it in the record, body included
    previous 32 the digest of the record before
    magic 8, client 16, timestamp 8, sequence 8, session 8
    checked 8, state 8   that after record `checked`, the ledger's digest was `state`
    request 4, size 4, release 4, group 2, operation 1, zeros

Records are written and synced in groups; `group` is a record's place in its own. So a record tells
that all before its group were durable when it was written: if a later record is whole, a broken one
before its group is damage, not the torn end that a crash leaves.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import struct
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from skerry.kernel.disk import sync_data
from skerry.kernel.errors import CORRUPT
from skerry.kernel.journal import journal_of
from skerry.kernel.log import GENESIS
from skerry.kinds.ledger.files import remove, sync_directory, write_durably
from skerry.kinds.ledger.operations import BODY_MAX

MAGIC = b"SKLEDGR1"
SEGMENT_BYTES = 64 << 20
GROUP_MAX = 1 << 16

_HEAD = struct.Struct("<32s32s8s16sQQQQQIIIHB17x")
_DIGEST_BYTES = 32
HEAD_BYTES = _HEAD.size
assert HEAD_BYTES == 160

TAIL = "log"
"""The folder of the file that is written to."""
SEALED = "sealed"
"""The folder of the files that are full and never change again."""


class Record(NamedTuple):
    """A record; `previous` and `digest` chain it to the one before."""

    sequence: int
    timestamp: int
    operation: int
    body: bytes
    client: int = 0
    session: int = 0
    request: int = 0
    release: int = 0
    checked: int = 0
    state: int = 0
    group: int = 0
    previous: bytes = GENESIS
    digest: bytes = GENESIS


class Journal:
    """The log of a ledger, in a directory; one process at a time may open it."""

    def __init__(self, directory: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._file = -1
        self._path = Path()
        self._size = 0
        self.sequence = 0
        self.previous = GENESIS
        self.bytes = 0

    @property
    def first(self) -> int:
        """The sequence number of the oldest record that is kept, or of the next if none is."""
        paths = self._paths()
        return _first(paths[0]) if paths else self.sequence + 1

    @property
    def began(self) -> int | None:
        """The timestamp of the oldest record that is kept."""
        for path in self._paths()[:1]:
            with path.open("rb") as file:
                head = file.read(HEAD_BYTES)
            if len(head) == HEAD_BYTES:
                return int(_HEAD.unpack(head)[4])
        return None

    def read(self, after: int, previous: bytes, until: int | None = None) -> Iterator[Record]:
        """Open the log and yield its records after a sequence number; cut a torn end off.

        With a moment, all records of later than that are cut off too. Raises CORRUPT if something
        in the middle is missing or changed.
        """
        for folder in (TAIL, SEALED):
            (self._directory / folder).mkdir(mode=0o700, exist_ok=True)
        self.sequence, self.previous = after, previous
        paths = self._paths()
        self.bytes = sum(path.stat().st_size for path in paths)
        starts = [_first(path) for path in paths]
        for at, path in enumerate(paths):
            last = path == paths[-1]
            if last or starts[at + 1] > after + 1:
                end = yield from self._read_file(path, after, until, last=last)
                if end is not None:
                    self._cut(path, end, paths[at + 1 :])
                    break
        paths = self._paths()
        self.bytes = sum(path.stat().st_size for path in paths)
        self._open(paths[-1] if paths else self._new_path())

    def _cut(self, path: Path, end: int, later: Sequence[Path]) -> None:
        """Remove what follows a place in the log.

        A full file may be another branch's too, so it is never written to: what is kept of it goes
        into a new one, and where both are there, that one counts.
        """
        for each in reversed(later):
            remove(each)
        if end == 0:
            remove(path)
        elif path.parent.name == SEALED:
            write_durably(self._directory / TAIL / path.name, [path.read_bytes()[:end]])
            remove(path)
        else:
            os.truncate(path, end)
            journal_of(path).replaced(path)
        for folder in (TAIL, SEALED):
            sync_directory(self._directory / folder)

    def prune(self, sequence: int) -> None:
        """Remove the full files that hold no record of after a sequence number."""
        paths = self._paths()
        for path, following in itertools.pairwise(paths):
            if path.parent.name == SEALED and _first(following) <= sequence + 1:
                self.bytes -= path.stat().st_size
                remove(path)
        sync_directory(self._directory / SEALED)

    def _paths(self) -> list[Path]:
        found = {
            path.name: path
            for folder in (SEALED, TAIL)
            for path in (self._directory / folder).glob("*.log")
        }
        return sorted(found.values(), key=_first)

    def _new_path(self) -> Path:
        return self._directory / TAIL / f"{self.sequence + 1:020}.log"

    def _read_file(
        self, path: Path, after: int, until: int | None, *, last: bool
    ) -> Generator[Record, None, int | None]:
        """Yield the records of a file; return where those begin that are too late, if any are."""
        data = path.read_bytes()
        view = memoryview(data)
        at = 0
        while at < len(view):
            record, size = parse(view[at:])
            if record is None:
                if not last or _is_damage(data, at, self.sequence + 1):
                    raise CORRUPT(
                        f"Record {self.sequence + 1} of the ledger's log is damaged.",
                        why=f"{path.name}, byte {at}, does not have the digest that it tells.",
                        hint="skerry doctor",
                    )
                os.truncate(path, at)
                return None
            if record.sequence <= after:
                at += size
                continue
            if record.sequence != self.sequence + 1 or record.previous != self.previous:
                raise CORRUPT(
                    f"Record {self.sequence + 1} of the ledger's log does not follow the one"
                    " before it.",
                    why="A record was cut out, moved or edited.",
                    hint="skerry doctor",
                )
            if until is not None and record.timestamp > until:
                return at
            at += size
            self.sequence, self.previous = record.sequence, record.digest
            yield record
        return None

    def _open(self, path: Path) -> None:
        if path.parent.name == SEALED:
            path = self._new_path()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = os.open(path, flags, 0o600)
        self._path = path
        self._size = os.fstat(self._file).st_size
        os.fsync(self._file)
        sync_directory(path.parent)

    def append(self, records: Sequence[Record]) -> list[Record]:
        """Write a group of records and sync; return them numbered and chained.

        If it raises OSError, none of them is in the log.
        """
        assert len(records) < GROUP_MAX
        parts: list[bytes] = []
        chained: list[Record] = []
        sequence, previous = self.sequence, self.previous
        for group, record in enumerate(records):
            sequence += 1
            head, digest = _head(record._replace(sequence=sequence, group=group), previous)
            parts += (digest, head, record.body, bytes(-len(record.body) % 16))
            chained.append(record._replace(sequence=sequence, previous=previous, digest=digest))
            previous = digest
        size = sum(map(len, parts))
        try:
            _write(self._file, parts)
            sync_data(self._file)
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self.sequence, self.previous = sequence, previous
        self._size += size
        self.bytes += size
        if self._size >= self._segment_bytes:
            self._seal()
        return chained

    def _seal(self) -> None:
        os.close(self._file)
        sealed = self._directory / SEALED / self._path.name
        self._path.rename(sealed)
        sync_directory(self._directory / SEALED)
        journal_of(sealed).announce(sealed)
        journal_of(self._path).removed(self._path)
        self._open(self._new_path())

    def confirm(self) -> None:
        """Return once what was appended may be acknowledged. Raises what the journal raises."""
        journal_of(self._path).wrote(self._path)

    def close(self) -> None:
        """Close the file; everything that was appended is durable already."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _head(record: Record, previous: bytes) -> tuple[bytes, bytes]:
    head = _HEAD.pack(
        bytes(_DIGEST_BYTES),
        previous,
        MAGIC,
        record.client.to_bytes(16, "little"),
        record.timestamp,
        record.sequence,
        record.session,
        record.checked,
        record.state,
        record.request,
        len(record.body),
        record.release,
        record.group,
        record.operation,
    )[_DIGEST_BYTES:]
    digest = hashlib.sha256(head)
    digest.update(record.body)
    return head, digest.digest()


def parse(view: memoryview) -> tuple[Record | None, int]:
    """Return the record at the start of `view` and its size; None if none is whole there."""
    if len(view) < HEAD_BYTES:
        return None, 0
    digest, previous, magic, client, *fields = _HEAD.unpack_from(view)
    timestamp, sequence, session, checked, state, request, size, release, group, kind = fields
    whole = HEAD_BYTES + size + -size % 16
    if magic != MAGIC or size > BODY_MAX or whole > len(view):
        return None, 0
    found = hashlib.sha256(view[_DIGEST_BYTES:HEAD_BYTES])
    body = bytes(view[HEAD_BYTES : HEAD_BYTES + size])
    found.update(body)
    if found.digest() != digest:
        return None, 0
    return (
        Record(
            sequence,
            timestamp,
            kind,
            body,
            int.from_bytes(client, "little"),
            session,
            request,
            release,
            checked,
            state,
            group,
            previous,
            digest,
        ),
        whole,
    )


def _is_damage(data: bytes, at: int, sequence: int) -> bool:
    """Tell whether a whole record after `at` was written when record `sequence` was durable."""
    magic_offset = 2 * _DIGEST_BYTES
    found = data.find(MAGIC, at + magic_offset)
    while found >= 0:
        record, _ = parse(memoryview(data)[found - magic_offset :])
        if record is not None and record.sequence - record.group > sequence:
            return True
        found = data.find(MAGIC, found + 1)
    return False


def _first(path: Path) -> int:
    return int(path.stem)


def _write(file: int, parts: Sequence[bytes]) -> None:
    """Write all parts, however the system splits them."""
    left = [memoryview(part) for part in parts if part]
    while left:
        done = os.writev(file, left[:512])
        while left and done >= len(left[0]):
            done -= len(left.pop(0))
        if done:
            left[0] = left[0][done:]
