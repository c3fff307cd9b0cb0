"""A ready state directory, made once and copied for each test."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from skerry.kinds.postgres.tests.harness import EngineProcess
from skerry.kinds.postgres.tests.node import Node


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("template")

    async def make() -> None:
        async with EngineProcess(home, retention="0") as engine:
            await engine.call("busy")

    asyncio.run(make())
    yield home / "state"
    shutil.rmtree(home)


@pytest.fixture
async def sleeping(template: Path, tmp_path: Path) -> AsyncIterator[EngineProcess]:
    """An engine that has been set up and does not run."""
    engine = EngineProcess(tmp_path / "one", retention="0")
    shutil.copytree(template, engine.directory, symlinks=True)
    yield engine
    await engine.close()


@pytest.fixture
async def engine(sleeping: EngineProcess) -> EngineProcess:
    return await sleeping.start()


@pytest.fixture
async def node(sleeping: EngineProcess) -> AsyncIterator[Node]:
    """A node with one sleeping database, `newsroom/main`."""
    async with Node() as made:
        made.add(sleeping)
        yield made
