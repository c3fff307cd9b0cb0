"""A router whose targets are played by scripts, and what its tests say to it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec

from skerry.app import kinds
from skerry.kernel import events
from skerry.kernel.app import AppSpec, ResourceSpec
from skerry.kernel.catalogue import Branch, Catalogue, ResourceRecord
from skerry.kernel.clock import SystemClock
from skerry.kernel.kind import Resource
from skerry.node.cell.spec import http_socket
from skerry.node.router.gates import Gates
from skerry.node.router.router import Router
from skerry.node.router.targets import Targets
from skerry.testing.hosts import KEYS

WEB, DB, HELLO = "1" * 16, "2" * 16, "3" * 16
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Scene:
    """A router over one app, whose function's process is played by a script."""

    def __init__(self, folder: Path) -> None:
        self.run = folder
        self.script: Script = answer_ok
        self.heads: list[bytes] = []
        self.connections = 0
        self.wakes = 0
        self.awake = True
        self.instance = "a"
        self._writers: list[asyncio.StreamWriter] = []
        self._servers: list[asyncio.Server] = []
        self.running = self._new_running()
        catalogue = Catalogue()
        spec = AppSpec(
            "news",
            (
                ResourceSpec("functions", "web", {"entry": "x"}),
                ResourceSpec("postgres", "db", {}),
                ResourceSpec("hello", "guests", {}),
            ),
            "web",
        )
        records = (
            ResourceRecord(WEB, WEB, "functions", "web"),
            ResourceRecord(DB, DB, "postgres", "db"),
            ResourceRecord(HELLO, HELLO, "hello", "guests"),
            ResourceRecord("4" * 16, "4" * 16, "functions", "removed"),
        )
        for event in (
            events.AppCreated("news", 0),
            events.VersionAdded("news", 1, spec, ""),
            events.BranchCreated("news", "main", "d", None, 1, records, 0),
        ):
            catalogue.apply(events.encode(event))
        self.router = Router(
            gates=Gates(catalogue, kinds(), self._resource, SystemClock()),
            targets=Targets(catalogue, kinds(), "localhost"),
            supervisor=cast(Any, SimpleNamespace(running=self._find, wake=self._wake)),
            run=folder,
            node_socket=folder / "api.sock",
            domain="localhost",
            clock=SystemClock(),
        )

    def _new_running(self) -> Any:
        return SimpleNamespace(
            holds=0,
            instance=self.instance,
            key="web",
            usable=True,
            leaving=False,
            child=SimpleNamespace(ended=asyncio.get_running_loop().create_future()),
            resources={"web": WEB, "guests": HELLO},
            channel=SimpleNamespace(closed=asyncio.get_running_loop().create_future()),
        )

    def _resource(self, branch: Branch, name: str) -> Resource:
        record = branch.record(name)
        return Resource(branch.ref(name), record.id, self.run, None, KEYS)

    def _find(self, app: str, branch: str, resource: str) -> Any:
        return self.running if self.awake and self.running.usable else None

    async def _wake(self, app: str, branch: str, resource: str) -> Any:
        self.wakes += 1
        await asyncio.sleep(0.01)
        if not self.running.usable:
            self.running = self._new_running()
        self.awake = True
        return self.running

    async def start(self) -> None:
        for resource_id in (WEB, HELLO):
            (self.run / resource_id).mkdir()
            await self.listen(http_socket(str(self.run / resource_id), self.instance))
        await self.listen(str(self.run / "api.sock"))
        self.port = await self.router.start("127.0.0.1", 0)

    async def listen(self, path: str) -> None:
        self._servers.append(await asyncio.start_unix_server(self._serve, path))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self.script(reader, writer)
        finally:
            await close(writer)

    async def stop(self) -> None:
        for writer in self._writers:
            await close(writer)
        await self.router.stop(0)
        for server in self._servers:
            server.close()
        await asyncio.sleep(0.01)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers.append(writer)
        return reader, writer

    async def ask(self, *pieces: bytes, end: bool = False) -> bytes:
        """Send bytes; return all that comes until the other side closes."""
        reader, writer = await self.connect()
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.01)
        if end:
            writer.write_eof()
        try:
            async with asyncio.timeout(5):
                return await reader.read()
        finally:
            await close(writer)

    async def head(self, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        return head


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def answer_ok(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    raise AssertionError("replaced by the fixture")


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def get(
    path: str = "/", host: str = "news.localhost", more: str = "", method: str = "GET"
) -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode()


CLOSE = "Connection: close\r\n"


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def problem(answer: bytes) -> dict[str, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    assert f"Content-Length: {len(body)}".encode() in head
    found: dict[str, Any] = msgspec.json.decode(body)
    assert found["status"] == status(answer)
    return found


async def slow_client(scene: Scene) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect with a small window, and read nothing by oneself."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", scene.port))
    reader, writer = await asyncio.open_connection(sock=connection, limit=4096)
    scene._writers.append(writer)
    return reader, writer


async def settled(value: Callable[[], int]) -> None:
    """Wait until a number does not change any more."""
    before = -1
    for _ in range(100):
        await asyncio.sleep(0.1)
        if value() == before and before > 0:
            return
        before = value()
