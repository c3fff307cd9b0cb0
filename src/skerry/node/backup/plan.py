"""What is planned: when backups are made and tried, and how long they are kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec

from skerry.kernel import cron
from skerry.kernel.app import parse_duration
from skerry.kernel.commands import about
from skerry.kernel.errors import INVALID

PRIMARY = "primary"
SECOND = "second"
STORES = (PRIMARY, SECOND)
HOURLY = "17 * * * *"
NIGHTLY = "40 3 * * *"
NEVER = "never"
WAL_EVERY_SECONDS = 300
WAL_EVERY_LEAST = 10
_UNITS = {"h": 3600, "d": 86_400, "w": 7 * 86_400, "m": 30 * 86_400, "y": 365 * 86_400}


class Keep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long backups are kept: everything for `all`, then one an hour, a day, a week, a month.

    Spans of time, never counts, so that nobody can push old backups out by adding new ones.
    """

    all: str = "2d"
    hourly: str = "7d"
    daily: str = "30d"
    weekly: str = "26w"
    monthly: str = "2y"

    def flags(self) -> list[str]:
        """Return the engine's flags."""
        found = ["--keep-within", span(self.all)]
        for name in ("hourly", "daily", "weekly", "monthly"):
            found += [f"--keep-within-{name}", span(getattr(self, name))]
        return found


def check_schedule(text: str, name: str = "schedule") -> str:
    """Return a cron expression or `never`; raise ValueError for anything else."""
    if text == NEVER:
        return text
    try:
        cron.parse(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return text


def check_span(text: str, name: str) -> str:
    """Return a span of time as retention knows it; raise ValueError for anything else."""
    if not (text[:-1].isdigit() and text[-1:] in _UNITS and int(text[:-1]) > 0):
        raise ValueError(f"{name}: {text[:40]!r} is no span such as 36h, 30d, 26w, 6m or 2y")
    return text


def is_due(expression: str, minute: datetime) -> bool:
    """Tell whether a schedule means a minute."""
    if expression == NEVER:
        return False
    return cron.parse(expression).next_time(minute - timedelta(minutes=1)) == minute


def interval_seconds(expression: str, now: datetime) -> float:
    """Return the seconds between the next two times that a schedule means; 0 for never."""
    if expression == NEVER:
        return 0.0
    first = cron.parse(expression).next_time(now)
    return (cron.parse(expression).next_time(first) - first).total_seconds()


def parse_moment(text: str, now: int) -> int:
    """Return the nanoseconds since 1970 of a moment; raise INVALID.

    2026-11-23T14:05:00Z, 2026-11-23 14:05, 14:05 (today), yesterday 14:05, or 90m for ago. Without
    a zone it is UTC.
    """
    words = text.strip().lower()
    today = datetime.fromtimestamp(now / 1e9, UTC).replace(
        hour=0, minute=0, second=0, microsecond=0
    )
    try:
        return now - int(parse_duration(words.removesuffix(" ago")) * 1e9)
    except ValueError:
        pass
    if words == "now":
        return now
    day, _, hour = words.partition(" ")
    if day in ("yesterday", "today"):
        base = today - timedelta(days=1) if day == "yesterday" else today
        words = f"{base:%Y-%m-%d} {hour or '00:00'}"
    elif words[:2].rstrip(":").isdigit() and ":" in words[:3]:
        words = f"{today:%Y-%m-%d} {words:0>5}"
    try:
        moment = datetime.fromisoformat(words.upper())
    except ValueError as error:
        raise INVALID(
            f"{text[:60]!r} is no moment.",
            why="Write 2026-11-23T14:05:00Z, yesterday 14:05, 14:05, or 90m for ago.",
        ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    whole = moment.replace(microsecond=0)
    return int(whole.timestamp()) * 1_000_000_000 + moment.microsecond * 1000


def span(text: str) -> str:
    """Return a span such as `36h`, `30d`, `26w`, `2y` as the engine writes it."""
    number, unit = text[:-1], text[-1:]
    if unit == "w" and number.isdigit():
        return f"{int(number) * 7}d"
    return text


def span_seconds(text: str) -> int:
    """Return about how many seconds a span is."""
    return int(text[:-1]) * _UNITS[text[-1:]]


class BackupConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An app's own backups, besides those of the whole node: all branches, into the same stores.

    Everything is kept for `keep`, then one backup an hour, a day, a week and a month for the spans
    named after them. Between backups, what changed (the WAL of a database, small states) is sent
    every `wal_every_seconds`.
    """

    schedule: Annotated[str, about("when, as a cron expression in UTC; `never` for not at all")] = (
        HOURLY
    )
    drill: Annotated[str, about("when a restore is tried, as a cron expression in UTC")] = NIGHTLY
    keep: Annotated[str, about("how long every backup is kept: 36h, 2d, 4w")] = "2d"
    keep_hourly: Annotated[str, about("how long one an hour is kept")] = "7d"
    keep_daily: Annotated[str, about("how long one a day is kept")] = "30d"
    keep_weekly: Annotated[str, about("how long one a week is kept")] = "26w"
    keep_monthly: Annotated[str, about("how long one a month is kept")] = "2y"
    wal_every_seconds: Annotated[
        int, about("how often what changed is sent between backups; 0 for never")
    ] = WAL_EVERY_SECONDS

    def __post_init__(self) -> None:
        for name in ("schedule", "drill"):
            check_schedule(getattr(self, name), name)
        for name in ("keep", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly"):
            check_span(getattr(self, name), name)
        if self.wal_every_seconds and not WAL_EVERY_LEAST <= self.wal_every_seconds <= 86_400:
            raise ValueError(f"wal_every_seconds is 0 or {WAL_EVERY_LEAST} to 86400")

    @property
    def kept(self) -> Keep:
        """How long backups are kept."""
        return Keep(
            self.keep, self.keep_hourly, self.keep_daily, self.keep_weekly, self.keep_monthly
        )
