"""A bucket resource in a temporary directory, and the same behind a loopback port."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
import uvicorn
from botocore.config import Config

from skerry.kernel.clock import SystemClock
from skerry.kernel.keys import Keys
from skerry.kernel.kind import Context
from skerry.kernel.names import ResourceRef
from skerry.kernel.usage import NoMeter
from skerry.kinds.bucket.config import BucketConfig
from skerry.kinds.bucket.engine import BucketEngine
from skerry.kinds.bucket.wire.application import make


class Host:
    """A host that an engine asks nothing but progress."""

    async def ready(self, resource: str) -> str:
        raise AssertionError(resource)

    async def bind(self, resource: str) -> Any:
        raise AssertionError(resource)

    def progress(self, done: int, total: int, text: str) -> None:
        assert done <= total, text


class CountingMeter:
    """A meter that remembers."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def add(self, unit: str, amount: int = 1) -> None:
        self.counts[unit] = self.counts.get(unit, 0) + amount


def make_context(
    directory: Path,
    *,
    resource_id: str = "0123456789abcdef",
    own: bytes = b"own",
    lineage: bytes = b"lineage",
    config: BucketConfig | None = None,
    meter: Any = None,
) -> Context:
    state, run = directory / "state", directory / "run"
    state.mkdir(exist_ok=True)
    run.mkdir(exist_ok=True)
    return Context(
        ref=ResourceRef("app", "main", "bucket", "media"),
        id=resource_id,
        directory=state,
        run=run,
        code=directory,
        config=config or BucketConfig(),
        keys=Keys(own, lineage),
        meter=meter or NoMeter(),
        clock=SystemClock(),
        host=Host(),
    )


@dataclass
class Served:
    """An engine behind a port, in a thread with a loop of its own."""

    engine: BucketEngine
    port: int = 0
    _ready: threading.Event = field(default_factory=threading.Event)
    _clients: list[Any] = field(default_factory=list)
    _stop: Callable[[], None] = lambda: None

    def run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        await self.engine.start()
        self.loop = asyncio.get_running_loop()
        config = uvicorn.Config(
            make(self.engine), port=0, log_level="error", lifespan="off", http="httptools"
        )
        server = uvicorn.Server(config)
        self._stop = lambda: setattr(server, "should_exit", True)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.005)
        self.port = server.servers[0].sockets[0].getsockname()[1]
        self._ready.set()
        await serving
        await self.engine.stop()

    def do(self, work: Any) -> Any:
        """Run a coroutine in the engine's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def client(
        self, host: str = "127.0.0.1", name: str = "owner", path: str = "", **settings: Any
    ) -> Any:
        users = {each.name: each for each in self.engine.account.identities.values()}
        made = boto3.client(
            "s3",
            endpoint_url=f"http://{host}:{self.port}{path}",
            region_name="us-east-1",
            aws_access_key_id=users[name].access_key,
            aws_secret_access_key=users[name].secret,
            config=Config(retries={"max_attempts": 1}, **settings),
        )
        self._clients.append(made)
        return made

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self._stop()


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return make_context(tmp_path, meter=CountingMeter())


@pytest.fixture
def contexts() -> Callable[..., Context]:
    return make_context


@pytest.fixture
def served(context: Context) -> Iterator[Served]:
    found = Served(BucketEngine(context))
    thread = threading.Thread(target=found.run)
    thread.start()
    assert found._ready.wait(20)
    yield found
    found.close()
    thread.join(20)
    assert not thread.is_alive()


@pytest.fixture
def s3(served: Served) -> Any:
    return served.client()
