"""Times in the forms that S3 writes and reads; inside, a time is nanoseconds since 1970 (UTC)."""

from __future__ import annotations

import email.utils
from datetime import UTC, datetime, timedelta

NANOSECONDS = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(nanoseconds: int) -> datetime:
    """Return the time as a datetime in UTC."""
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)


def nanoseconds(when: datetime) -> int:
    """Return a datetime as nanoseconds; a naive one is UTC."""
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1) * 1000


def iso(time_ns: int) -> str:
    """Return `2026-11-23T17:05:00.123Z`."""
    return moment(time_ns).strftime("%Y-%m-%dT%H:%M:%S.") + f"{time_ns // 1_000_000 % 1000:03d}Z"


def iso_seconds(time_ns: int) -> str:
    """Return `2026-11-23T17:05:00Z`."""
    return moment(time_ns).strftime("%Y-%m-%dT%H:%M:%SZ")


def http_date(time_ns: int) -> str:
    """Return the date of an HTTP header (RFC 9110)."""
    return email.utils.format_datetime(moment(time_ns), usegmt=True)


def parse_iso(text: str) -> int:
    """Read an ISO 8601 time; raise ValueError."""
    return nanoseconds(datetime.fromisoformat(text.strip()))


def parse_http_date(text: str) -> int:
    """Read the date of an HTTP header, or ISO 8601; raise ValueError."""
    try:
        return nanoseconds(email.utils.parsedate_to_datetime(text))
    except (TypeError, ValueError, IndexError, OverflowError):
        return parse_iso(text)


def parse_basic(text: str) -> int:
    """Read `20261123T170500Z`, the form of signatures; raise ValueError."""
    return nanoseconds(datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC))
