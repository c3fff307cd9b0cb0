"""A database that is served over HTTP on a port of its own."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from skerry.kernel.kind import Context
from skerry.kernel.names import ResourceRef
from skerry.kinds.sqlite.claim import token
from skerry.kinds.sqlite.engine import SqliteEngine
from skerry.kinds.sqlite.manifest import SqliteConfig
from skerry.kinds.sqlite.wire import make
from skerry.testing.hosts import new_context, served

REF = ResourceRef("news", "main", "sqlite", "search")


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    yield new_context(tmp_path / "state", REF, SqliteConfig())


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
        engine = SqliteEngine(new_context(context.directory, REF, config))
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
