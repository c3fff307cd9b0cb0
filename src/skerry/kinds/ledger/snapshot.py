"""Snapshots: the state at one record of the log, so that a start need not read all of it.

Rows that never change (see `rows`) lie in files of a fixed number of rows each, written once and
shared by all snapshots and branches. The rest is in one file a snapshot: a head of JSON, then
accounts, fates, and the rows that do not fill a file yet; its SHA-256 stands at its end. Its name
tells the record, the time from which on the state was so, and the generation of its rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from skerry.kernel.errors import CORRUPT
from skerry.kernel.ledger.rows import ROW_BYTES, Rows
from skerry.kinds.ledger.files import remove, write_durably
from skerry.kinds.ledger.rows import Kept

ROWS = "rows"
"""The folder of the files of rows; they never change."""

FILE_ROWS = 1 << 16
_SUFFIX = ".snapshot"
_DIGEST_BYTES = 32


NEVER = (1 << 63) - 1
"""The time of a snapshot whose name tells none: no moment is reached from it."""


class Mark(NamedTuple):
    """A snapshot by its name; they sort in the order in which they were made."""

    sequence: int
    generation: int
    time: int
    path: Path


def marks(directory: Path) -> list[Mark]:
    """Return all snapshots, the oldest first."""
    found = []
    for path in directory.glob(f"*{_SUFFIX}"):
        sequence, _, rest = path.name.removesuffix(_SUFFIX).partition("-")
        time, _, generation = rest.partition("-")
        found.append(Mark(int(sequence), int(generation or 0), int(time or NEVER), path))
    return sorted(found)


class Session(msgspec.Struct):
    """What is remembered of a client: its session, and its last request with the reply."""

    number: int
    request: int = 0
    sequence: int = 0
    timestamp: int = 0
    operation: int = 0
    reply: bytes = b""


class Head(msgspec.Struct):
    """What a snapshot says of itself; `previous` is the digest of the log's record `sequence`.

    An import begins a new `generation` of row files, beside the old ones until it is complete.
    """

    sequence: int
    previous: str
    timestamp: int
    state: int
    generation: int
    accounts: int
    counts: dict[str, int]
    sessions: dict[str, Session]


def save(
    directory: Path,
    book: Kept,
    *,
    sequence: int,
    previous: bytes,
    timestamp: int,
    state: int,
    generation: int,
    sessions: dict[int, Session],
    time: int,
) -> int:
    """Write a snapshot; return how many bytes were written. `time` is since when it is so."""
    counts = {table: book.count(table) for table in ROW_BYTES}
    accounts = book.accounts()
    head = Head(
        sequence,
        previous.hex(),
        timestamp,
        state,
        generation,
        len(accounts) // 128,
        counts,
        {f"{client:x}": session for client, session in sessions.items()},
    )
    written = sum(_fill(directory / ROWS, book, table, generation) for table in ROW_BYTES)
    tails = [book.rows(table, count - count % FILE_ROWS, count) for table, count in counts.items()]
    encoded = msgspec.json.encode(head)
    parts = [len(encoded).to_bytes(8, "little"), encoded, accounts, book.fates(), *tails]
    path = directory / f"{sequence:020}-{time:020}-{generation:010}{_SUFFIX}"
    write_durably(path, [*parts, _sha256(parts)])
    return written + sum(map(len, parts))


def load(directory: Path, mark: Mark) -> tuple[Head, Rows]:
    """Return a snapshot; raise CORRUPT if it is damaged."""
    data = mark.path.read_bytes()
    body, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if _sha256([body]) != digest:
        raise _damaged(mark.path)
    size = int.from_bytes(body[:8], "little")
    head = msgspec.json.decode(body[8 : 8 + size], type=Head)
    at = 8 + size
    tables: dict[str, Any] = {}
    for table, length in (
        ("accounts", head.accounts * 128),
        ("fates", head.counts["transfers"]),
        *((name, head.counts[name] % FILE_ROWS * row) for name, row in ROW_BYTES.items()),
    ):
        tables[table] = body[at : at + length]
        at += length
    for table in ROW_BYTES:
        tables[table] = _full(directory / ROWS, table, head) + tables[table]
    return head, Rows(**tables)


def forget_rows(directory: Path, drop: Callable[[str, int, int], bool]) -> None:
    """Remove the files of rows for whose table, generation and first row `drop` says so."""
    folder = directory / ROWS
    for path in folder.glob("*.rows") if folder.exists() else ():
        table, generation, start = path.stem.split("-")
        if drop(table, int(generation), int(start)):
            remove(path)


def _fill(folder: Path, book: Kept, table: str, generation: int) -> int:
    """Write the files of rows that are full and not there yet."""
    folder.mkdir(mode=0o700, exist_ok=True)
    count = book.count(table)
    return sum(
        _write_rows(folder, book, table, generation, start)
        for start in range(0, count - count % FILE_ROWS, FILE_ROWS)
    )


def fill_next(directory: Path, book: Kept, table: str, generation: int, full: int) -> bool:
    """Write the first file of rows of the first `full` that is not there; tell if one was not."""
    folder = directory / ROWS
    folder.mkdir(mode=0o700, exist_ok=True)
    for number in reversed(range(full)):
        if _path(folder, table, generation, number * FILE_ROWS).exists():
            missing = number + 1
            break
    else:
        missing = 0
    if missing == full:
        return False
    _write_rows(folder, book, table, generation, missing * FILE_ROWS)
    return True


def is_full(directory: Path, table: str, generation: int, full: int) -> bool:
    """Tell whether the last of the first `full` files of rows is there."""
    return full == 0 or _path(directory / ROWS, table, generation, (full - 1) * FILE_ROWS).exists()


def _write_rows(folder: Path, book: Kept, table: str, generation: int, start: int) -> int:
    path = _path(folder, table, generation, start)
    if path.exists():
        return 0
    rows = book.rows(table, start, start + FILE_ROWS)
    write_durably(path, [rows, _sha256([rows])])
    return len(rows)


def _full(folder: Path, table: str, head: Head) -> bytes:
    count, generation = head.counts[table], head.generation
    parts = []
    for start in range(0, count - count % FILE_ROWS, FILE_ROWS):
        path = _path(folder, table, generation, start)
        data = path.read_bytes() if path.exists() else b""
        rows, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
        if len(rows) != FILE_ROWS * ROW_BYTES[table] or _sha256([rows]) != digest:
            raise _damaged(path)
        parts.append(rows)
    return b"".join(parts)


def _path(folder: Path, table: str, generation: int, start: int) -> Path:
    return folder / f"{table}-{generation}-{start:016}.rows"


def _sha256(parts: Iterable[bytes]) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()


def _damaged(path: Path) -> Exception:
    return CORRUPT(
        f"The ledger's file {path.name} is damaged.",
        why="It does not have the digest that it tells.",
        hint="skerry doctor",
    )
