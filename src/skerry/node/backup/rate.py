"""A bound on requests: turns at even distances, so that no second holds more than was allowed."""

from __future__ import annotations

import threading

from skerry.kernel.clock import Clock


class Rate:
    """Gives out turns, from any thread; all that go to one store share it.

    A turn that nobody took is not saved up for later: stores count bursts, not averages.
    """

    def __init__(self, per_second: int, clock: Clock) -> None:
        self._distance_seconds = 1 / per_second
        self.clock = clock
        self._lock = threading.Lock()
        self._next = clock.monotonic()
        self.turns = 0

    def turn_seconds(self) -> float:
        """Take the next turn; return how long to wait until it comes."""
        with self._lock:
            now = self.clock.monotonic()
            mine = max(now, self._next)
            self._next = mine + self._distance_seconds
            self.turns += 1
            return mine - now
