"""A database that is served over HTTP on a port of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import uvicorn

from skerry.kernel.clock import SystemClock
from skerry.kernel.keys import Keys
from skerry.kernel.kind import ASGIApplication, Context
from skerry.kernel.names import ResourceRef
from skerry.kinds.sqlite.claim import token
from skerry.kinds.sqlite.engine import SqliteEngine
from skerry.kinds.sqlite.manifest import SqliteConfig
from skerry.kinds.sqlite.wire import make

RESOURCE_ID = "00000000deadbeef"


class Tally:
    """A meter that a test can read."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, unit: str, amount: int = 1) -> None:
        self.counts[unit] += amount


class Awake:
    """A host whose engines are all awake."""

    async def ready(self, resource: str) -> str:
        return ""

    async def bind(self, resource: str) -> object:
        raise NotImplementedError

    def progress(self, done: int, total: int, text: str) -> None: ...


def new_context(directory: Path, config: SqliteConfig | None = None) -> Context:
    directory.mkdir(exist_ok=True)
    keys = Keys(b"o" * 32, b"l" * 32)
    return Context(
        ref=ResourceRef("news", "main", "sqlite", "search"),
        id=RESOURCE_ID,
        directory=directory,
        run=directory,
        code=directory,
        config=config or SqliteConfig(),
        keys=keys,
        meter=Tally(),
        clock=SystemClock(),
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
def context(tmp_path: Path) -> Iterator[Context]:
    yield new_context(tmp_path / "state")


@pytest.fixture
async def engine(context: Context) -> AsyncIterator[SqliteEngine]:
    engine = SqliteEngine(context)
    await engine.start()
    yield engine
    await engine.stop()


@pytest.fixture
async def port(engine: SqliteEngine) -> AsyncIterator[int]:
    async with served(make(engine)) as port:
        yield port


@pytest.fixture
def bearer(context: Context) -> str:
    return token(context.id, context.keys)


@pytest.fixture
async def limited(context: Context) -> AsyncIterator[Callable[[SqliteConfig], object]]:
    """Start engines with limits of the test's own."""
    engines: list[SqliteEngine] = []

    async def start(config: SqliteConfig) -> SqliteEngine:
        engine = SqliteEngine(new_context(context.directory, config))
        await engine.start()
        engines.append(engine)
        return engine

    yield start
    for engine in engines:
        await engine.stop()


@pytest.fixture(scope="session")
def javascript() -> Path:
    """Return the folder where the pinned `@libsql/client` is installed."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("NOT TESTED: there is no Node.js here for the official JavaScript client")
    folder = Path(__file__).parents[5] / "tests" / "clients"
    if not (folder / "node_modules" / "@libsql" / "client").exists():
        pytest.skip("NOT TESTED: python3 dev.py check installs @libsql/client in tests/clients")
    return folder
