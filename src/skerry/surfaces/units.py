"""Numbers and names for people.

Units come from the names of fields, which end in them: `bytes` and `…_bytes` are sizes, `seconds`
and `…_ms` are durations, and `time`, `created` and the like are moments in nanoseconds since 1970.
"""

from __future__ import annotations

import datetime
import unicodedata
from collections.abc import Sequence
from typing import Any

from skerry.kernel.clock import NANOSECONDS
from skerry.kernel.commands import BranchInfo

_MOMENTS = {
    "created",
    "ended",
    "expires",
    "joined",
    "made",
    "since",
    "started",
    "time",
    "updated",
}
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


def number(name: str, found: float, now: int) -> str:
    """Return a field's number in the unit that the field's name tells."""
    if name in _MOMENTS and isinstance(found, int):
        if not found:
            return "-"
        return f"{age(found, now)} ago" if name == "since" else moment(found)
    if name == "bytes" or name.endswith("_bytes"):
        return size(int(found))
    if name == "seconds" or name.endswith("_seconds"):
        return duration(found)
    if name.endswith("_ms"):
        return duration(found / 1000)
    return f"{found:g}" if isinstance(found, float) else str(found)


def sentence(text: str) -> str:
    """Return a summary with one full stop at its end."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def heading(name: str) -> str:
    """Return a field's name as a heading; its unit is shown with its values."""
    for unit in ("_bytes", "_seconds", "_ms"):
        name = name.removesuffix(unit)
    return name.replace("_", " ")


def in_tree_order(
    found: Sequence[BranchInfo],
) -> list[tuple[int, BranchInfo]]:
    """Return branches with their depth, each after its parent; without a parent it is a root."""
    names = {each.name for each in found}
    ordered: list[tuple[int, BranchInfo]] = []

    def follow(parent: str | None, depth: int) -> None:
        for each in found:
            above = each.parent if each.parent in names else None
            if above == parent and each.name != parent:
                ordered.append((depth, each))
                follow(each.name, depth + 1)

    follow(None, 0)
    return ordered


def as_grid(found: Any) -> tuple[list[str], list[list[Any]]] | None:
    """Return columns and rows of a result that has fields of these names, as answers to SQL do."""
    columns, rows = getattr(found, "columns", None), getattr(found, "rows", None)
    if not isinstance(columns, list | tuple) or not isinstance(rows, list | tuple):
        return None
    if not all(isinstance(row, list | tuple) and len(row) == len(columns) for row in rows):
        return None
    return [str(name) for name in columns], [list(row) for row in rows]


def safe(text: str) -> str:
    """Return text without what could steer a terminal."""
    return "".join(c if c in "\n\t" or unicodedata.category(c)[0] != "C" else "�" for c in text)
