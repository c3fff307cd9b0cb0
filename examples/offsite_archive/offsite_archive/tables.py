"""The tables: samples in one partition an hour, what was archived, and what drills found."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from skerry import env

HOUR = timedelta(hours=1)
_PREFIX = "samples_"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS samples (
    at timestamptz NOT NULL, metric text NOT NULL, value double precision NOT NULL
) PARTITION BY RANGE (at);
CREATE TABLE IF NOT EXISTS archived (
    hour timestamptz PRIMARY KEY, key text NOT NULL, rows bigint NOT NULL, bytes bigint NOT NULL,
    sha256 text NOT NULL, at timestamptz NOT NULL DEFAULT now(),
    dropped boolean NOT NULL DEFAULT false
);
CREATE TABLE IF NOT EXISTS drills (
    at timestamptz PRIMARY KEY DEFAULT now(), hours int NOT NULL, rows bigint NOT NULL,
    seconds double precision NOT NULL, problems text[] NOT NULL
)"""


def hour_of(moment: datetime) -> datetime:
    """Return the beginning of the hour of a moment, in UTC."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def partition(hour: datetime) -> str:
    """Return the name of an hour's partition."""
    return f"{_PREFIX}{hour:%Y%m%d%H}"


async def prepare(hour: datetime) -> None:
    """Make the tables and an hour's partition, if they are not there."""
    async with env.db.transaction() as connection:
        await connection.execute("SELECT pg_advisory_xact_lock(1)")
        await connection.execute(_SCHEMA)
        await connection.execute(
            f"CREATE TABLE IF NOT EXISTS {partition(hour)} PARTITION OF samples "
            f"FOR VALUES FROM ('{hour.isoformat()}') TO ('{(hour + HOUR).isoformat()}')"
        )


async def closed(before: datetime) -> list[datetime]:
    """Return the hours whose partitions are there and get no more samples, the oldest first."""
    rows = await env.db.fetch(
        "SELECT c.relname AS name FROM pg_inherits JOIN pg_class AS c ON c.oid = inhrelid "
        "WHERE inhparent = to_regclass('samples') ORDER BY 1"
    )
    hours = [
        datetime.strptime(row["name"].removeprefix(_PREFIX), "%Y%m%d%H").replace(tzinfo=UTC)
        for row in rows
    ]
    return [hour for hour in hours if hour + HOUR <= before]


async def rows_of(hour: datetime) -> list[Any]:
    """Return the samples of an hour, in order."""
    rows: list[Any] = await env.db.fetch(
        "SELECT * FROM samples WHERE at >= $1 AND at < $2 ORDER BY at, metric", hour, hour + HOUR
    )
    return rows


async def archived() -> list[Any]:
    """Return what was archived, the oldest first."""
    rows: list[Any] = await env.db.fetch("SELECT * FROM archived ORDER BY hour")
    return rows
