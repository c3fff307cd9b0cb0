"""Every kind passes the conformance suite."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from skerry.app import kinds
from skerry.node.node import Node
from skerry.testing.conformance import *  # noqa: F403
from skerry.testing.lab import Lab
from skerry.testing.lab import lab as make_lab
from skerry.testing.nodes import running_node

pytestmark = pytest.mark.asyncio(loop_scope="module")
MANIFESTS = kinds()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncIterator[Node]:
    async with running_node(MANIFESTS) as running:
        yield running


@pytest_asyncio.fixture(
    loop_scope="module", params=[name for name, each in MANIFESTS.items() if each.subject]
)
async def lab(node: Node, request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    async with make_lab(node, MANIFESTS[request.param]) as made:
        yield made


async def test_every_kind_has_a_subject() -> None:
    assert [name for name, each in MANIFESTS.items() if not each.subject] == []
