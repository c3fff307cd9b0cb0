"""Functions that call each other, over a real socket and the server that cells use."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from skerry.kernel.errors import SkerryError
from skerry.kinds.functions import client
from skerry.kinds.functions.binding import bind
from skerry.kinds.functions.tests.conftest import Start

ECHO = """
    from starlette.responses import Response, StreamingResponse

    async def fetch(request):
        if request.url.path == "/stream":
            async def parts():
                for _ in range(3):
                    yield b"x" * 100_000
            return StreamingResponse(parts())
        if request.url.path == "/teapot":
            return Response("short", 418, {"X-Pot": "tea"})
        return {
            "method": request.method,
            "url": str(request.url),
            "type": request.headers.get("content-type"),
            "body": (await request.body()).decode(),
        }
"""


@asynccontextmanager
async def served(application: Any) -> AsyncIterator[str]:
    """Serve an ASGI application on a unix socket."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/http.sock"
        config = Config(application, http="httptools", lifespan="off", log_config=None)
        config.load()
        state = ServerState()
        server = await asyncio.get_running_loop().create_unix_server(
            lambda: HttpToolsProtocol(config=config, server_state=state, app_state={}), path
        )
        try:
            yield path
        finally:
            server.close()
            while state.connections:
                await asyncio.sleep(0.01)


class Ready:
    """A host whose function is ready after a few tries."""

    def __init__(self, *paths: str) -> None:
        self.paths = list(paths)

    async def ready(self, resource: str) -> str:
        assert resource == "web"
        return self.paths.pop(0) if len(self.paths) > 1 else self.paths[0]


def bound(start: Any, *paths: str) -> Awaitable[Any]:
    from dataclasses import replace

    context = start.engine.context
    return bind(replace(context, host=Ready(*paths)))


async def test_calls(start: Start) -> None:
    echo = await start(ECHO)
    async with served(echo.application) as path:
        other = await bound(echo, path)
        reply = await other.fetch("/a?c=d", method="POST", json={"n": 1})
        assert reply.ok
        assert reply.json() == {
            "method": "POST",
            "url": "http://web/a?c=d",
            "type": "application/json",
            "body": '{"n":1}',
        }
        teapot = await other.fetch("/teapot", headers={"accept": "tea"})
        assert (teapot.status, teapot.ok, teapot.text) == (418, False, "short")
        assert teapot.headers["x-pot"] == "tea"
        assert (await other.fetch("/stream")).content == b"x" * 300_000
        assert (await other.fetch("/teapot", method="HEAD")).content == b""
        many = await asyncio.gather(*(other.fetch("/", body=f"{n}") for n in range(20)))
        assert [each.json()["body"] for each in many] == [str(n) for n in range(20)]
    assert "web" in repr(other)


async def test_a_function_that_fell_asleep_is_woken_once_more(start: Start) -> None:
    echo = await start(ECHO)
    async with served(echo.application) as path:
        other = await bound(echo, f"{path}.gone", path)
        assert (await other.fetch("/")).ok
        nowhere = await bound(echo, f"{path}.gone")
        with pytest.raises(SkerryError, match="does not listen"):
            await nowhere.fetch("/")


@pytest.mark.parametrize(
    ("path", "arguments"),
    [
        ("no-slash", {}),
        ("/a b", {}),
        ("/\r\nx: y", {}),
        ("/é", {}),
        ("/", {"method": "GET /"}),
        ("/", {"headers": {"a": "b\r\nc: d"}}),
        ("/", {"headers": {"a b": "c"}}),
        ("/", {"headers": {"Content-Length": "3"}}),
    ],
)
async def test_what_is_no_request_is_not_sent(
    start: Start, path: str, arguments: dict[str, Any]
) -> None:
    other = await bound(await start(ECHO), "never-reached")
    with pytest.raises(ValueError, match=r"is no request|is no header|cannot be chosen"):
        await other.fetch(path, **arguments)


Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def peer_that_sends(data: bytes) -> AsyncIterator[str]:
    """A peer that answers every connection with the same bytes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        await writer.drain()
        writer.close()

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "http.sock")
        server = await asyncio.start_unix_server(answer, path)
        try:
            yield path
        finally:
            server.close()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "ENGINE_FAILED"),
        (b"garbage\r\n\r\n", "ENGINE_FAILED"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", "ENGINE_FAILED"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n" + b"x" * 10, "TOO_LARGE"),
    ],
)
async def test_answers_that_are_none(
    start: Start, data: bytes, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "CONTENT_BYTES_MAX", 5)
    echo = await start(ECHO)
    async with peer_that_sends(data) as path:
        other = await bound(echo, path)
        with pytest.raises(SkerryError) as caught:
            await other.fetch("/")
        assert caught.value.code == code
