"""A ledger engine, and a front before it as a node would have it."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from skerry.kernel.clock import SystemClock
from skerry.kernel.keys import Keys
from skerry.kernel.kind import Context, Endpoint, Resource
from skerry.kernel.names import ResourceRef
from skerry.kinds.ledger.address import cluster_id
from skerry.kinds.ledger.engine import LedgerEngine
from skerry.kinds.ledger.manifest import LedgerConfig
from skerry.kinds.ledger.tiger.front import TigerFront

RESOURCE_ID = "00000000deadbeef"
REF = ResourceRef("shop", "main", "ledger", "books")
KEYS = Keys(b"o" * 32, b"l" * 32)


class Tally:
    """A meter that a test can read."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, unit: str, amount: int = 1) -> None:
        self.counts[unit] += amount


class Awake:
    """A host whose engine is awake, or is woken."""

    def __init__(self) -> None:
        self.engine: LedgerEngine | None = None

    async def ready(self, resource: str) -> str:
        assert self.engine is not None
        return await self.engine.endpoint()

    async def bind(self, resource: str) -> object:
        raise NotImplementedError

    def progress(self, done: int, total: int, text: str) -> None: ...


def new_context(directory: Path, machine: str = "plain") -> Context:
    for folder in ("state", "run"):
        (directory / folder).mkdir(exist_ok=True)
    return Context(
        ref=REF,
        id=RESOURCE_ID,
        directory=directory / "state",
        run=directory / "run",
        code=directory,
        config=LedgerConfig(machine=machine),
        keys=KEYS,
        meter=Tally(),
        clock=SystemClock(),
        host=Awake(),
    )


class Held:
    """A session; `node.kill` ends it as a sleep or a crash would."""

    def __init__(self, path: str) -> None:
        self.endpoint = Endpoint(path)
        self.activity: list[bool] = []
        self.callbacks: list[Callable[[], None]] = []

    def active(self, active: bool) -> None:
        self.activity.append(active)

    def on_sleep(self, callback: Callable[[], None]) -> None:
        self.callbacks.append(callback)

    def close(self) -> None: ...


class Node:
    """One ledger behind a front on a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engine: LedgerEngine | None = None
        self.sessions: list[Held] = []
        self.wakes = 0
        self.port = 0

    def find(self, kind: str, app: str, branch: str, name: str | None) -> Resource | None:
        return None

    def by_id(self, resource_id: str) -> Resource | None:
        if resource_id != RESOURCE_ID:
            return None
        return Resource(REF, RESOURCE_ID, self.folder, LedgerConfig(), KEYS)

    async def open(self, resource: Resource) -> Held:
        if self.engine is None:
            self.wakes += 1
            context = new_context(self.folder)
            engine = LedgerEngine(context)
            await engine.start()
            assert isinstance(context.host, Awake)
            self.engine = context.host.engine = engine
        held = Held(await self.engine.endpoint())
        self.sessions.append(held)
        return held

    def tls(self) -> Any:
        raise NotImplementedError

    async def sleep(self) -> None:
        """Stop the engine, as a node does with one that nobody uses."""
        for held in self.sessions:
            for callback in held.callbacks:
                callback()
        engine, self.engine = self.engine, None
        if engine is not None:
            await engine.stop()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def cluster(self) -> int:
        return cluster_id(RESOURCE_ID, KEYS)


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
    context = new_context(folder)
    made = LedgerEngine(context)
    await made.start()
    assert isinstance(context.host, Awake)
    context.host.engine = made
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
