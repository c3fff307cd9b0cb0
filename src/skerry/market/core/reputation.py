"""How far a provider is trusted: from what it did, never from what it says of itself.

Counts decay by half in thirty days, in whole days and integers, so that every replay of the log
comes to the same numbers. A rate is shown only from ten leases on; below, a provider counts as a
newcomer: not as bad, and never as perfect. What a lease's work came to is validated by repeating it
(adaptive replication, after BOINC): a provider is trusted after ten valid results in a row, and its
next results are repeated with a chance of one in their number; one bad result starts from nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

DAY_MILLISECONDS = 86_400_000
SAMPLE_MIN = 10
ROW_TRUSTED = 10
BAD_DAYS = 30
FULL = 65_535
"""The highest reputation, in 16 bits: scores are quantised, so that they compare exactly."""

_ONE = 1_000_000
_DAILY = 977_160
"""What remains of a million after a day: the thirtieth root of one half."""
_NEWCOMER = (9 * _ONE, 10 * _ONE)
"""What everybody starts with: nine good leases of ten."""


@dataclass(slots=True)
class Record:
    """Millionths of leases that ended well and in all, and the results of work in a row."""

    good: int = 0
    all: int = 0
    day: int = 0
    row: int = 0
    bad_until: int = 0

    def note(self, well: bool, at: int) -> None:
        """Count a lease that ended."""
        self._decay(at)
        self.all += _ONE
        if well:
            self.good += _ONE

    def judge(self, valid: bool, at: int) -> None:
        """Count a result that was compared; a bad one is remembered for a month."""
        if valid:
            self.row += 1
            return
        self.row = 0
        self.bad_until = at + BAD_DAYS * DAY_MILLISECONDS
        self.note(False, at)

    def rate_ppm(self, at: int) -> int | None:
        """Return the share of leases that ended well, in millionths; None of too few."""
        good, count = self._decayed(at)
        return good * 1_000_000 // count if count >= SAMPLE_MIN * _ONE else None

    def score(self, at: int) -> int:
        """Return the reputation that orders are scored by, from 1 to `FULL`."""
        good, count = self._decayed(at)
        good, count = good + _NEWCOMER[0], count + _NEWCOMER[1]
        whole = max(1, good * FULL // count)
        return max(1, whole // 10) if at < self.bad_until else whole

    def must_repeat(self, draw: int) -> bool:
        """Tell whether the next result is to be repeated; `draw` is a random 32-bit number."""
        return self.row < ROW_TRUSTED or draw * self.row < 1 << 32

    def _decayed(self, at: int) -> tuple[int, int]:
        good, count = self.good, self.all
        for _ in range(min(max(at // DAY_MILLISECONDS - self.day, 0), 1000)):
            good, count = good * _DAILY // _ONE, count * _DAILY // _ONE
            if not count:
                break
        return good, count

    def _decay(self, at: int) -> None:
        self.good, self.all = self._decayed(at)
        self.day = max(self.day, at // DAY_MILLISECONDS)


def majority(digests: dict[str, str]) -> tuple[str | None, list[str]]:
    """Return the result on which more than half agree, and who said otherwise.

    Without such a majority nobody is known to be wrong.
    """
    counts: dict[str, int] = {}
    for digest in digests.values():
        counts[digest] = counts.get(digest, 0) + 1
    best = max(counts, key=lambda each: (counts[each], each), default=None)
    if best is None or counts[best] * 2 <= len(digests):
        return None, []
    return best, sorted(who for who, digest in digests.items() if digest != best)


def detection(share: float, cheated: float, units: int) -> float:
    """Return the chance that checks of a share of `units` find somebody who cheats in some."""
    return 1 - math.pow(1 - share, cheated * units)
