"""A namespace that is served over HTTP on a port of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvicorn

from skerry.kernel.keys import Keys
from skerry.kernel.kind import ASGIApplication, Context
from skerry.kernel.manifest import NoConfig
from skerry.kernel.names import ResourceRef
from skerry.kinds.kv.claim import token
from skerry.kinds.kv.engine import KvEngine
from skerry.kinds.kv.wire import make

RESOURCE_ID = "00000000deadbeef"


class Tally:
    """A meter that a test can read."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, unit: str, amount: int = 1) -> None:
        self.counts[unit] += amount


class ManualClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def now(self) -> int:
        return int(self.seconds * 1_000_000_000)

    def monotonic(self) -> float:
        return self.seconds


class Awake:
    """A host whose engines are all awake."""

    async def ready(self, resource: str) -> str:
        return ""

    async def bind(self, resource: str) -> object:
        raise NotImplementedError

    def progress(self, done: int, total: int, text: str) -> None: ...


def new_context(directory: Path) -> Context:
    directory.mkdir(exist_ok=True)
    return Context(
        ref=ResourceRef("news", "main", "kv", "sessions"),
        id=RESOURCE_ID,
        directory=directory,
        run=directory,
        code=directory,
        config=NoConfig(),
        keys=Keys(b"o" * 32, b"l" * 32),
        meter=Tally(),
        clock=ManualClock(),
        host=Awake(),
    )


@contextlib.asynccontextmanager
async def served(application: ASGIApplication) -> AsyncIterator[int]:
    """Serve an application on a free port of the loopback."""
    config = uvicorn.Config(
        application, port=0, log_level=logging.CRITICAL, lifespan="off", ws="websockets-sansio"
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        server.force_exit = True
        await task


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return new_context(tmp_path / "state")


@pytest.fixture
async def engine(context: Context) -> AsyncIterator[KvEngine]:
    engine = KvEngine(context)
    await engine.start()
    yield engine
    await engine.stop()


@pytest.fixture
async def port(engine: KvEngine) -> AsyncIterator[int]:
    async with served(make(engine)) as port:
        yield port


@pytest.fixture
def bearer(context: Context) -> str:
    return token(context.id, context.keys)
