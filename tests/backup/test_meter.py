"""What progress says of the time that is left."""

from __future__ import annotations

from skerry.node.backup.meter import Pace
from skerry.testing.hosts import ManualClock

MIB = 1 << 20


def test_no_time_is_told_before_the_rate_is_known() -> None:
    clock, told = ManualClock(), list[str]()
    pace = Pace(clock, lambda done, total, text: told.append(text), total=1000 * MIB)
    for seconds, done in ((0.0, 0), (0.1, 1 * MIB), (0.9, 100 * MIB), (9.0, 500 * MIB)):
        clock.seconds += seconds
        pace.written(done)
    assert told == ["reading", "reading", "104.9 MB/s, 9 s left", "52.4 MB/s, 10 s left"]


def test_a_slow_start_is_told_after_a_while() -> None:
    clock, told = ManualClock(), list[str]()
    pace = Pace(clock, lambda done, total, text: told.append(text), total=1000 * MIB)
    clock.seconds += 5.0
    pace.written(MIB)
    assert told == ["0.2 MB/s, 1 h 23 min left"]
