"""A ledger engine, and a front before it as a node would have it."""

from __future__ import annotations

import asyncio
import fcntl
import importlib.util
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from skerry.kinds.ledger.engine import LedgerEngine
from skerry.kinds.ledger.tests.harness import Node, new_context, started
from skerry.kinds.ledger.tiger.front import TigerFront


@pytest.fixture(scope="session", autouse=True)
def machine_code() -> None:
    """Fill the cache of machine code before the tests, in one of their processes alone."""
    if importlib.util.find_spec("numba") is None:
        return
    from skerry.kinds.ledger.compiled.jit import CACHE, writable
    from skerry.kinds.ledger.compiled.warm import warm

    if not writable():
        return
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "compiling.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        warm()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose name is short enough for the sockets in it."""
    with tempfile.TemporaryDirectory(prefix="sk-ledger-") as made:
        yield Path(made)


@pytest.fixture
async def node(folder: Path) -> AsyncIterator[Node]:
    made = Node(folder)
    front = TigerFront(made)
    server = await asyncio.get_running_loop().create_server(front.protocol, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()
    await made.sleep()
    await asyncio.sleep(0)


@pytest.fixture
async def engine(folder: Path) -> AsyncIterator[LedgerEngine]:
    made = await started(new_context(folder))
    yield made
    await made.stop()


@pytest.fixture(scope="session")
def javascript() -> Path:
    """Return the folder where the pinned `tigerbeetle-node` is installed."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("NOT TESTED: there is no Node.js here for the official JavaScript client")
    clients = Path(__file__).parents[5] / "tests" / "clients"
    if not (clients / "node_modules" / "tigerbeetle-node").exists():
        pytest.skip("NOT TESTED: python3 dev.py check installs tigerbeetle-node in tests/clients")
    return clients
