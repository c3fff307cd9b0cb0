"""Archives closed hours, drops what is old, and drills what was archived."""

from __future__ import annotations

import asyncio
import hashlib
import time
from datetime import datetime, timedelta
from typing import Any

from offsite_archive import sealed, tables
from offsite_archive.bucket import Bucket, BucketError
from skerry import env, permit

NIGHTLY = "35 2 * * *"


def store() -> Bucket:
    """Return the bucket that the secrets name."""
    keys = env.ARCHIVE_ACCESS_KEY, env.ARCHIVE_SECRET_KEY
    where = {"provider": env.STORE_PROVIDER, "country": env.STORE_COUNTRY}
    return Bucket(env.ARCHIVE_STORE, *keys, **where)


async def scheduled(event: Any, env_: Any) -> None:
    """Every night drill; every hour archive."""
    if event.cron == NIGHTLY:
        await drill()
    else:
        await archive(event.time)


async def archive(now: datetime) -> int:
    """Archive every closed hour that is not archived yet; return how many were.

    A partition is dropped only once it is archived, was read back whole, and is old. Before
    anything is sent, the node is asked whether the app's policy lets it go there.
    """
    await tables.prepare(tables.hour_of(now))
    known = {row["hour"] for row in await tables.archived()}
    closed = await tables.closed(now)
    fresh = [hour for hour in closed if hour not in known]
    for hour in fresh:
        await _archive_hour(hour)
    horizon = now - timedelta(hours=int(env.KEEP_HOURS))
    for hour in closed:
        if hour < horizon:
            await _drop(hour)
    return len(fresh)


async def _archive_hour(hour: datetime) -> None:
    found = await tables.rows_of(hour)
    if not found:
        return
    name = f"telemetry/{hour:%Y/%m/%d/%H}.ndjson.gz.sealed"
    await permit("archive:send", **store().place(), encrypted=True)
    data, digest = await asyncio.to_thread(sealed.seal, found, name, env.ARCHIVE_KEY)
    await asyncio.to_thread(store().put, name, data)
    back = await asyncio.to_thread(_fetch, name)
    if hashlib.sha256(back).hexdigest() != digest:
        raise sealed.DamageError(f"{name} did not come back as it was stored")
    await env.db.execute(
        "INSERT INTO archived (hour, key, rows, bytes, sha256) VALUES ($1, $2, $3, $4, $5) "
        "ON CONFLICT DO NOTHING",
        hour,
        name,
        len(found),
        len(data),
        digest,
    )


async def _drop(hour: datetime) -> None:
    async with env.db.transaction() as connection:
        marked = await connection.fetchval(
            "UPDATE archived SET dropped = true WHERE hour = $1 RETURNING true", hour
        )
        if marked or not await tables.rows_of(hour):
            await connection.execute(f"DROP TABLE IF EXISTS {tables.partition(hour)}")


async def drill() -> dict[str, Any]:
    """Fetch every archived hour, compare it with what was archived, and keep what was found."""
    started = time.monotonic()
    total, problems = 0, []
    known = await tables.archived()
    for row in known:
        try:
            plain = await asyncio.to_thread(_fetch, row["key"])
        except (BucketError, sealed.DamageError, OSError) as error:
            problems.append(f"{row['key']}: {error}")
            continue
        count = plain.count(b"\n")
        total += count
        if count != row["rows"] or hashlib.sha256(plain).hexdigest() != row["sha256"]:
            problems.append(f"{row['key']}: {count} rows came back, {row['rows']} were archived")
    seconds = time.monotonic() - started
    await env.db.execute(
        "INSERT INTO drills (hours, rows, seconds, problems) VALUES ($1, $2, $3, $4)",
        len(known),
        total,
        seconds,
        problems,
    )
    return {"hours": len(known), "rows": total, "seconds": seconds, "problems": problems}


def _fetch(name: str) -> bytes:
    return sealed.unseal(store().get(name), name, env.ARCHIVE_KEY)
