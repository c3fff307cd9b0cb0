"""What an engine is given in a test without a node: a meter, a clock, a host, a context, a port."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn

from skerry.kernel.clock import SystemClock
from skerry.kernel.keys import Keys
from skerry.kernel.kind import ASGIApplication, Context
from skerry.kernel.names import ResourceRef

RESOURCE_ID = "00000000deadbeef"
KEYS = Keys(b"o" * 32, b"l" * 32)


class Tally:
    """A meter that a test can read."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, unit: str, amount: int = 1) -> None:
        """Count."""
        self.counts[unit] += amount


class ManualClock:
    """A clock that a test moves, in seconds."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def now(self) -> int:
        """Return nanoseconds since 1970."""
        return int(self.seconds * 1_000_000_000)

    def monotonic(self) -> float:
        """Return seconds."""
        return self.seconds


class Awake:
    """A host whose engines are all awake."""

    async def ready(self, resource: str) -> str:
        """Return no socket: the engine is in this process."""
        return ""

    async def bind(self, resource: str) -> object:
        """Refuse: nothing is bound here."""
        raise NotImplementedError

    def progress(self, done: int, total: int, text: str) -> None:
        """Report to nobody."""


def new_context(directory: Path, ref: ResourceRef, config: Any, **more: Any) -> Context:
    """Return a context whose state, sockets and code share one directory, made if need be."""
    directory.mkdir(exist_ok=True)
    given: dict[str, Any] = {
        "directory": directory,
        "run": directory,
        "code": directory,
        "keys": KEYS,
        "meter": Tally(),
        "clock": SystemClock(),
        "host": Awake(),
    }
    return Context(ref=ref, id=RESOURCE_ID, config=config, **{**given, **more})


@contextlib.asynccontextmanager
async def served(application: ASGIApplication) -> AsyncIterator[int]:
    """Serve an application on a free port of the loopback; yield the port."""
    config = uvicorn.Config(
        application,
        interface="asgi3",
        port=0,
        log_level=logging.CRITICAL,
        lifespan="off",
        ws="websockets-sansio",
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
