"""The quantum demo on a real node: twins are worse than the perfect machine, as they should be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from skerry.app import kinds, services
from skerry.kinds._shared.http.request import request
from skerry.node.node import Node
from skerry.testing.nodes import deploy, running_node

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "quantum_demo"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncIterator[Node]:
    files = {
        path.relative_to(EXAMPLE).as_posix(): path.read_text()
        for path in EXAMPLE.rglob("*")
        if path.is_file() and path.suffix in (".py", ".toml")
    }
    async with running_node(kinds(), services=services()) as node:
        await deploy(node, files)
        yield node


async def test_the_twins_are_worse_than_the_perfect_machine(node: Node) -> None:
    url = f"http://quantum-demo.localhost:{node.http_port}/?format=json"
    answer = await asyncio.to_thread(request, url)
    assert answer.status == 200, answer.body
    found = json.loads(answer.body)
    assert set(found) == {"sim-ideal", "ionq-forte-enterprise-1", "iqm-garnet"}
    good = {
        device: [
            sum(counts.get(digit * len(next(iter(counts))), 0) for digit in "01")
            for counts in each["counts"]
        ]
        for device, each in found.items()
    }
    assert good["sim-ideal"] == [1000, 1000]
    for device in ("ionq-forte-enterprise-1", "iqm-garnet"):
        assert 700 < good[device][1] < good[device][0] < 1000
        assert "twin" in found[device]["nature"]
    assert found["iqm-garnet"]["cost"] == "2.84 EUR"


async def test_the_page_is_for_people(node: Node) -> None:
    url = f"http://quantum-demo.localhost:{node.http_port}/"
    page = (await asyncio.to_thread(request, url)).body.decode()
    assert page.count("<table>") == 6
    assert "not the machines themselves" in page
