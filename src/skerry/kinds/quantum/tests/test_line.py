"""The line of jobs is fair."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from skerry.kinds.quantum.line import Line

OWNERS = st.sampled_from("abc")


@given(st.lists(OWNERS, max_size=30), st.data())
def test_positions_come_true_and_owners_take_turns(owners: list[str], data: st.DataObject) -> None:
    line = Line()
    waiting = [(owner, f"{owner}{number}") for number, owner in enumerate(owners)]
    for owner, job in waiting:
        line.join(owner, job)
    for owner, job in list(waiting):
        if data.draw(st.booleans()):
            assert line.leave(owner, job)
            assert not line.leave(owner, job)
            waiting.remove((owner, job))
    expected = {job: line.position(owner, job) for owner, job in waiting}
    assert len(line) == len(waiting)
    order: list[str] = []
    while (first := line.next()) is not None:
        order.append(first)
    assert {job: number for number, job in enumerate(order, start=1)} == expected
    assert line.position("a", "a0") == 0
    for owner in "abc":
        own = [job for job in order if job[0] == owner]
        assert own == [job for who, job in waiting if who == owner], "first come, first served"


def test_a_thousand_jobs_of_one_delay_no_other() -> None:
    line = Line()
    for number in range(1000):
        line.join("busy", str(number))
    line.join("other", "x")
    assert line.position("other", "x") == 2
