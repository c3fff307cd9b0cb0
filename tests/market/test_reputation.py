"""Reputation: a minimum sample, decay, memory of bad results, and what is repeated."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from skerry.market.core.reputation import (
    BAD_DAYS,
    DAY_MILLISECONDS,
    FULL,
    Record,
    detection,
    majority,
)

NOW = 20_000 * DAY_MILLISECONDS


def test_one_of_one_is_not_perfect() -> None:
    record = Record()
    record.note(True, NOW)
    assert record.rate_ppm(NOW) is None
    assert record.score(NOW) < FULL
    for _ in range(9):
        record.note(True, NOW)
    assert record.rate_ppm(NOW) == 1_000_000


def test_a_newcomer_stands_between_good_and_bad() -> None:
    good, bad, new = Record(), Record(), Record()
    for _ in range(30):
        good.note(True, NOW)
        bad.note(False, NOW)
    assert bad.score(NOW) < new.score(NOW) < good.score(NOW)


def test_half_is_forgotten_in_thirty_days() -> None:
    record = Record()
    for _ in range(100):
        record.note(False, NOW)
    later = NOW + 30 * DAY_MILLISECONDS
    assert abs(record._decayed(later)[1] - 50_000_000) < 100_000
    assert record.rate_ppm(NOW + 365 * DAY_MILLISECONDS) is None


def test_a_bad_result_is_remembered_and_starts_from_nothing() -> None:
    record = Record()
    for _ in range(12):
        record.judge(True, NOW)
    assert record.row == 12
    before = record.score(NOW)
    record.judge(False, NOW)
    assert record.row == 0
    assert record.score(NOW) < before // 5
    assert record.score(NOW + (BAD_DAYS + 1) * DAY_MILLISECONDS) > before // 2


def test_trusted_results_are_repeated_now_and_then() -> None:
    record = Record(row=9)
    assert record.must_repeat((1 << 32) - 1)
    record.row = 20
    repeated = sum(record.must_repeat(draw << 16) for draw in range(1 << 16))
    assert abs(repeated / (1 << 16) - 1 / 20) < 0.001


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 90)), max_size=50))
def test_a_score_is_always_in_bounds_and_replays(steps: list[tuple[bool, int]]) -> None:
    one, two = Record(), Record()
    now = NOW
    for well, days in steps:
        now += days * DAY_MILLISECONDS
        one.note(well, now)
        two.note(well, now)
        assert 1 <= one.score(now) <= FULL
    assert one == two


def test_a_majority_decides_and_a_draw_does_not() -> None:
    assert majority({"a": "x", "b": "x", "c": "y"}) == ("x", ["c"])
    assert majority({"a": "x", "b": "y"}) == (None, [])
    assert majority({}) == (None, [])


def test_the_chance_to_find_somebody_who_cheats() -> None:
    assert abs(detection(0.05, 0.1, 200) - 0.64) < 0.01
    assert abs(detection(0.05, 0.3, 200) - 0.95) < 0.01
