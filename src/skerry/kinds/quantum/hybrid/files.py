"""Files of hybrid jobs by bucket and key, in the same file as all jobs.

What goes in is small (scripts, inputs), what comes out is bounded, and one file is frozen, copied,
replicated and backed up as one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from skerry.kernel.errors import NOT_FOUND, TOO_LARGE
from skerry.kinds._shared.sqlite_state import writing
from skerry.kinds.quantum.store import Store

FILE_BYTES_MAX = 64 << 20
ALL_BYTES_MAX = 4 << 30
FILES_MAX = 100_000
KEY_BYTES_MAX = 1024
UPLOAD_SECONDS_MAX = 86_400
UPLOAD_MARK = "~"
"""What begins the name of a bucket of parts, and of no other."""
_PART = 1 << 20


class File(NamedTuple):
    """A file without its content; `etag` is that of S3 for one that came in one piece."""

    bucket: str
    key: str
    size: int
    etag: str
    kind: str
    at: int


_COLUMNS = "bucket, key, size, etag, kind, at"


def put(store: Store, bucket: str, key: str, data: bytes, kind: str = "") -> File:
    """Keep a file, durably, instead of one that is there; raise TOO_LARGE beyond a bound."""
    if len(data) > FILE_BYTES_MAX:
        raise TOO_LARGE(f"A file has at most {FILE_BYTES_MAX >> 20} MiB.")
    if not 1 <= len(key.encode()) <= KEY_BYTES_MAX:
        raise TOO_LARGE(f"A key has 1 to {KEY_BYTES_MAX} bytes.")
    with writing(store.db) as db:
        remove_row(store, bucket, key)
        count, total = db.execute("SELECT count(*), coalesce(sum(size), 0) FROM files").get
        if count >= FILES_MAX or total + len(data) > ALL_BYTES_MAX:
            raise TOO_LARGE(
                f"A resource keeps {FILES_MAX} files and {ALL_BYTES_MAX >> 30} GiB at most.",
                why=f"It has {count} files of {total >> 20} MiB.",
                hint="Delete some, as by aws s3 rm.",
            )
        return insert(store, bucket, key, data, kind)


def insert(store: Store, bucket: str, key: str, data: bytes, kind: str) -> File:
    """Write a file that is not there, inside of a transaction of the caller."""
    etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
    made = File(bucket, key, len(data), etag, kind, store.now())
    sql = f"INSERT INTO files({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608
    store.db.execute(sql, made)
    number = store.db.last_insert_rowid()
    for at in range(0, len(data), _PART):
        row = (number, at // _PART, data[at : at + _PART])
        store.db.execute("INSERT INTO file_parts VALUES (?, ?, ?)", row)
    return made


def remove_row(store: Store, bucket: str, key: str) -> None:
    """Forget a file, inside of a transaction of the caller; one that is not there is fine."""
    sql = "SELECT id FROM files WHERE bucket = ? AND key = ?"
    number = store.db.execute(sql, (bucket, key)).get
    if number is not None:
        store.db.execute("DELETE FROM file_parts WHERE file = ?", (number,))
        store.db.execute("DELETE FROM files WHERE id = ?", (number,))


def remove(store: Store, bucket: str, key: str) -> None:
    """Forget a file, durably."""
    with writing(store.db):
        remove_row(store, bucket, key)


def forget_uploads(store: Store) -> None:
    """Forget parts of files that nobody has put together for a day, durably."""
    with writing(store.db) as db:
        sql = "SELECT bucket, key FROM files WHERE substr(bucket, 1, 1) = ? AND at < ?"
        old = (UPLOAD_MARK, store.now() - UPLOAD_SECONDS_MAX * 1_000_000_000)
        for bucket, key in list(db.execute(sql, old)):
            remove_row(store, bucket, key)


def find(store: Store, bucket: str, key: str) -> File | None:
    """Return a file without its content, or None."""
    sql = f"SELECT {_COLUMNS} FROM files WHERE bucket = ? AND key = ?"  # noqa: S608
    for row in store.db.execute(sql, (bucket, key)):
        return File(*row)
    return None


def read(store: Store, bucket: str, key: str) -> bytes:
    """Return a file's content; raise NOT_FOUND."""
    sql = "SELECT id FROM files WHERE bucket = ? AND key = ?"
    number = store.db.execute(sql, (bucket, key)).get
    if number is None:
        raise NOT_FOUND(f"There is no s3://{bucket[:63]}/{key[:200]}.")
    sql = "SELECT body FROM file_parts WHERE file = ? ORDER BY number"
    return b"".join(body for (body,) in store.db.execute(sql, (number,)))


def below(store: Store, bucket: str, prefix: str, after: str = "", limit: int = 1000) -> list[File]:
    """Return files whose keys begin with a prefix, in their order, after a key."""
    sql = (
        f"SELECT {_COLUMNS} FROM files WHERE bucket = ?1 AND substr(key, 1, length(?2)) = ?2"  # noqa: S608
        " AND key > ?3 ORDER BY key LIMIT ?4"
    )
    return [File(*row) for row in store.db.execute(sql, (bucket, prefix, after, limit))]


def everything(store: Store) -> Iterator[tuple[File, bytes]]:
    """Yield every file with its content."""
    sql = f"SELECT {_COLUMNS} FROM files ORDER BY bucket, key"  # noqa: S608
    for row in list(store.db.execute(sql)):
        found = File(*row)
        yield found, read(store, found.bucket, found.key)
