"""The node wakes a resource when its jobs are due, and only then."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from skerry.kernel.clock import SystemClock
from skerry.kinds.quantum.alarm import OPEN_FILE, Alarm, due
from skerry.kinds.quantum.waking import Waker


async def test_a_resource_is_woken_when_its_jobs_are_due(tmp_path: Path) -> None:
    woken: list[tuple[str, ...]] = []

    async def ready(*place: str) -> None:
        woken.append(place)

    clock = SystemClock()
    record = SimpleNamespace(name="qpu", kind="quantum")
    version = SimpleNamespace(spec=SimpleNamespace(resources=[record]))
    branch = SimpleNamespace(app="lab", name="main")
    app = SimpleNamespace(name="lab", versions={1: version}, branches={"main": branch})
    node: Any = SimpleNamespace(
        clock=clock,
        catalogue=SimpleNamespace(apps={"lab": app}, declared=lambda branch: [record]),
        workshop=SimpleNamespace(state=lambda branch, record: tmp_path),
        supervisor=SimpleNamespace(running=lambda *place: None, ready=ready, awake=list),
    )
    waker = Waker(node)
    alarm = Alarm(tmp_path)
    await alarm.queue(waits=False)
    assert due(tmp_path) == 0, "jobs on hardware have not been looked at yet"
    for at, wakes in ((None, 0), (clock.now() + 10**11, 0), (clock.now() - 1, 1), (0, 2)):
        await alarm.hardware(at)
        assert due(tmp_path) == at
        await waker.look(everywhere=True)
        assert len(woken) == wakes
    await alarm.hardware(clock.now() + 10**11)
    await alarm.queue(waits=True)
    assert due(tmp_path) == 0, "a job waits for its twin"
    (tmp_path / OPEN_FILE).write_text("12x")
    assert due(tmp_path) == 0, "what cannot be read is looked at"
