"""How fast a run goes and how long it will take, from the engine's lines of JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skerry.kernel.clock import Clock

Progress = Callable[[int, int, str], None]
SURE_SECONDS = 5.0
"""From when on a rate tells the time that is left, however little is done."""
SURE_SHARE = 0.01


class Pace:
    """Turns the engine's status lines into progress; keeps its summary."""

    def __init__(self, clock: Clock, progress: Progress, total: int = 0) -> None:
        self._clock = clock
        self._progress = progress
        self._started = clock.monotonic()
        self._total = total
        self.summary: dict[str, Any] | None = None

    def hear(self, line: dict[str, Any]) -> None:
        """Take one line."""
        kind = line.get("message_type")
        if kind == "summary":
            self.summary = line
        elif kind == "status":
            done = int(line.get("bytes_done") or line.get("bytes_restored") or 0)
            total = int(line.get("total_bytes") or self._total)
            self._progress(done, max(total, done), self.text(done, total))

    def written(self, done: int) -> None:
        """Take what an engine that says nothing itself has written."""
        self.hear({"message_type": "status", "bytes_done": min(done, self._total)})

    def text(self, done: int, total: int) -> str:
        """Return the rate, and the time that is left at this rate."""
        seconds = self._clock.monotonic() - self._started
        if not done or seconds <= 0 or (seconds < SURE_SECONDS and done < total * SURE_SHARE):
            return "reading"
        rate = done / seconds
        left = max(0, total - done) / rate
        return f"{rate / 1e6:.1f} MB/s, {_span(left)} left"


def _span(seconds: float) -> str:
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"
