"""Cron expressions: when something is due, in UTC.

    ┌ minute 0-59  ┌ hour 0-23  ┌ day 1-31  ┌ month 1-12 or jan-dec  ┌ weekday 0-7 or sun-sat
    */15           9-17         *           *                        mon-fri

A field is a list of values, ranges (`9-17`) and steps (`*/15`, `9-17/2`, `5/10`). Sunday is 0
and 7. If day and weekday are both restricted (neither starts with `*`), either of them suffices, as
in crontab(5) of Vixie cron. `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly` are short forms.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

SHORT_FORMS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
LENGTH_MAX = 200
_MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
_WEEKDAYS = {"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}
_LONGEST_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_YEARS_MAX = 12
"""The longest wait: a first of a month that is also a certain weekday, over a year such as 2100."""


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed expression: the values of each field, sorted."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    either_day: bool

    def _matches_day(self, moment: datetime) -> bool:
        day = moment.day in self.days
        weekday = moment.isoweekday() % 7 in self.weekdays
        return (day or weekday) if self.either_day else (day and weekday)

    def next_time(self, after: datetime) -> datetime:
        """Return the first minute after `after` in which it is due, in UTC.

        Raises ValueError if there is none within the calendar.
        """
        try:
            start = after.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
            day = start.replace(hour=0, minute=0)
            end = day.year + _YEARS_MAX
            while day.year <= end:
                if day.month not in self.months:
                    day = _next_month(day)
                    continue
                found = self._first_on(day, start) if self._matches_day(day) else None
                if found is not None:
                    return found
                day += timedelta(days=1)
        except (OverflowError, ValueError) as error:
            raise ValueError("the calendar ends before it is due again") from error
        raise ValueError("it is never due")

    def _first_on(self, day: datetime, start: datetime) -> datetime | None:
        for hour in self.hours:
            if day.replace(hour=hour, minute=59) < start:
                continue
            for minute in self.minutes:
                moment = day.replace(hour=hour, minute=minute)
                if moment >= start:
                    return moment
        return None


def _next_month(day: datetime) -> datetime:
    if day.month == 12:
        return day.replace(year=day.year + 1, month=1, day=1)
    return day.replace(month=day.month + 1, day=1)


def parse(expression: str) -> Cron:
    """Parse an expression; raise ValueError that says what is wrong with which field."""
    if len(expression) > LENGTH_MAX:
        raise ValueError(f"a cron expression has at most {LENGTH_MAX} characters")
    text = expression.strip().lower()
    if text.startswith("@"):
        if text not in SHORT_FORMS:
            raise ValueError(f"{expression!r} is none of {', '.join(SHORT_FORMS)}")
        text = SHORT_FORMS[text]
    fields = text.split()
    if len(fields) != 5:
        raise ValueError(
            f"{expression!r} has {len(fields)} fields instead of 5: minute hour day month weekday"
        )
    minute, hour, day, month, weekday = fields
    cron = Cron(
        minutes=_values(minute, "minute", 0, 59),
        hours=_values(hour, "hour", 0, 23),
        days=_values(day, "day", 1, 31),
        months=_values(month, "month", 1, 12, _MONTHS),
        weekdays=_weekdays(weekday),
        either_day=not day.startswith(("*", "?")) and not weekday.startswith(("*", "?")),
    )
    longest = max(_LONGEST_MONTH[number - 1] for number in cron.months)
    if not cron.either_day and cron.days[0] > longest:
        raise ValueError(f"{expression!r} is never due: its months have at most {longest} days")
    return cron


def next_time(expression: str, after: datetime) -> datetime:
    """Return when an expression is due next, strictly after `after` (which has a time zone)."""
    if after.tzinfo is None:
        raise ValueError("a moment without a time zone is no moment")
    return parse(expression).next_time(after)


def _weekdays(field: str) -> tuple[int, ...]:
    return tuple(sorted({value % 7 for value in _values(field, "weekday", 0, 7, _WEEKDAYS)}))


def _values(
    field: str, what: str, low: int, high: int, names: dict[str, int] | None = None
) -> tuple[int, ...]:
    """Return the sorted values of one field."""
    found: set[int] = set()
    for part in field.split(","):
        span, slash, step_text = part.partition("/")
        step = _number(step_text, what, 1, high, {}) if slash else 1
        if span in ("*", "?"):
            first, last = low, high if what != "weekday" else 6
        else:
            left, dash, right = span.partition("-")
            first = _number(left, what, low, high, names or {})
            last = _number(right, what, low, high, names or {}) if dash else first
            if slash and not dash:
                last = high if what != "weekday" else 6
            if what == "weekday" and dash and last == 0 and first > 0:
                last = 7
        if first > last:
            raise ValueError(f"{part!r} in the {what} runs backwards")
        found.update(range(first, last + 1, step))
    return tuple(sorted(found))


def _number(text: str, what: str, low: int, high: int, names: dict[str, int]) -> int:
    if text in names:
        return names[text]
    if text.isascii() and text.isdigit() and low <= int(text) <= high:
        return int(text)
    raise ValueError(f"{text!r} is no {what}: expected {low} to {high}")
