"""Queries over everything: recent hours in Postgres, older ones in the bucket, where they lie.

Only the hours that a query is about are fetched, a few at a time, and nothing of them is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from offsite_archive import archiver, sealed, tables
from skerry import env

AT_ONCE = 4
HOURS_MAX = 24 * 366


@dataclass
class Summary:
    """An hour of a metric."""

    hour: str
    where: str
    count: int = 0
    least: float = float("inf")
    most: float = float("-inf")
    total: float = 0.0

    def add(self, value: float) -> None:
        """Take one more value."""
        self.count += 1
        self.least, self.most = min(self.least, value), max(self.most, value)
        self.total += value

    def shape(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        mean = self.total / self.count
        about = {"min": self.least, "max": self.most, "mean": mean}
        return {"hour": self.hour, "where": self.where, "count": self.count, **about}


async def summaries(metric: str, since: datetime, until: datetime) -> list[dict[str, Any]]:
    """Return the hours of a metric from `since` to before `until`, the oldest first."""
    known = await env.db.fetch(
        "SELECT hour, key FROM archived WHERE dropped "
        "AND hour > $1::timestamptz - interval '1 hour' AND hour < $2 ORDER BY hour LIMIT $3",
        since,
        until,
        HOURS_MAX,
    )
    gate = asyncio.Semaphore(AT_ONCE)

    async def look(row: Any) -> Summary:
        async with gate:
            return await asyncio.to_thread(_archived, row, metric, since, until)

    found = await asyncio.gather(*(look(row) for row in known))
    found += await _recent(metric, since, until)
    return [each.shape() for each in sorted(found, key=lambda each: each.hour) if each.count]


def _archived(row: Any, metric: str, since: datetime, until: datetime) -> Summary:
    plain = sealed.unseal(archiver.store().get(row["key"]), row["key"], env.ARCHIVE_KEY)
    summary = Summary(row["hour"].isoformat(), "archive")
    for at, name, value in sealed.rows(plain):
        if name == metric and since <= at < until:
            summary.add(value)
    return summary


async def _recent(metric: str, since: datetime, until: datetime) -> Iterable[Summary]:
    rows = await env.db.fetch(
        "SELECT at, value FROM samples WHERE metric = $1 AND at >= $2 AND at < $3",
        metric,
        since,
        until,
    )
    found: dict[str, Summary] = {}
    for row in rows:
        hour = tables.hour_of(row["at"]).isoformat()
        found.setdefault(hour, Summary(hour, "postgres")).add(row["value"])
    return found.values()
