"""The router: after an upgrade bytes pass both ways."""

from __future__ import annotations

import asyncio

import pytest
from tests.node.router.scene import (
    CLOSE,
    OK,
    WEBSOCKET,
    Scene,
    get,
    status,
)


class TestUpgrades:
    """Only a WebSocket is tunnelled, and only once its target agreed."""

    async def test_bytes_pass_both_ways_after_the_target_agreed(self, scene: Scene) -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await scene.head(reader)
            assert b"Connection: Upgrade\r\n" in head
            assert b"Upgrade: websocket\r\n" in head
            await asyncio.sleep(0.05)
            writer.write(
                b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello"
            )
            while data := await reader.read(1000):
                writer.write(data.upper())

        scene.script = script
        reader, writer = await scene.connect()
        writer.write(get(more=WEBSOCKET) + b"early")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        assert await reader.readexactly(10) == b"helloEARLY"
        writer.write(b"more")
        assert await reader.readexactly(4) == b"MORE"
        assert scene.running.holds == 1
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), 2) == b""
        writer.close()

    async def test_a_target_that_declines_gets_no_more_bytes(self, scene: Scene) -> None:
        rest: list[bytes] = []

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await scene.head(reader)
            writer.write(OK)
            rest.append(await reader.read())

        scene.script = script
        answer = await scene.ask(
            get(more=WEBSOCKET) + get("/smuggled", more="X-Forwarded-For: 1\r\n")
        )
        await asyncio.sleep(0.05)
        assert answer == OK
        assert rest == [b""]

    async def test_another_wish_to_upgrade_is_left_unheard(self, scene: Scene) -> None:
        more = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
        answer = await scene.ask(
            get("/1", more=more) + get("/2", more=CLOSE + "X-Forwarded-For: 1\r\n")
        )
        assert answer == OK + OK
        assert all(b"Upgrade" not in head and b"HTTP2" not in head for head in scene.heads)
        assert all(b"X-Forwarded-For: 127.0.0.1" in head for head in scene.heads)

    @pytest.mark.parametrize("protocol", ["websocket", "h2c"])
    @pytest.mark.parametrize("body", ["Content-Length: 40\r\n", "Transfer-Encoding: chunked\r\n"])
    async def test_an_upgrade_with_a_body_is_refused(
        self, scene: Scene, protocol: str, body: str
    ) -> None:
        """The parser takes such a body for what follows it."""
        more = f"Connection: Upgrade\r\nUpgrade: {protocol}\r\n{body}"
        answer = await scene.ask(get(more=more, method="POST") + get("/smuggled"))
        assert status(answer) == 400
        assert not scene.heads

    async def test_an_upgrade_behind_another_request(self, scene: Scene) -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await scene.head(reader)
            await asyncio.sleep(0.05)
            writer.write(OK)
            await scene.head(reader)
            writer.write(b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            writer.write(await reader.readexactly(3))

        scene.script = script
        answer = await scene.ask(get() + get(more=WEBSOCKET) + b"raw", b"")
        assert answer.startswith(OK + b"HTTP/1.1 101")
        assert answer.endswith(b"\r\n\r\nraw")
