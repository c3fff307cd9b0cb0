"""GPUs that the operator keeps for engines: who is given their devices. Plain files stand in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from skerry.app import kinds
from skerry.node.cells import SHARED
from skerry.node.gpus import Gpus
from skerry.node.node import Node
from skerry.testing.nodes import deploy, open_directory, running_node

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

WEB = "async def app(scope, receive, send):\n    pass\n"
LAB = '[app]\nname = "lab"\n[quantum.qpu]\n[functions.web]\nentry = "web:app"\nbindings = ["qpu"]\n'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncIterator[Node]:
    with open_directory() as made:
        (made / "config.toml").write_text("engine-gpus = 1\n")
        async with running_node(kinds(), home=made) as node:
            yield node


async def devices(node: Node, app: str, key: str) -> tuple[str, ...]:
    branch = node.catalogue.app(app).branches["main"]
    process, group = await node.workshop.process(branch, key, f"{app}-probe")
    group.kill()
    return process.confinement.devices


async def test_engines_of_kinds_that_use_gpus_have_the_last(node: Node, tmp_path: Path) -> None:
    assert node.workshop.gpus is node.gpus
    for minor in (0, 1):
        (tmp_path / f"nvidia{minor}").touch()
        folder = tmp_path / f"proc/{minor}"
        folder.mkdir(parents=True)
        (folder / "information").write_text(f"Model: NVIDIA H100\nDevice Minor: {minor}\n")
    (tmp_path / "nvidiactl").touch()
    node.workshop.gpus = Gpus(1, proc=tmp_path / "proc", devices=tmp_path)
    await deploy(node, {"skerry.toml": LAB, "web.py": WEB})
    await deploy(node, {"skerry.toml": '[app]\nname = "plain"\n[kv.pairs]\n'})
    assert set(await devices(node, "lab", SHARED)) == {
        str(tmp_path / "nvidia1"),
        str(tmp_path / "nvidiactl"),
    }
    assert await devices(node, "lab", "web") == (), "code of users has none"
    assert await devices(node, "plain", SHARED) == ()
