"""Branching over the volumes that can clone: btrfs snapshots, and reflinks of XFS."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from skerry.app import kinds
from skerry.node.node import Node
from skerry.node.volume import attach, create_image, detach
from skerry.testing.conformance import TestBranch  # noqa: F401 (the tests of this module)
from skerry.testing.lab import Lab
from skerry.testing.lab import lab as make_lab
from skerry.testing.nodes import open_directory, running_node

pytestmark = pytest.mark.asyncio(loop_scope="module")
MANIFESTS = kinds()
DRIVERS = {"btrfs": "btrfs", "xfs": "reflink"}
IMAGE_BYTES = 4 << 30


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=list(DRIVERS))
async def node(request: pytest.FixtureRequest) -> AsyncIterator[Node]:
    filesystem: str = request.param
    if os.geteuid() != 0:
        pytest.skip("only root can mount a volume image")
    if shutil.which(f"mkfs.{filesystem}") is None:
        pytest.skip(f"mkfs.{filesystem} is not installed")
    with open_directory() as place:
        home = place / "h"
        await asyncio.to_thread(create_image, home / "volume.img", IMAGE_BYTES, filesystem)
        await asyncio.to_thread(attach, home / "volume.img", home / "volume")
        try:
            async with running_node(MANIFESTS, home=home) as running:
                assert running.volume.driver == DRIVERS[filesystem]
                yield running
        finally:
            await asyncio.to_thread(detach, home / "volume")


@pytest_asyncio.fixture(
    loop_scope="module", params=[name for name, each in MANIFESTS.items() if each.subject]
)
async def lab(node: Node, request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    async with make_lab(node, MANIFESTS[request.param]) as made:
        yield made
