"""A clock that is set back an hour, while a node runs and between two runs, stops nothing."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from skerry.app import kinds
from skerry.kernel.clock import NANOSECONDS, SystemClock
from skerry.kernel.commands import Check
from skerry.kernel.errors import SkerryError
from skerry.kernel.subject import Place, Subject
from skerry.node.node import Node, Options
from skerry.testing.nodes import _no_api, deploy, open_directory, perform

NAME = "kv"
KIND = kinds()[NAME]
TOML = f'[app]\nname = "news"\n[{NAME}.words]\n'
HOUR = 3600 * NANOSECONDS


class SetBack(SystemClock):
    """A clock that can be set."""

    behind = 0

    def now(self) -> int:
        return super().now() - self.behind


@contextlib.asynccontextmanager
async def running(home: Path, clock: SetBack) -> AsyncIterator[Node]:
    options = Options(home=home, http_port=0, name="test-node")
    node = Node(options, {NAME: KIND}, lambda _: _no_api, {}, clock=clock)
    await node.start()
    try:
        yield node
    finally:
        await node.stop()


async def subject(node: Node, branch: str) -> Subject:
    found = await perform(node, "resource.connect", name="words", app="news", branch=branch)
    place = Place("news", branch, "words", found.fields, node.http_port, node.ports)
    made: Subject = KIND.load(KIND.subject)(place)
    return made


async def check(node: Node) -> None:
    await node.audit.settle()
    found: list[Check] = await perform(node, "node.doctor")
    logs = {each.name: each for each in found if "log" in each.name or "record" in each.name}
    assert len(logs) >= 4
    assert all(each.ok for each in logs.values()), logs


async def test_an_hour_back_stops_nothing() -> None:
    with open_directory() as top:
        clock = SetBack()
        async with running(top / "h", clock) as node:
            await deploy(node, {"skerry.toml": TOML})
            await (await subject(node, "main")).put("a", "1")
            clock.behind = HOUR
            await perform(node, "branch.create", app="news", name="pr")
            await (await subject(node, "pr")).put("b", "2")
            await perform(node, "branch.sleep", app="news", branch="pr")
            await deploy(node, {"skerry.toml": TOML, "more": "x"})
            await node.accountant.post()
            await check(node)
        clock.behind = 2 * HOUR
        async with running(top / "h", clock) as node:
            status = await perform(node, "node.status")
            assert not status.awake
            assert status.kept_ready_bytes > 1 << 20, "the zygote is there"
            assert await (await subject(node, "pr")).get() == {"a": "1", "b": "2"}
            await perform(node, "branch.delete", app="news", name="pr")
            with pytest.raises(SkerryError, match="pr"):
                await subject(node, "pr")
            await check(node)
