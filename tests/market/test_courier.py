"""Manifests on their way: one delivery for all who ask, tried again where that is of use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from skerry.kernel.errors import CONFLICT, NODE_UNREACHABLE, Problem, SkerryError
from skerry.market import courier as module
from skerry.market.core.names import DeploymentId, LeaseId
from skerry.market.courier import Courier

LEASE = LeaseId("t", 1, 1, 1, "p")


class Scene:
    """A lease of tenant `t` that runs, and a provider that answers as it is told."""

    def __init__(self) -> None:
        self.answers: Iterator[Problem | None] = iter(())
        self.sent = 0
        lease = SimpleNamespace(id=LEASE, created_at=0)
        deployment = SimpleNamespace(manifest_hash="m")
        self.state = SimpleNamespace(
            sequence=0,
            running={LEASE: None, LeaseId("other", 1, 1, 1, "p"): None},
            leases={LEASE: lease},
            deployments={DeploymentId("t", 1): deployment},
        )
        self.lease: Any = lease
        exchange: Any = SimpleNamespace(state=self.state, now=10_000, wait=self.wait)
        tenant: Any = SimpleNamespace(
            address="t", send_manifest=self.send, has_manifest=lambda _: True
        )
        self.courier = Courier(exchange, tenant, lambda _: None)

    async def wait(self, _after: int, _seconds: float) -> None:
        await asyncio.sleep(0)

    async def send(self, _lease: Any) -> None:
        self.sent += 1
        await asyncio.sleep(0.01)
        problem = next(self.answers, None)
        if problem is not None:
            raise problem("It was refused.")


@pytest.fixture
async def scene(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.005)
    monkeypatch.setattr(module, "RETRY_SECONDS", (0.01, 0.02))
    made = Scene()
    yield made
    await made.courier.stop()


async def test_whoever_asks_at_once_waits_for_the_same_delivery(scene: Scene) -> None:
    await asyncio.gather(*(scene.courier.deliver(scene.lease) for _ in range(3)))
    assert scene.sent == 1
    scene.courier.start()
    await asyncio.sleep(0.05)
    assert scene.sent == 1


async def test_what_may_pass_is_tried_again_until_it_arrives(scene: Scene) -> None:
    scene.answers = iter((NODE_UNREACHABLE, NODE_UNREACHABLE))
    scene.courier.start()
    for _ in range(400):
        if scene.sent == 3 and not scene.courier.trouble(LEASE):
            break
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    assert scene.sent == 3


async def test_what_is_refused_for_good_is_told_and_left(scene: Scene) -> None:
    scene.answers = iter((CONFLICT,))
    with pytest.raises(SkerryError, match="refused"):
        await scene.courier.deliver(scene.lease)
    scene.courier.start()
    await asyncio.sleep(0.05)
    assert scene.sent == 1
    assert scene.courier.trouble(LEASE) == "It was refused."
    scene.state.running.clear()
    for _ in range(400):
        if not scene.courier.trouble(LEASE):
            break
        await asyncio.sleep(0.01)
    assert not scene.courier.trouble(LEASE)
