"""The server of a cell and of the node's API forgets connections, however they ended."""

from __future__ import annotations

import asyncio
import gc
import socket
from pathlib import Path
from typing import Any

import pytest

from skerry.node.cell.server import HttpProtocol, Server

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def answer(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello"})


def connections() -> int:
    gc.collect()
    # By the type itself: to `isinstance`, lazy objects of libraries would have to tell theirs.
    return sum(issubclass(type(each), HttpProtocol) for each in gc.get_objects())


@pytest.mark.parametrize("is_reset", [False, True])
async def test_a_connection_that_ended_is_forgotten(tmp_path: Path, is_reset: bool) -> None:
    loop = asyncio.get_running_loop()
    server = Server(answer, str(tmp_path / "s"))
    await server.start()
    for _ in range(5):
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            await loop.sock_connect(client, str(tmp_path / "s"))
            await loop.sock_sendall(client, REQUEST)
            # Closing with some of an answer unread resets the connection.
            assert await loop.sock_recv(client, 1 if is_reset else 4096)
    async with asyncio.timeout(5):
        while connections():
            await asyncio.sleep(0.02)
    await server.stop(0.1)
