"""Fixtures of the workloads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.node.workload.scene import open_workloads

from skerry.node.workload.supervisor import Workloads
from skerry.testing.nodes import open_directory


@pytest.fixture
def root() -> Iterator[Path]:
    """Give a home that does not exist yet."""
    with open_directory() as made:
        yield made / "h"


@pytest.fixture
async def workloads(root: Path) -> AsyncIterator[Workloads]:
    """Give the workloads of a home; whatever a test leaves running is removed."""
    async with open_workloads(root) as made:
        try:
            yield made
        finally:
            for each in await made.list():
                await made.remove(each.id)
