"""The router: nothing grows without bound."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from tests.node.router.scene import (
    CLOSE,
    OK,
    Scene,
    get,
    settled,
    slow_client,
)


class TestPressure:
    """A slow side holds its own exchange back, and nothing grows."""

    async def test_a_slow_reader_holds_its_target_back(self, scene: Scene) -> None:
        sent = 0

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            await scene.head(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 16000000\r\n\r\n")
            for _ in range(160):
                writer.write(bytes(100_000))
                await writer.drain()
                sent += 100_000

        scene.script = script
        reader, writer = await slow_client(scene)
        writer.write(get(more=CLOSE))
        await settled(lambda: sent)
        assert sent < 8_000_000
        total = 0
        while data := await reader.read(1 << 20):
            total += len(data)
        assert total > 16_000_000
        writer.close()

    async def test_a_slow_target_holds_its_client_back(self, scene: Scene) -> None:
        proceed = asyncio.Event()
        got = 0

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal got
            await scene.head(reader)
            await proceed.wait()
            while got < 64_000_000:
                got += len(await reader.read(1 << 20))
            writer.write(OK)

        scene.script = script
        reader, writer = await scene.connect()
        sent = 0
        writer.write(get(more=f"Content-Length: 64000000\r\n{CLOSE}", method="POST"))

        async def send() -> None:
            nonlocal sent
            for _ in range(640):
                writer.write(bytes(100_000))
                await writer.drain()
                sent += 100_000

        sending = asyncio.create_task(send())
        await settled(lambda: sent)
        assert sent < 16_000_000
        proceed.set()
        await sending
        assert await reader.read() == OK
        writer.close()

    async def test_a_body_that_waits_for_its_target_is_bounded(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scene.awake = False
        woken = asyncio.Event()
        wake = scene._wake

        async def slow_wake(*place: str) -> Any:
            await woken.wait()
            return await wake(*place)

        monkeypatch.setattr(scene.router._supervisor, "wake", slow_wake)

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await scene.head(reader)
            await reader.readexactly(20_000_000)
            writer.write(OK)

        scene.script = script
        reader, writer = await scene.connect()
        writer.write(get(more=f"Content-Length: 20000000\r\n{CLOSE}", method="PUT"))
        sent = 0

        async def send() -> None:
            nonlocal sent
            for _ in range(200):
                writer.write(bytes(100_000))
                await writer.drain()
                sent += 100_000

        sending = asyncio.create_task(send())
        await settled(lambda: sent)
        assert sent < 12_000_000
        woken.set()
        await sending
        assert await reader.read() == OK
        writer.close()

    async def test_a_connection_that_a_slow_client_used_serves_the_next(self, scene: Scene) -> None:
        """Reading from it was paused when its answer ended; it must not stay so."""
        body = bytes(3_000_000)

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                await scene.head(reader)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()

        scene.script = script
        slow_reader, slow_writer = await slow_client(scene)
        slow_writer.write(get())
        await asyncio.sleep(0.1)
        for _ in range(3):
            answer = await scene.ask(get(more=CLOSE))
            assert len(answer) > len(body)
        await slow_reader.readexactly(len(body))
        slow_writer.close()

    async def test_a_client_that_goes_away_ends_its_exchange(self, scene: Scene) -> None:
        ended = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await scene.head(reader)
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            ended.set()

        scene.script = script
        _, writer = await scene.connect()
        writer.write(get())
        await asyncio.sleep(0.05)
        assert scene.running.holds == 1
        writer.transport.abort()
        await asyncio.wait_for(ended.wait(), 2)
        assert scene.running.holds == 0
