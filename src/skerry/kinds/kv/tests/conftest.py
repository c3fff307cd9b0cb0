"""A namespace that is served over HTTP on a port of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from skerry.kernel.kind import Context
from skerry.kernel.manifest import NoConfig
from skerry.kernel.names import ResourceRef
from skerry.kinds.kv.claim import token
from skerry.kinds.kv.engine import KvEngine
from skerry.kinds.kv.wire import make
from skerry.testing.hosts import ManualClock, new_context, served


@pytest.fixture
def context(tmp_path: Path) -> Context:
    ref = ResourceRef("news", "main", "kv", "sessions")
    return new_context(tmp_path / "state", ref, NoConfig(), clock=ManualClock())


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
