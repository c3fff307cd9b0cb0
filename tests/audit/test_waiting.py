"""What waits for the audit log takes little memory, however many branches there are."""

from __future__ import annotations

import tempfile
import tracemalloc
from pathlib import Path
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from skerry.kernel.policy import Decision, Fact, Request
from skerry.node.audit import growth as module
from skerry.node.audit.growth import Growth
from skerry.node.audit.repeats import REPEAT_SECONDS, REPEATS_MAX, Repeats

FACTS = tuple(Fact("node/rock", f"fact-{number}", "x" * 40) for number in range(20))
ENTRY_BYTES = 400


def asked(branch: int) -> Request:
    return Request("operator", "branch:create", "rock", app="news", branch=f"pr-{branch}")


def answer() -> Decision:
    return Decision(True, "here", "It is here." * 20, facts=FACTS)


def test_decisions_that_never_come_again_are_not_kept() -> None:
    repeats = Repeats()
    tracemalloc.start()
    try:
        for branch in range(2 * REPEATS_MAX):
            assert repeats.take(asked(branch), answer(), 0.0) == (True, None)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(repeats) == REPEATS_MAX
    assert held < ENTRY_BYTES * REPEATS_MAX


def test_the_same_again_is_counted_and_told_when_it_is_old_or_pushed_out() -> None:
    repeats = Repeats()
    assert repeats.take(asked(0), answer(), 0.0) == (True, None)
    assert [repeats.take(asked(0), answer(), 1.0)[0] for _ in range(3)] == [False] * 3
    fresh, before = repeats.take(asked(0), answer(), REPEAT_SECONDS)
    assert fresh
    assert before is not None
    assert before["repeated"] == 3
    repeats.take(asked(0), answer(), REPEAT_SECONDS + 1)
    said = [repeats.take(asked(n), answer(), REPEAT_SECONDS + 2)[1] for n in range(1, 1001)]
    assert [each["repeated"] for each in said if each is not None] == [1]
    repeats.take(asked(1000), answer(), REPEAT_SECONDS + 3)
    assert list(repeats.expired(REPEAT_SECONDS + 4)) == []
    (last,) = repeats.expired(REPEAT_SECONDS + 5, closing=True)
    assert last["repeated"] == 1
    assert len(repeats) == 0


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from("ab")), max_size=60))
def test_accounts_wait_once_each_in_memory_or_on_disk(accounts: list[tuple[int, str]]) -> None:
    with tempfile.TemporaryDirectory() as made, mock.patch.object(module, "RECENT_MAX", 3):
        growth = Growth(Path(made))
        for account, unit in accounts:
            growth.add(f"news/{account}", unit)
        expected = {(f"news/{account}", unit) for account, unit in accounts}
        found = list(growth)
        assert len(found) == len(expected)
        assert set(found) == expected
        assert len(growth) >= len(expected)
        growth.clear()
        assert list(growth) == []
        assert len(growth) == 0
        growth.close()
