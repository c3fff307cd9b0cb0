"""Reservations: their jobs run in their time, those of others wait, and all of it is durable."""

from __future__ import annotations

import pytest

from skerry.kernel.errors import CONFLICT, INVALID, NOT_FOUND, UNSUPPORTED, SkerryError
from skerry.kinds.quantum.contract import JobRequest, JobState, Program, Reservation
from skerry.kinds.quantum.engine import QuantumEngine
from skerry.kinds.quantum.reservations import holds, seconds_to_change
from skerry.kinds.quantum.tests.conftest import MakeContext, ghz

SECOND = 1_000_000_000


def job(device: str = "sim-ideal", reservation: str = "", provider: str = "twin") -> JobRequest:
    return JobRequest(
        device, (Program(ghz(2)),), shots=10, reservation=reservation, provider=provider
    )


def test_whom_a_reservation_holds_back() -> None:
    known = [Reservation("r", "a", 10, 20, 0)]
    other, elsewhere, own = job("a"), job("b"), job("a", "r")
    at = {now: [holds(known, each, now) for each in (other, elsewhere, own)] for now in (9, 10, 20)}
    assert at == {9: [False, False, True], 10: [True, False, False], 20: [False, False, False]}
    assert seconds_to_change(known, 9) == 1e-9
    assert seconds_to_change(known, 10) == 1e-8
    assert seconds_to_change(known, 20) is None


async def test_others_wait_for_the_end_also_after_a_restart(make_context: MakeContext) -> None:
    engine = QuantumEngine(make_context())
    await engine.start()
    made = await engine.desk.calendar.reserve("sim-ideal", seconds=600)
    other = await engine.desk.submit(job())
    own = await engine.desk.submit(job(reservation=made.id))
    assert (await engine.desk.wait(own.id, 30)).state is JobState.COMPLETED
    assert (await engine.desk.wait(other.id, 0.2)).state is JobState.QUEUED
    await engine.stop()
    engine = QuantumEngine(make_context())
    await engine.start()
    try:
        assert await engine.desk.calendar.coming() == [made]
        assert (await engine.desk.wait(other.id, 0.2)).state is JobState.QUEUED
        await engine.desk.calendar.give_up(made.id)
        assert (await engine.desk.wait(other.id, 30)).state is JobState.COMPLETED
    finally:
        await engine.stop()


async def test_a_copy_has_no_reservations(make_context: MakeContext) -> None:
    engine = QuantumEngine(make_context())
    await engine.start()
    await engine.desk.calendar.reserve("sim-ideal", seconds=600)
    await engine.stop()
    copy = QuantumEngine(make_context("0000000000000002"))
    await copy.start()
    try:
        assert await copy.desk.calendar.coming() == []
    finally:
        await copy.stop()


async def test_its_jobs_wait_for_its_beginning_and_others_for_its_end(
    engine: QuantumEngine,
) -> None:
    now = engine.context.clock.now()
    made = await engine.desk.calendar.reserve("sim-ideal", starts=now + 3 * SECOND, seconds=1)
    own = await engine.desk.submit(job(reservation=made.id))
    assert engine.context.clock.now() > made.starts or own.state is JobState.QUEUED
    over = await engine.desk.wait(own.id, 30)
    assert over.state is JobState.COMPLETED
    assert over.started >= made.starts
    other = await engine.desk.wait((await engine.desk.submit(job())).id, 30)
    assert not made.starts <= other.started < made.ends


async def test_what_cannot_be_reserved_is_refused(engine: QuantumEngine) -> None:
    desk, now = engine.desk, engine.context.clock.now()
    made = await desk.calendar.reserve("iqm-garnet", seconds=60)
    await desk.calendar.reserve("iqm-garnet", starts=made.ends, seconds=60)
    for attempt, problem in (
        (desk.calendar.reserve("iqm-garnet", seconds=60), CONFLICT),
        (desk.calendar.reserve("sim-ideal", seconds=0), INVALID),
        (desk.calendar.reserve("sim-ideal", starts=now - SECOND), INVALID),
        (desk.calendar.reserve("no-such"), NOT_FOUND),
        (desk.calendar.give_up("no-such"), NOT_FOUND),
        (desk.submit(job(reservation="no-such")), NOT_FOUND),
        (desk.submit(job(reservation=made.id)), CONFLICT),
        (desk.submit(job("iqm-garnet", made.id, "braket")), UNSUPPORTED),
    ):
        with pytest.raises(SkerryError) as refused:
            await attempt
        assert refused.value.problem is problem
    assert len(await desk.calendar.coming()) == 2
