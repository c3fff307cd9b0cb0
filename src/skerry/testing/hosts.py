"""What an engine is given in a test without a node: a meter, a clock, a host, a context, a port."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import uvicorn

from skerry.kernel.clock import SystemClock
from skerry.kernel.keys import Keys
from skerry.kernel.kind import ASGIApplication, Context, Head, Resource, Response
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


def resource_of(context: Context) -> Resource:
    """Return the resource that a context is of, as the node knows it."""
    return Resource(context.ref, context.id, context.directory, context.config, context.keys)


async def answered(application: ASGIApplication, head: Head, body: bytes = b"") -> Response:
    """Return what an application answers to a request, without any server between."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": head.method.decode(),
        "path": unquote(head.path.decode("ascii")),
        "raw_path": head.path,
        "query_string": head.query,
        "headers": list(head.headers),
    }
    await application(scope, receive, send)
    start, *rest = sent
    parts = b"".join(each.get("body", b"") for each in rest)
    return Response(start["status"], tuple(start["headers"]), parts)


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
