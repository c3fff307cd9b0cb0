"""Carrying out lifecycle rules: expiring objects, old versions, and unfinished uploads.

It runs when the resource wakes and every hour while it is awake; what falls due while it sleeps
goes at the next wake. Nothing is deleted under a lock.
"""

from __future__ import annotations

import asyncio
import contextlib

from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.account import Account
from skerry.kinds.bucket.state import buckets, multipart, objects
from skerry.kinds.bucket.state.database import Db, rows
from skerry.kinds.bucket.state.objects import row_to_version
from skerry.kinds.bucket.state.records import Bucket, Record, Version, unpack
from skerry.kinds.bucket.wire.lifecycle import DAY_NS, Rule, rules_of

_STEP = 500
_PERIOD_SECONDS = 3600.0


class Expiry:
    """Deletes what bucket owners told to expire; `day_ns` is a day's length, for tests."""

    def __init__(
        self, account: Account, day_ns: int = DAY_NS, period_seconds: float = _PERIOD_SECONDS
    ) -> None:
        self._account = account
        self._day_ns = day_ns
        self._period_seconds = period_seconds
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to run in the background."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop running."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        while True:
            try:
                await self.run_once()
            except Exception:
                self._account.context.log.exception("Lifecycle rules could not be carried out.")
            await asyncio.sleep(self._period_seconds)

    async def run_once(self) -> int:
        """Carry out the rules of every bucket; return how many things were deleted."""
        store, deleted = self._account.store, 0
        for bucket in await store.read(_with_rules):
            after = 0
            while after >= 0:
                now = self._account.now()
                after, count = await store.write(_step, bucket, after, now, self._day_ns)
                deleted += count
            deleted += await store.write(_abort, bucket, self._account.now(), self._day_ns)
        if deleted:
            store.rubbish()
        return deleted


def _with_rules(db: Db) -> list[Bucket]:
    names = rows(
        db,
        "SELECT buckets.name FROM settings JOIN buckets ON buckets.id = settings.bucket"
        " WHERE settings.name = 'lifecycle'",
    )
    return [bucket for (name,) in names if (bucket := buckets.find(db, name)) is not None]


def _step(db: Db, bucket: Bucket, after: int, now: int, day_ns: int) -> tuple[int, int]:
    """Look at some versions; return where to go on (-1 at the end) and how many were deleted."""
    found = rows(
        db,
        "SELECT sequence, key, version, latest, marker, modified, size, etag, record, pieces"
        " FROM versions WHERE bucket = ? AND sequence > ? ORDER BY sequence LIMIT ?",
        (bucket.id, after, _STEP),
    )
    count = 0
    for row in found:
        version = row_to_version(row)
        covering = [rule for rule in rules_of(bucket) if rule.covers(version)]
        if any(_due(db, bucket, rule, version, now, day_ns) for rule in covering):
            count += _expire(db, bucket, version, now)
    return (found[-1][0] if len(found) == _STEP else -1), count


def _due(db: Db, bucket: Bucket, rule: Rule, version: Version, now: int, day_ns: int) -> bool:
    if version.latest and not version.marker:
        due = rule.due(version, day_ns)
        return bool(due) and due <= now
    newer = rows(
        db,
        "SELECT modified FROM versions WHERE bucket = ? AND key = ? AND sequence > ?"
        " ORDER BY sequence LIMIT ?",
        (bucket.id, version.key, version.sequence, rule.newer_versions + 1),
    )
    if version.latest:
        older = db.execute(
            "SELECT 1 FROM versions WHERE bucket = ? AND key = ? AND sequence < ?",
            (bucket.id, version.key, version.sequence),
        ).get
        return not older and (rule.marker or bool(rule.days))
    if not rule.noncurrent_days or not newer or len(newer) <= rule.newer_versions:
        return False
    return bool(newer[0][0] + rule.noncurrent_days * day_ns <= now)


def _expire(db: Db, bucket: Bucket, version: Version, now: int) -> int:
    if version.latest and not version.marker and bucket.versioning:
        objects.add_marker(db, bucket.id, bucket.versioning, version.key, bucket.owner, now)
        return 1
    try:
        objects.check_lock(version.record.lock, now, bypass=False)
    except S3Error:
        return 0
    objects.delete_version(db, bucket.id, version, now)
    return 1


def _abort(db: Db, bucket: Bucket, now: int, day_ns: int) -> int:
    count = 0
    found = rows(db, "SELECT id, key, started, record FROM uploads WHERE bucket = ?", (bucket.id,))
    for upload, key, started, record in found:
        version = Version(0, key, "", True, False, started, 0, "", unpack(record, Record))
        for rule in rules_of(bucket):
            if (
                rule.abort_days
                and rule.covers(version)
                and started + rule.abort_days * day_ns <= now
            ):
                multipart.remove(db, upload, now)
                count += 1
                break
    return count
