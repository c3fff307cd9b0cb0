"""Cron expressions against a search by brute force, and against what crontab(5) says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.kernel.cron import next_time, parse

MOMENTS = st.datetimes(
    min_value=datetime(1999, 1, 1), max_value=datetime(2199, 1, 1), timezones=st.just(UTC)
)


def field(low: int, high: int) -> st.SearchStrategy[str]:
    value = st.integers(low, high)
    span = st.tuples(value, value).map(lambda pair: f"{min(pair)}-{max(pair)}")
    step = st.tuples(st.just("*") | span, st.integers(1, high)).map(lambda p: f"{p[0]}/{p[1]}")
    part = value.map(str) | span | step
    return st.just("*") | st.lists(part, min_size=1, max_size=3).map(",".join)


EXPRESSIONS = st.tuples(field(0, 59), field(0, 23), field(1, 28), field(1, 12), field(0, 6)).map(
    " ".join
)


def values(text: str, low: int, high: int) -> set[int]:
    """Expand a field by testing every value against every part."""
    found = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        start = low if span == "*" else int(first)
        end = high if span == "*" else int(last or first)
        found |= {v for v in range(start, end + 1) if (v - start) % int(step or 1) == 0}
    return found


def is_due(expression: str, moment: datetime) -> bool:
    minute, hour, day, month, weekday = expression.split()
    on_day = moment.day in values(day, 1, 31)
    on_weekday = (moment.weekday() + 1) % 7 in values(weekday, 0, 6)
    either = day[0] != "*" and weekday[0] != "*"
    return (
        moment.minute in values(minute, 0, 59)
        and moment.hour in values(hour, 0, 23)
        and moment.month in values(month, 1, 12)
        and ((on_day or on_weekday) if either else (on_day and on_weekday))
    )


@given(EXPRESSIONS, MOMENTS)
def test_it_is_due_at_the_next_time(expression: str, after: datetime) -> None:
    found = next_time(expression, after)
    assert found > after
    assert (found.second, found.microsecond) == (0, 0)
    assert is_due(expression, found)


@given(EXPRESSIONS, MOMENTS)
def test_it_is_not_due_before_the_next_time(expression: str, after: datetime) -> None:
    found = next_time(expression, after)
    earlier = found - timedelta(minutes=1)
    for _ in range(200):
        if earlier <= after:
            break
        assert not is_due(expression, earlier)
        earlier -= timedelta(minutes=1)


@given(EXPRESSIONS, MOMENTS)
def test_walking_skips_nothing(expression: str, after: datetime) -> None:
    first = next_time(expression, after)
    second = next_time(expression, first)
    between = first + (second - first) / 2
    assert next_time(expression, between) == (second if between >= first else first)
    assert next_time(expression, first - timedelta(microseconds=1)) == first


@given(st.text(max_size=40))
def test_garbage_is_a_value_error(text: str) -> None:
    try:
        parse(text).next_time(datetime(2030, 1, 1, tzinfo=UTC))
    except ValueError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("*/15 * * * *", "2030-01-01T00:00:00", "2030-01-01T00:15:00"),
        ("*/15 * * * *", "2030-01-01T00:14:59.999999", "2030-01-01T00:15:00"),
        ("0 9 * * mon-fri", "2030-01-04T09:00:00", "2030-01-07T09:00:00"),
        ("0 9 * * 5-7", "2030-01-05T10:00:00", "2030-01-06T09:00:00"),
        ("0 9 * * SUN", "2030-01-01T00:00:00", "2030-01-06T09:00:00"),
        ("0 9 * * fri-sun", "2030-01-05T10:00:00", "2030-01-06T09:00:00"),
        ("0 9 * * 7", "2030-01-01T00:00:00", "2030-01-06T09:00:00"),
        ("0 0 1 JAN,jul *", "2030-01-01T00:00:00", "2030-07-01T00:00:00"),
        ("0 0 29 2 *", "2096-03-01T00:00:00", "2104-02-29T00:00:00"),
        ("0 0 */31 2 */7", "1891-02-01T00:00:00", "1903-02-01T00:00:00"),
        ("0 0 31 * *", "2030-01-31T00:00:00", "2030-03-31T00:00:00"),
        ("0 0 13 * fri", "2030-01-01T00:00:00", "2030-01-04T00:00:00"),
        ("0 0 */2 * fri", "2030-01-04T00:00:00", "2030-01-11T00:00:00"),
        ("5/20 0 * * *", "2030-01-01T00:05:00", "2030-01-01T00:25:00"),
        ("@hourly", "2030-12-31T23:00:01", "2031-01-01T00:00:00"),
        ("@weekly", "2030-01-01T00:00:00", "2030-01-06T00:00:00"),
        ("@yearly", "2030-01-01T00:00:00", "2031-01-01T00:00:00"),
    ],
)
def test_known_cases(expression: str, after: str, expected: str) -> None:
    moment = datetime.fromisoformat(after).replace(tzinfo=UTC)
    assert next_time(expression, moment) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("* * * *", "4 fields instead of 5"),
        ("60 * * * *", "'60' is no minute: expected 0 to 59"),
        ("* 24 * * *", "no hour"),
        ("* * 0 * *", "no day"),
        ("* * * 13 *", "no month"),
        ("* * * * 8", "no weekday"),
        ("30-10 * * * *", "'30-10' in the minute runs backwards"),
        ("*/0 * * * *", "'0' is no minute"),
        ("0 0 30 2 *", "is never due: its months have at most 29 days"),
        ("@sometimes", "is none of @hourly"),
        ("* * * * mon#1", "'mon#1' is no weekday"),
        ("², * * * *", "no minute"),
        ("* " * 200, "at most 200"),
    ],
)
def test_mistakes_are_named(expression: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("*", r"\*")):
        parse(expression)


def test_other_time_zones_are_converted() -> None:
    after = datetime(2030, 1, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert next_time("0 0 * * *", after) == datetime(2030, 1, 1, tzinfo=UTC)


def test_a_moment_needs_a_time_zone() -> None:
    with pytest.raises(ValueError, match="without a time zone"):
        next_time("@hourly", datetime(2030, 1, 1))


def test_the_end_of_the_calendar() -> None:
    with pytest.raises(ValueError, match="calendar ends"):
        next_time("@yearly", datetime(9999, 12, 31, 23, 59, tzinfo=UTC))
