"""Which statements are quick enough to run on the event loop instead of in a thread.

Handing a statement to a thread costs more than a lookup by key itself. So a statement that only
reads, and that was quick several times in a row, is run where it is; a progress handler ends it
after a bound, and it starts over in a thread, which for a reading statement changes nothing.
"""

from __future__ import annotations

import re

QUICK_SECONDS = 0.0003
QUICK_CLOCK_SECONDS = 0.1
BOUND_SECONDS = 0.002
RUNS_NEEDED = 5
PENALTY = 10
TEXTS_MAX = 2000
TEXT_BYTES_MAX = 2000
STEPS_BETWEEN_LOOKS = 5000

# One step of these may take long, and SQLite's progress handler is not asked within a step.
_HEAVY = re.compile(
    r"\b(match|pragma|explain|vacuum|\w*blob|replace|printf|format|group_concat|string_agg|glob"
    r"|like|regexp|json\w*|generate_series|hex|unhex|quote)\b",
    re.IGNORECASE,
)


class Pace:
    """Remembers how statements ran, by their text."""

    def __init__(self) -> None:
        self._runs: dict[str, int] = {}

    def quick(self, sql: str | None) -> bool:
        """Tell whether a statement may run on the event loop."""
        return sql is not None and self._runs.get(sql, 0) >= RUNS_NEEDED

    def note(self, sql: str, cpu_seconds: float, seconds: float, *, readonly: bool) -> None:
        """Take note of a run: its time on the processor, and by the clock, which a busy machine
        stretches but a slow disk too.
        """
        runs = self._runs.get(sql)
        if not readonly or len(sql) > TEXT_BYTES_MAX:
            return
        if runs is None:
            if len(self._runs) >= TEXTS_MAX:
                self._runs.clear()
            runs = -(1 << 62) if _HEAVY.search(sql) else 0
        quick = cpu_seconds < QUICK_SECONDS and seconds < QUICK_CLOCK_SECONDS
        self._runs[sql] = runs + 1 if quick else min(runs, 0) - PENALTY

    def demote(self, sql: list[str]) -> None:
        """Have statements, one of which overran its bound, run in a thread for a while."""
        for each in sql:
            self._runs[each] = -PENALTY
