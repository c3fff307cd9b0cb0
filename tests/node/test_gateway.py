"""What a process hears of the sessions that the node holds for clients of port wires."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from skerry.kernel.kind import Endpoint
from skerry.node.cells import PortSession
from skerry.node.gateway import TOUCH_SECONDS, HeldSession


async def test_use_is_told_now_and_then_however_often_a_session_changes() -> None:
    notes: list[Any] = []
    running: Any = SimpleNamespace(channel=SimpleNamespace(note=lambda *words: notes.append(words)))
    port = PortSession(is_active=True)
    held = HeldSession(running, "db", port, Endpoint("/run/db.sock"))
    now = 1000.0
    cast(Any, held)._now = lambda: now
    for _ in range(50):
        held.active(False)
        assert not port.is_active
        held.active(True)
        assert port.is_active
    assert notes == [("touch", "db")]
    now += 2 * TOUCH_SECONDS
    held.active(True)
    assert len(notes) == 1, "nothing has changed"
    held.active(False)
    assert len(notes) == 2
