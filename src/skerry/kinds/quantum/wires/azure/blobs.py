"""Blobs that clients sent: programs, and what they attach to jobs. All of them are bounded.

One that belongs to no job is dropped a day later, when others come.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import Any

import msgspec

from skerry.kernel.errors import ALREADY_EXISTS, INVALID, NOT_FOUND, TOO_LARGE
from skerry.kinds._shared.sqlite_state import writing
from skerry.kinds.quantum.checks import SOURCE_BYTES_MAX
from skerry.kinds.quantum.store import Store
from skerry.kinds.quantum.wires.azure.names import WIRE, container_of

BLOB_BYTES_MAX = 2 * SOURCE_BYTES_MAX
BLOBS_MAX = 64
"""How many blobs and blocks a container has."""

CONTAINER_BYTES_MAX = 32 << 20
ALL_BYTES_MAX = 1 << 30
"""How much the blobs of a container, and all of a resource, take on the disk, packed."""

KEPT_SECONDS = 86_400
METADATA_BYTES_MAX = 8192
SWEEP_SECONDS = 3600
_SORT, _BLOCK = "blob", "block"
_BLOCK_ID_MAX = 64
_LEVEL = 1
_WITHIN = "wire = ? AND sort = ? AND id >= ? AND id < ?"
_SWEPT, _BYTES = "azure-swept", "azure-bytes"


class Blob(msgspec.Struct, frozen=True, omit_defaults=True):
    """A blob as it is kept; `packed` is its bytes by zlib, `changed` in nanoseconds since 1970."""

    name: str
    size: int
    changed: int
    packed: bytes
    kind: str = "application/octet-stream"
    encoding: str = ""
    metadata: dict[str, str] = {}

    @property
    def data(self) -> bytes:
        """The bytes."""
        return zlib.decompress(self.packed)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Blob)


def packed(name: str, data: bytes, changed: int, **shown: Any) -> Blob:
    """Return bytes as a blob; raise TOO_LARGE."""
    if len(data) > BLOB_BYTES_MAX:
        raise TOO_LARGE(f"A blob has at most {BLOB_BYTES_MAX >> 20} MiB.")
    return unbounded(name, data, changed, **shown)


def unbounded(name: str, data: bytes, changed: int, **shown: Any) -> Blob:
    """Return bytes of our own making as a blob."""
    return Blob(name, len(data), changed, zlib.compress(data, _LEVEL), **shown)


def keep(store: Store, container: str, blob: Blob, *, fresh: bool) -> None:
    """Keep a blob, durably; raise ALREADY_EXISTS if it must be `fresh` and is there, TOO_LARGE."""
    if sum(len(name) + len(value) for name, value in blob.metadata.items()) > METADATA_BYTES_MAX:
        raise TOO_LARGE(f"The metadata of a blob has at most {METADATA_BYTES_MAX} bytes.")
    with writing(store.db):
        if fresh and _body(store, _SORT, f"{container}/{blob.name}") is not None:
            raise ALREADY_EXISTS(f"There is a blob {blob.name} in {container} already.")
        _write(store, container, _SORT, blob)


def stage(store: Store, container: str, name: str, block_id: str, blob: Blob) -> None:
    """Keep a block of a blob to come; raise INVALID or TOO_LARGE."""
    _check_block(block_id)
    with writing(store.db):
        block = msgspec.structs.replace(blob, name=f"{name}/{block_id}")
        _write(store, container, _BLOCK, block)


def commit(store: Store, container: str, blob: Blob, block_ids: list[str], *, fresh: bool) -> Blob:
    """Make a blob of blocks, in their order; raise INVALID for one that is not there."""
    with writing(store.db):
        parts, size = [], 0
        for each in block_ids:
            _check_block(each)
            body = _body(store, _BLOCK, f"{container}/{blob.name}/{each}")
            if body is None:
                raise INVALID(f"There is no block {each} of {blob.name}.")
            parts.append(_decoder.decode(body).data)
            size += len(parts[-1])
            if size > BLOB_BYTES_MAX:
                raise TOO_LARGE(f"A blob has at most {BLOB_BYTES_MAX >> 20} MiB.")
        data = b"".join(parts)
        if fresh and _body(store, _SORT, f"{container}/{blob.name}") is not None:
            raise ALREADY_EXISTS(f"There is a blob {blob.name} in {container} already.")
        _drop(store, _BLOCK, f"{container}/{blob.name}")
        made = msgspec.structs.replace(blob, size=size, packed=zlib.compress(data, _LEVEL))
        _write(store, container, _SORT, made)
    return made


def get(store: Store, container: str, name: str) -> Blob:
    """Return a blob; raise NOT_FOUND."""
    body = _body(store, _SORT, f"{container}/{name}")
    if body is None:
        raise NOT_FOUND(f"There is no blob {name} in {container}.")
    return _decoder.decode(body)


def within(store: Store, container: str) -> list[Blob]:
    """Return the blobs of a container, by name."""
    sql = f"SELECT body FROM papers WHERE {_WITHIN} ORDER BY id"  # noqa: S608 (the text above)
    rows = store.db.execute(sql, (WIRE, _SORT, *_range(container)))
    return [_decoder.decode(body) for (body,) in rows]


def remove(store: Store, container: str, name: str = "") -> None:
    """Drop a blob, or all of a container."""
    with writing(store.db) as db:
        _drop(store, _BLOCK, f"{container}/{name}" if name else container)
        if not name:
            _drop(store, _SORT, container)
        else:
            sql = "DELETE FROM papers WHERE wire = ? AND sort = ? AND id = ?"
            db.execute(sql, (WIRE, _SORT, f"{container}/{name}"))


def _check_block(block_id: str) -> None:
    try:
        base64.b64decode(block_id, validate=True)
    except (binascii.Error, ValueError) as error:
        raise INVALID("The id of a block is in base64.", why=str(error)) from error
    if not 0 < len(block_id) <= _BLOCK_ID_MAX:
        raise INVALID(f"The id of a block has at most {_BLOCK_ID_MAX} characters.")


def _body(store: Store, sort: str, id: str) -> bytes | None:  # noqa: A002
    sql = "SELECT body FROM papers WHERE wire = ? AND sort = ? AND id = ?"
    found = store.db.execute(sql, (WIRE, sort, id)).get
    return None if found is None else bytes(found)


def _range(place: str) -> tuple[str, str]:
    """Return the first id below a place, and the first after all of them."""
    return f"{place}/", f"{place}{chr(ord('/') + 1)}"


def _drop(store: Store, sort: str, place: str) -> None:
    sql = f"DELETE FROM papers WHERE {_WITHIN}"  # noqa: S608 (the text above)
    store.db.execute(sql, (WIRE, sort, *_range(place)))


def _write(store: Store, container: str, sort: str, blob: Blob) -> None:
    """Write a row within the bounds, inside of a transaction of the caller."""
    body = _encoder.encode(blob)
    sizes = [_sizes(store, each, container) for each in (_SORT, _BLOCK)]
    if sum(count for count, _ in sizes) >= BLOBS_MAX:
        raise TOO_LARGE(f"A container has at most {BLOBS_MAX} blobs and blocks.")
    if sum(size for _, size in sizes) + len(body) > CONTAINER_BYTES_MAX:
        raise TOO_LARGE(f"The blobs of a container take at most {CONTAINER_BYTES_MAX >> 20} MiB.")
    total = _total(store, blob.changed, len(body))
    if total > ALL_BYTES_MAX:
        raise TOO_LARGE(
            f"The blobs of a resource take at most {ALL_BYTES_MAX >> 20} MiB.",
            why="A job that is deleted takes its blobs with it.",
        )
    row = (WIRE, sort, f"{container}/{blob.name}", blob.changed, body)
    store.db.execute("INSERT OR REPLACE INTO papers VALUES (?, ?, ?, ?, ?)", row)
    _note(store, _BYTES, total)


def _sizes(store: Store, sort: str, container: str) -> tuple[int, int]:
    """Return how many rows of a sort a container has, and how much they take."""
    sql = f"SELECT count(*), coalesce(sum(length(body)), 0) FROM papers WHERE {_WITHIN}"  # noqa: S608 (the text above)
    count, size = next(store.db.execute(sql, (WIRE, sort, *_range(container))))
    return int(count), int(size)


def _total(store: Store, now: int, more: int) -> int:
    """Return how much all blobs take with some more bytes.

    What was dropped since the last sweep still counts, unless that makes a difference.
    """
    is_due = now - int(store.meta(_SWEPT) or 0) > SWEEP_SECONDS * 10**9
    total = int(store.meta(_BYTES) or 0) + more
    if not is_due and total <= ALL_BYTES_MAX:
        return total
    _sweep(store, now)
    _note(store, _SWEPT, now)
    sql = "SELECT coalesce(sum(length(body)), 0) FROM papers WHERE wire = ?"
    return int(store.db.execute(sql, (WIRE,)).get) + more


def _note(store: Store, key: str, value: int) -> None:
    store.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, str(value)))


def _sweep(store: Store, now: int) -> None:
    """Drop blocks that came a day ago, and blobs that are of no job."""
    sql = (
        "DELETE FROM papers WHERE wire = ?1 AND sort IN (?2, ?3) AND created < ?4 AND (sort = ?3"
        " OR substr(id, 1, instr(id, '/') - 1) NOT IN (SELECT ?5 || id FROM jobs))"
    )
    before = now - KEPT_SECONDS * 10**9
    store.db.execute(sql, (WIRE, _SORT, _BLOCK, before, container_of("")))
