"""Buckets, their settings, and the users of the account."""

from __future__ import annotations

from typing import Any

import msgspec

from skerry.kernel.clock import SystemEntropy
from skerry.kernel.errors import ALREADY_EXISTS, NOT_FOUND
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.state import multipart
from skerry.kinds.bucket.state.database import Db, rows
from skerry.kinds.bucket.state.records import Bucket

OWNER = "owner"
"""The user whose key is the resource's own."""

BUCKETS_MAX = 1000
_SUFFIX_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


class User(msgspec.Struct, frozen=True):
    """A further user of the account; its access key is the resource's with `suffix`."""

    name: str
    suffix: str
    email: str
    created: int


def no_such_bucket(name: str) -> S3Error:
    """Return the error for a bucket that does not exist."""
    return S3Error(
        "NoSuchBucket", "The specified bucket does not exist.", fields={"BucketName": name}
    )


def find(db: Db, name: str) -> Bucket | None:
    """Return a bucket with its settings, or None."""
    row = db.execute(
        "SELECT id, name, owner, created, region, versioning, locking FROM buckets WHERE name = ?",
        (name,),
    ).fetchone()
    if row is None:
        return None
    settings = dict(db.execute("SELECT name, value FROM settings WHERE bucket = ?", (row[0],)))
    return _bucket(row, settings)


def _bucket(row: Any, settings: dict[str, bytes]) -> Bucket:
    return Bucket(row[0], row[1], row[2], row[3], row[4], row[5], bool(row[6]), settings)


def create(
    db: Db, name: str, owner: str, now: int, *, region: str = "", locking: bool = False
) -> Bucket:
    """Create a bucket; raise TooManyBuckets."""
    if db.execute("SELECT count(*) FROM buckets WHERE owner = ?", (owner,)).get >= BUCKETS_MAX:
        raise S3Error("TooManyBuckets", f"An account has at most {BUCKETS_MAX} buckets.")
    versioning = "Enabled" if locking else ""
    db.execute(
        "INSERT INTO buckets (name, owner, created, region, versioning, locking)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (name, owner, now, region, versioning, locking),
    )
    found = find(db, name)
    assert found is not None
    return found


def delete(db: Db, name: str, now: int) -> None:
    """Delete an empty bucket and its unfinished uploads; raise NoSuchBucket or BucketNotEmpty."""
    bucket = find(db, name)
    if bucket is None:
        raise no_such_bucket(name)
    if db.execute("SELECT 1 FROM versions WHERE bucket = ? LIMIT 1", (bucket.id,)).get:
        raise S3Error(
            "BucketNotEmpty",
            "The bucket you tried to delete is not empty.",
            fields={"BucketName": name},
        )
    for (upload,) in rows(db, "SELECT id FROM uploads WHERE bucket = ?", (bucket.id,)):
        multipart.remove(db, upload, now)
    db.execute("DELETE FROM completed WHERE bucket = ?", (bucket.id,))
    db.execute("DELETE FROM buckets WHERE id = ?", (bucket.id,))


def names(db: Db, owner: str, prefix: str, after: str, limit: int) -> list[Bucket]:
    """Return an owner's buckets by name."""
    found = rows(
        db,
        "SELECT id, name, owner, created, region, versioning, locking FROM buckets"
        " WHERE owner = ? AND name > ? AND substr(name, 1, ?) = ? ORDER BY name LIMIT ?",
        (owner, after, len(prefix), prefix, limit),
    )
    return [_bucket(row, {}) for row in found]


def set_setting(db: Db, bucket: int, name: str, value: bytes) -> None:
    """Keep a configuration of a bucket; raise NoSuchBucket if it was deleted meanwhile."""
    if not db.execute("SELECT 1 FROM buckets WHERE id = ?", (bucket,)).get:
        raise S3Error("NoSuchBucket", "The specified bucket does not exist.")
    db.execute(
        "INSERT INTO settings (bucket, name, value) VALUES (?, ?, ?)"
        " ON CONFLICT (bucket, name) DO UPDATE SET value = excluded.value",
        (bucket, name, value),
    )


def drop_setting(db: Db, bucket: int, name: str) -> None:
    """Forget a configuration of a bucket."""
    db.execute("DELETE FROM settings WHERE bucket = ? AND name = ?", (bucket, name))


def set_versioning(db: Db, bucket: int, status: str) -> None:
    """Set versioning to Enabled or Suspended."""
    db.execute("UPDATE buckets SET versioning = ? WHERE id = ?", (status, bucket))


def set_locking(db: Db, bucket: int) -> None:
    """Allow object locks in a bucket."""
    db.execute("UPDATE buckets SET locking = 1 WHERE id = ?", (bucket,))


def add_user(db: Db, name: str, email: str, now: int) -> User:
    """Add a user; raise ALREADY_EXISTS."""
    if name == OWNER or db.execute("SELECT 1 FROM users WHERE name = ?", (name,)).get:
        raise ALREADY_EXISTS(f"There is a user {name} already.")
    taken = {suffix for (suffix,) in db.execute("SELECT suffix FROM users")}
    suffix = next(each for each in iter(_suffix, "") if each not in taken)
    db.execute("INSERT INTO users VALUES (?, ?, ?, ?)", (name, suffix, email, now))
    return User(name, suffix, email, now)


def remove_user(db: Db, name: str) -> None:
    """Remove a user; its key is refused from now on. Raise NOT_FOUND."""
    db.execute("DELETE FROM users WHERE name = ?", (name,))
    if not db.changes():
        raise NOT_FOUND(f"There is no user {name}.")


def users(db: Db) -> list[User]:
    """Return the further users."""
    return [User(*row) for row in db.execute("SELECT name, suffix, email, created FROM users")]


def _suffix() -> str:
    return "".join(_SUFFIX_LETTERS[byte % 32] for byte in SystemEntropy().bytes(4))
