"""Numbers for people: sizes, durations, moments."""

from __future__ import annotations

import datetime

from skerry.kernel.clock import NANOSECONDS

_STEPS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def size(count: int) -> str:
    """Return bytes in a unit that reads well: `1.5 GiB`."""
    number = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(number) < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def duration(seconds: float) -> str:
    """Return seconds in two units at most: `4 ms`, `1.2 s`, `3h 5m`."""
    if seconds < 0.001:
        return f"{seconds * 1_000_000:.0f} µs" if seconds > 0 else "0 s"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds % 1 >= 0.05 else f"{seconds:.0f} s"
    rest = int(seconds)
    parts = []
    for step, unit in _STEPS:
        count, rest = divmod(rest, step)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def age(then: int, now: int) -> str:
    """Return how long ago a moment was; nanoseconds since 1970."""
    seconds = max(now - then, 0) / NANOSECONDS
    return duration(int(seconds)) if seconds >= 1 else "0 s"


def moment(time: int) -> str:
    """Return a moment in ISO form, UTC, to the second."""
    try:
        then = datetime.datetime.fromtimestamp(time // NANOSECONDS, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return str(time)
    return then.strftime("%Y-%m-%dT%H:%M:%SZ")
