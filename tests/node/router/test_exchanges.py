"""Requests and answers pass in order, whole, as they come."""

from __future__ import annotations

import asyncio

import pytest
from tests.node.router.scene import CLOSE, OK, Scene, get, status


class TestExchanges:
    """Requests and answers pass in order, whole, as they come."""

    async def test_keep_alive_uses_one_connection_to_the_target(self, scene: Scene) -> None:
        reader, writer = await scene.connect()
        for number in range(5):
            writer.write(get(f"/{number}"))
            assert await reader.readexactly(len(OK)) == OK
        writer.close()
        assert scene.connections == 1
        assert len(scene.heads) == 5

    async def test_many_pipelined_requests_are_answered_in_order(self, scene: Scene) -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                path = (await scene.head(reader)).split(b" ")[1]
                length = len(path)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (length, path))

        scene.script = script
        scene.awake = False
        requests = b"".join(get(f"/{n:03}") for n in range(200)) + get("/end", more=CLOSE)
        answer = await scene.ask(requests)
        bodies = [part[4:8] for part in answer.split(b"\r\nContent-Length: 4\r\n")[1:]]
        bodies = [part.split(b"\r\n\r\n", 1)[1][:4] for part in answer.split(b"HTTP/1.1 200")[1:]]
        assert bodies == [b"/%03d" % n for n in range(200)] + [b"/end"]
        assert scene.connections == 1

    async def test_a_bad_request_behind_good_ones_does_not_answer_for_them(
        self, scene: Scene
    ) -> None:
        release = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await scene.head(reader)
            writer.write(OK[:-1])
            await release.wait()
            writer.write(OK[-1:])
            await scene.head(reader)
            writer.write(OK)

        scene.script = script
        reader, writer = await scene.connect()
        writer.write(get("/1") + get("/2") + b"garbage\r\n\r\n" + get("/3"))
        await asyncio.sleep(0.05)
        release.set()
        answer = await asyncio.wait_for(reader.read(), 5)
        assert answer.startswith(OK + OK + b"HTTP/1.1 400 ")
        assert len(scene.heads) == 2
        writer.close()

    async def test_a_bad_request_on_a_used_connection_is_told(self, scene: Scene) -> None:
        reader, writer = await scene.connect()
        writer.write(get())
        await reader.readexactly(len(OK))
        writer.write(b"garbage\r\n\r\n")
        assert status(await reader.read()) == 400
        writer.close()

    @pytest.mark.parametrize("awake", [True, False])
    async def test_chunked_and_sized_bodies_arrive_whole(self, scene: Scene, awake: bool) -> None:
        bodies: list[bytes] = []

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                head = await scene.head(reader)
                body = b""
                if b"chunked" in head:
                    while size := int(await reader.readline(), 16):
                        body += await reader.readexactly(size)
                        await reader.readexactly(2)
                    await reader.readexactly(2)
                else:
                    body = await reader.readexactly(700_000)
                bodies.append(body)
                writer.write(OK)

        scene.script = script
        scene.awake = awake
        data = bytes(range(256)) * 3000
        chunked = b"".join(
            b"%X;x=y\r\n%b\r\n" % (len(part), part)
            for part in (data[at : at + 77_777] for at in range(0, len(data), 77_777))
        )
        answer = await scene.ask(
            get(more="Transfer-Encoding: chunked\r\n", method="POST"),
            chunked[:1],
            chunked[1:300_000],
            chunked[300_000:],
            b"0\r\nTrailer: x\r\n\r\n",
            get(more=f"Content-Length: 700000\r\n{CLOSE}", method="PUT"),
            data[:700_000],
        )
        assert answer == OK + OK
        assert bodies == [data, data[:700_000]]

    @pytest.mark.parametrize(
        ("method", "answer"),
        [
            ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"),
            ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
            ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
            ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n"),
            ("GET", b"HTTP/1.1 103 Early\r\nLink: a\r\n\r\nHTTP/1.1 204 N\r\n\r\n"),
            ("GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        ],
    )
    async def test_answers_without_a_body_end_where_they_should(
        self, scene: Scene, method: str, answer: bytes
    ) -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                await scene.head(reader)
                writer.write(answer)

        scene.script = script
        reader, writer = await scene.connect()
        for _ in range(3):
            writer.write(get(method=method))
            assert await asyncio.wait_for(reader.readexactly(len(answer)), 2) == answer
        writer.close()
        assert scene.connections == 1

    async def test_expect_100_continue(self, scene: Scene) -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await scene.head(reader)
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            assert await reader.readexactly(5) == b"hello"
            writer.write(OK)

        scene.script = script
        reader, writer = await scene.connect()
        writer.write(get(more="Expect: 100-continue\r\nContent-Length: 5\r\n", method="POST"))
        assert b"100 Continue" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 2)
        writer.write(b"hello")
        assert await reader.readexactly(len(OK)) == OK
        writer.close()

    async def test_the_first_byte_of_a_stream_passes_at_once(self, scene: Scene) -> None:
        proceed = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await scene.head(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
            for _ in range(3):
                writer.write(b"data: x\n\n")
                await proceed.wait()
                proceed.clear()

        scene.script = script
        reader, writer = await scene.connect()
        writer.write(get())
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(3):
            assert await asyncio.wait_for(reader.readuntil(b"\n\n"), 2) == b"data: x\n\n"
            proceed.set()
        assert await asyncio.wait_for(reader.read(), 2) == b""
        writer.close()

    async def test_a_refused_upload_hears_why_before_it_ends(self, scene: Scene) -> None:
        """Closing at once would reset the connection, and take the answer away with it."""
        reader, writer = await scene.connect()
        writer.write(get(host="none.localhost", more="Content-Length: 5000000\r\n", method="POST"))
        writer.write(bytes(5_000_000))
        answer = await asyncio.wait_for(reader.read(), 5)
        assert status(answer) == 404
        writer.close()

    async def test_half_a_request_is_not_carried_out(self, scene: Scene) -> None:
        ended = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await scene.head(reader)
            assert await reader.read() == b"abc"
            ended.set()

        scene.script = script
        await scene.ask(get(more="Content-Length: 5\r\n", method="POST"), b"abc", end=True)
        await asyncio.wait_for(ended.wait(), 2)


WEBSOCKET = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"


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


class TestHalfClosed:
    """A client may say that it sends no more, and still hears what it asked for."""

    @pytest.mark.parametrize("awake", [True, False])
    async def test_it_gets_every_answer_and_then_the_end(self, scene: Scene, awake: bool) -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                await scene.head(reader)
                await asyncio.sleep(0.05)
                writer.write(OK)

        scene.script = script
        scene.awake = awake
        assert await scene.ask(get("/1") + get("/2"), end=True) == OK + OK
        assert scene.running.holds == 0

    async def test_silence_is_taken_for_a_client_that_went_away(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("skerry.node.router.client.HALF_CLOSED_SECONDS", 0.1)
        ended = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await scene.head(reader)
            await reader.read()
            ended.set()

        scene.script = script
        assert await scene.ask(get("/"), end=True) == b""
        await asyncio.wait_for(ended.wait(), 5)
        assert scene.running.holds == 0
