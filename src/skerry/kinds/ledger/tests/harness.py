"""A context, a host and a node for one ledger."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from skerry.kernel.kind import Context, Endpoint, Resource
from skerry.kernel.names import ResourceRef
from skerry.kinds.ledger.address import cluster_id
from skerry.kinds.ledger.engine import LedgerEngine
from skerry.kinds.ledger.manifest import LedgerConfig
from skerry.testing import hosts
from skerry.testing.hosts import KEYS, RESOURCE_ID, Awake

REF = ResourceRef("shop", "main", "ledger", "books")


class Waking(Awake):
    """A host whose engine is awake, or is woken."""

    def __init__(self) -> None:
        self.engine: LedgerEngine | None = None

    async def ready(self, resource: str) -> str:
        assert self.engine is not None
        return await self.engine.endpoint()


def new_context(directory: Path, machine: str = "plain") -> Context:
    for folder in ("state", "run"):
        (directory / folder).mkdir(exist_ok=True)
    config, run = LedgerConfig(machine=machine), directory / "run"
    return hosts.new_context(directory / "state", REF, config, run=run, host=Waking())


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
        self.moved: str | None = None
        self.port = 0

    def find(self, kind: str, app: str, branch: str, name: str | None) -> Resource | None:
        return None

    def by_id(self, resource_id: str) -> Resource | None:
        if resource_id != RESOURCE_ID or self.moved:
            return None
        return Resource(REF, RESOURCE_ID, self.folder, LedgerConfig(), KEYS)

    async def open(self, resource: Resource) -> Held:
        if self.engine is None:
            self.wakes += 1
            self.engine = await started(new_context(self.folder))
        held = Held(await self.engine.endpoint())
        self.sessions.append(held)
        return held

    async def elsewhere(self, app: str, wire: str, *place: str | None) -> str | None:
        return None

    async def elsewhere_by_id(self, resource_id: str, wire: str) -> str | None:
        assert wire == "tigerbeetle"
        return self.moved

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


async def started(context: Context) -> LedgerEngine:
    """Return a new engine, started, to which the context's host leads from now on."""
    made = LedgerEngine(context)
    await made.start()
    assert isinstance(context.host, Waking)
    context.host.engine = made
    return made
