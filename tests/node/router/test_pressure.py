"""A slow or dying side hurts its own exchange only."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.node.router.scene import (
    CLOSE,
    OK,
    Scene,
    answer_ok,
    get,
    problem,
    settled,
    slow_client,
    status,
)

from skerry.kernel.errors import BUSY
from skerry.node.router import client
from skerry.node.router.upstream import Pool


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

    async def test_a_body_that_stops_coming_lets_its_target_go(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client, "BODY_SECONDS", 0.4)
        broken = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await scene.head(reader)
            got = await reader.read()
            assert got == b"12345"
            broken.set()

        scene.script = script
        reader, writer = await scene.connect()
        writer.write(get(more="Content-Length: 6\r\n", method="POST"))
        for number in range(1, 6):
            await asyncio.sleep(0.1)
            writer.write(str(number).encode())
        async with asyncio.timeout(5):
            assert (await reader.read()).startswith(b"HTTP/1.1 504 ")
            await broken.wait()
        assert scene.running.holds == 0
        writer.close()

    async def test_a_client_that_is_held_back_is_not_late(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client, "BODY_SECONDS", 0.05)

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await scene.head(reader)
            await asyncio.sleep(0.3)
            await reader.readexactly(16_000_000)
            writer.write(OK)

        scene.script = script
        reader, writer = await scene.connect()
        writer.write(get(more=f"Content-Length: 16000000\r\n{CLOSE}", method="POST"))
        writer.write(bytes(16_000_000))
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

    async def test_a_client_that_goes_away_ends_its_exchange(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("skerry.node.router.client.HALF_CLOSED_SECONDS", 0.1)
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


class TestFailures:
    """What dies is told, and tried again only where nothing can happen twice."""

    @pytest.mark.parametrize(("method", "tries"), [("GET", 2), ("PUT", 2), ("POST", 1)])
    async def test_a_target_that_dies_before_it_answers(
        self, scene: Scene, method: str, tries: int
    ) -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await scene.head(reader)
            if len(scene.heads) == 2:
                assert head == scene.heads[0]
                writer.write(OK)

        scene.script = script
        answer = await scene.ask(get(more=f"Content-Length: 0\r\n{CLOSE}", method=method))
        assert len(scene.heads) == tries
        assert status(answer) == (200 if tries == 2 else 502)

    @pytest.mark.parametrize(("method", "tries"), [("GET", 2), ("DELETE", 2), ("POST", 1)])
    async def test_a_kept_connection_that_turns_out_dead(
        self, scene: Scene, method: str, tries: int
    ) -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await scene.head(reader)
            writer.write(OK)
            await reader.read(1)

        scene.script = script
        reader, writer = await scene.connect()
        writer.write(get())
        await reader.readexactly(len(OK))
        writer.write(get(more="Content-Length: 0\r\n", method=method))
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert status(answer) == (200 if tries == 2 else 502)
        assert scene.connections == tries

    async def test_what_a_process_died_of_is_not_sent_to_its_successor(self, scene: Scene) -> None:
        died = scene.running

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await scene.head(reader)
            died.usable = False
            died.channel.closed.set_result(None)
            died.child.ended.set_result(SimpleNamespace(status=3 << 8))

        scene.script = script
        answer = await scene.ask(get(more=CLOSE))
        assert status(answer) == 502
        told = problem(answer)
        assert told["code"] == "ENGINE_FAILED"
        assert told["why"] == "web ended while it handled this request: exit status 3."
        assert died.ended_over_request
        assert died.holds == 0
        assert len(scene.heads) == 1

    @pytest.mark.parametrize("read", [True, False])
    async def test_what_nobody_read_is_told_from_what_was_read(
        self, tmp_path: Path, *, read: bool
    ) -> None:
        lost: list[tuple[bool, bool]] = []
        ended = asyncio.Event()

        def response_lost(started: bool, taken: bool) -> None:
            lost.append((started, taken))
            ended.set()

        downstream: Any = SimpleNamespace(response_lost=response_lost)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "s"))
            listener.listen()
            target = await Pool().connect(str(tmp_path / "s"))
            peer, _ = listener.accept()
            with peer:
                target.begin(downstream, head_only=False)
                target.transport.write(get())
                await asyncio.sleep(0.01)
                if read:
                    assert peer.recv(1000) == get()
            async with asyncio.timeout(5):
                await ended.wait()
        assert lost == [(False, read)]

    async def test_a_target_that_dies_again_and_again_is_given_up(self, scene: Scene) -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await scene.head(reader)

        scene.script = script
        answer = await scene.ask(get())
        assert status(answer) == 502
        assert problem(answer)["code"] == "ENGINE_FAILED"
        assert len(scene.heads) == 3

    async def test_an_answer_that_breaks_off_is_not_taken_for_whole(self, scene: Scene) -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await scene.head(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

        scene.script = script
        answer = await scene.ask(get())
        assert answer.endswith(b"\r\n\r\nhalf")
        assert len(scene.heads) == 1

    async def test_garbage_of_a_target_ends_the_exchange(self, scene: Scene) -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await scene.head(reader)
            writer.write(b"not HTTP at all\r\n\r\n")
            await reader.read()

        scene.script = script
        await scene.ask(get())
        scene.script = answer_ok

    async def test_a_target_that_died_unnoticed_is_woken_again(self, scene: Scene) -> None:
        scene.running.instance = "dead"
        dead = scene.running
        loop = asyncio.get_running_loop()

        def notice() -> None:
            dead.usable = False
            dead.channel.closed.set_result(None)

        loop.call_later(0.05, notice)
        answer = await scene.ask(get(more=CLOSE, method="POST"))
        assert status(answer) == 200
        assert scene.wakes >= 1
        assert dead.holds == 0

    async def test_a_wake_that_fails_is_told(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def refuse(*_: str) -> Any:
            raise BUSY("It rests.", why="It crashed.")

        scene.awake = False
        monkeypatch.setattr(scene.router._supervisor, "wake", refuse)
        told = problem(await scene.ask(get()))
        assert (told["code"], told["why"]) == ("BUSY", "It crashed.")

    async def test_no_connection_is_kept_to_what_leaves_or_has_gone(self, scene: Scene) -> None:
        leave = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await scene.head(reader)
            await leave.wait()
            writer.write(OK)
            await reader.read()

        scene.script = script
        asking = asyncio.create_task(scene.ask(get(more=CLOSE)))
        await asyncio.sleep(0.05)
        scene.running.usable = False
        leave.set()
        assert await asking == OK
        assert len(scene.router.pool) == 0
        assert not scene.router.pool._idle

        async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await scene.head(reader)
            writer.write(OK)
            await asyncio.sleep(0.02)

        scene.running.usable = True
        scene.script = once
        assert await scene.ask(get(more=CLOSE)) == OK
        await asyncio.sleep(0.1)
        assert not scene.router.pool._idle

    async def test_stopping_lets_what_is_in_flight_finish(self, scene: Scene) -> None:
        release = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await scene.head(reader)
            await release.wait()
            writer.write(OK)

        scene.script = script
        idle, _ = await scene.connect()
        asking = asyncio.create_task(scene.ask(get()))
        await asyncio.sleep(0.05)
        stopping = asyncio.create_task(scene.router.stop(5))
        assert await asyncio.wait_for(idle.read(), 1) == b""
        with pytest.raises(OSError, match=r".+"):
            await scene.connect()
        assert not stopping.done()
        release.set()
        assert await asking == OK
        await asyncio.wait_for(stopping, 1)
        assert scene.router.connections() == 0

    async def test_stopping_does_not_wait_for_ever(self, scene: Scene) -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await scene.head(reader)
            await reader.read()

        scene.script = script
        asking = asyncio.create_task(scene.ask(get()))
        await asyncio.sleep(0.05)
        await asyncio.wait_for(scene.router.stop(0.1), 2)
        with contextlib.suppress(ConnectionError):
            assert await asking == b""
