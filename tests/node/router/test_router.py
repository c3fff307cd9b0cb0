"""The router: bytes pass as they come, in order, bounded, and nothing can be read in two ways."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from skerry.app import kinds
from skerry.kernel import catalogue as events
from skerry.kernel.app import AppSpec, ResourceSpec
from skerry.kernel.catalogue import Catalogue, ResourceRecord
from skerry.kernel.clock import SystemClock
from skerry.kernel.errors import BUSY, SkerryError
from skerry.node.cell.spec import http_socket
from skerry.node.router import client as client_module
from skerry.node.router import router as router_module
from skerry.node.router.router import Router
from skerry.node.router.targets import Targets

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
            usable=True,
            resources={"web": WEB, "guests": HELLO},
            channel=SimpleNamespace(closed=asyncio.get_running_loop().create_future()),
        )

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


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    with tempfile.TemporaryDirectory(prefix="skr-") as folder:
        made = Scene(Path(folder))

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                await made.head(reader)
                writer.write(OK)

        made.script = script
        await made.start()
        yield made
        await made.stop()
        async with asyncio.timeout(5):
            while made.running.holds:
                await asyncio.sleep(0.02)


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


class TestTargets:
    """Host, path and credential select; strangers learn nothing."""

    @pytest.mark.parametrize(
        ("host", "path", "line", "prefix"),
        [
            ("news.localhost", "/a?b=c", "/a?b=c", ""),
            ("NEWS.localhost:7878", "/", "/", ""),
            ("main--news.localhost", "/", "/", ""),
            ("web--main--news.localhost", "/", "/", ""),
            ("bucket.web--main--news.localhost", "/x", "/x", ""),
            ("127.0.0.1", "/@news", "/", "/@news"),
            ("127.0.0.1", "/@news/", "/", "/@news/"),
            ("127.0.0.1", "/@news/main/x/y?z", "/x/y?z", "/@news/main"),
            ("127.0.0.1", "/@news/main/@web/x?/@a", "/x?/@a", "/@news/main/@web"),
        ],
    )
    async def test_what_selects(
        self, scene: Scene, host: str, path: str, line: str, prefix: str
    ) -> None:
        answer = await scene.ask(get(path, host, CLOSE))
        assert status(answer) == 200
        head = scene.heads[0].decode()
        assert head.startswith(f"GET {line} HTTP/1.1\r\n")
        assert (f"X-Forwarded-Prefix: {prefix.rstrip('/')}" in head) == bool(prefix)
        assert f"X-Forwarded-Host: {host}\r\n" in head
        assert "X-Forwarded-For: 127.0.0.1\r\n" in head

    @pytest.mark.parametrize(
        ("host", "path"),
        [
            ("nws.localhost", "/"),
            ("pr-1--news.localhost", "/"),
            ("db--main--news.localhost", "/"),
            ("removed--main--news.localhost", "/"),
            ("none--main--news.localhost", "/"),
            ("127.0.0.1", "/@nws"),
            ("127.0.0.1", "/@news/none"),
            ("127.0.0.1", "/@"),
            ("127.0.0.1", "/@%00%ff/../x"),
            ("127.0.0.1", "/@news/main/@db"),
        ],
    )
    async def test_what_is_not_there_is_a_problem_that_names_nothing_else(
        self, scene: Scene, host: str, path: str
    ) -> None:
        if path == "/@news/main/@db":
            answer = await scene.ask(get(path, host, CLOSE))
        else:
            answer = await scene.ask(get(path, host))
        assert status(answer) == 404
        told = problem(answer)
        assert told["code"] == "NOT_FOUND"
        assert "news" not in told["why"] + told["what"] + told["hint"]
        assert scene.connections == scene.wakes == 0

    async def test_a_credential_selects_where_nothing_else_does(self, scene: Scene) -> None:
        more = f"Authorization: Bearer skt_{HELLO}_x\r\n{CLOSE}"
        assert status(await scene.ask(get("/ada", "127.0.0.1", more))) in (200, 404)
        assert status(await scene.ask(get("/", "127.0.0.1", CLOSE))) == 200

    async def test_an_absolute_target_counts_more_than_the_host(self, scene: Scene) -> None:
        answer = await scene.ask(get("http://news.localhost/a?b", "other.localhost", CLOSE))
        assert status(answer) == 200
        assert scene.heads[0].startswith(b"GET /a?b HTTP/1.1\r\nHost: news.localhost\r\n")
        assert b"other" not in scene.heads[0]


class TestHeads:
    """What only the router may say, and what it refuses."""

    async def test_forged_headers_are_dropped(self, scene: Scene) -> None:
        forged = "".join(
            f"{name}: forged\r\n"
            for name in (
                "X-Forwarded-For",
                "x-forwarded-host",
                "X-FORWARDED-PROTO",
                "X-Forwarded-Prefix",
                "X_Forwarded_Prefix",
                "X-Forwarded_For",
                "Forwarded",
                "Keep-Alive",
                "Proxy-Connection",
                "X-Mine",
                "Upgrade",
            )
        )
        await scene.ask(get(more=forged + "X-Kept: yes\r\nConnection: close, X-Mine, Host\r\n"))
        (head,) = scene.heads
        assert b"forged" not in head
        assert b"X-Kept: yes\r\n" in head
        assert b"Host: news.localhost" in head

    @pytest.mark.parametrize(
        "request_bytes",
        [
            get(more="Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", method="POST")
            + b"0\r\n\r\n",
            get(more="Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", method="POST")
            + b"0\r\n\r\n",
            get(more="Content-Length: 5\r\nContent-Length: 6\r\n", method="POST") + b"abcdef",
            get(more="Content-Length: 5, 6\r\n", method="POST") + b"abcdef",
            get(more="Content-Length: +5\r\n", method="POST") + b"abcde",
            get(more="Content-Length: -1\r\n", method="POST"),
            get(more="Content-Length: 0x5\r\n", method="POST") + b"abcde",
            get(more="Content-Length: 99999999999999999999999\r\n", method="POST"),
            get(more="Content-Length : 5\r\n", method="POST") + b"abcde",
            get(more="Transfer-Encoding: gzip, chunked\r\n", method="POST") + b"0\r\n\r\n",
            get(more="Transfer-Encoding: chunked, identity\r\n", method="POST") + b"0\r\n\r\n",
            get(more="Transfer-Encoding: xchunked\r\n", method="POST") + b"0\r\n\r\n",
            get(more="Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", method="POST")
            + b"0\r\n\r\n",
            get(more="Transfer-Encoding: chunked\r\n", method="POST") + b"zz\r\n\r\n",
            get(more="Transfer-Encoding: chunked\r\n", method="POST") + b"5\r\nabcdeXX0\r\n\r\n",
            get(more="Host: other.localhost\r\n"),
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: news.localhost\r\nA: b\r\n folded\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: news.localhost\r\nA: b\rX-C: d\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: news.localhost\r\nA: b\x00c\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: news.localhost\r\nNo colon\r\n\r\n",
            b"GET / HTTP/1.1\r\n Host: news.localhost\r\n\r\n",
            b"GET / HTTP/2.0\r\nHost: news.localhost\r\n\r\n",
            b"GET nowhere HTTP/1.1\r\nHost: news.localhost\r\n\r\n",
            b"CONNECT news.localhost:80 HTTP/1.1\r\nHost: news.localhost\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        ],
    )
    async def test_what_could_be_read_in_two_ways_is_refused(
        self, scene: Scene, request_bytes: bytes
    ) -> None:
        answer = await scene.ask(request_bytes + get("/smuggled"), end=True)
        assert status(answer) in (400, 501), answer
        assert answer.count(b"HTTP/1.1 ") == 1
        assert not any(b"smuggled" in head for head in scene.heads)

    async def test_bare_line_feeds_do_not_part_what_the_router_took_for_one(
        self, scene: Scene
    ) -> None:
        request = b"GET / HTTP/1.1\nHost: news.localhost\nConnection: close\n\n"
        answer = await scene.ask(request)
        if status(answer) == 200:
            assert scene.heads[0].replace(b"\r\n", b"").count(b"\n") == 0
        else:
            assert status(answer) == 400

    @pytest.mark.parametrize("pieces", [1, 7])
    @pytest.mark.parametrize("where", ["header", "headers", "target"])
    async def test_a_head_that_is_too_large(self, scene: Scene, where: str, pieces: int) -> None:
        big = "a" * 66_000
        request = {
            "header": get(more=f"A: {big}\r\n"),
            "headers": get(more="".join(f"A{n}: {'b' * 100}\r\n" for n in range(700))),
            "target": get("/" + big),
        }[where]
        step = len(request) // pieces + 1
        parts = [request[at : at + step] for at in range(0, len(request), step)]
        answer = await scene.ask(*parts)
        assert status(answer) == 413
        assert not scene.heads

    async def test_a_head_just_small_enough(self, scene: Scene) -> None:
        answer = await scene.ask(get(more=f"A: {'a' * 60_000}\r\n{CLOSE}"))
        assert status(answer) == 200

    @pytest.mark.parametrize("endless", [b"1;" + b"x" * 100_000, b"0\r\nA: " + b"x" * 100_000])
    async def test_chunk_extensions_and_trailers_are_bounded(
        self, scene: Scene, endless: bytes
    ) -> None:
        head = get(more="Transfer-Encoding: chunked\r\n", method="POST")
        answer = await scene.ask(head, *[endless[at : at + 9999] for at in range(0, 99_990, 9999)])
        assert answer == OK or status(answer) == 413
        assert len(scene.heads) == 1

    async def test_trailers_do_not_become_headers(self, scene: Scene) -> None:
        scene.awake = False
        body = b"1\r\nx\r\n0\r\nContent-Length: 3\r\nHost: other\r\n\r\n"
        first = get(more="Transfer-Encoding: chunked\r\n", method="POST") + body
        await scene.ask(first + first + get(more=CLOSE))
        assert all(b"Content-Length" not in head and b"other" not in head for head in scene.heads)

    async def test_a_slow_head_is_cut_off(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client_module, "HEAD_SECONDS", 0.2)
        assert await scene.ask() == b""
        answer = await scene.ask(*(b"GET / HTTP/1.1\r\n", b"Host: a", *[b"a"] * 5))
        assert status(answer) == 504
        reader, writer = await scene.connect()
        writer.write(get())
        assert await reader.readexactly(len(OK)) == OK
        writer.write(b"GET")
        assert b"504" in await asyncio.wait_for(reader.readuntil(b"\r\n"), 2)
        writer.close()

    async def test_an_idle_connection_is_closed(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client_module, "IDLE_SECONDS", 0.1)
        assert await scene.ask(get()) == OK

    async def test_too_many_connections(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(router_module, "CONNECTIONS_MAX", 2)
        held = [await scene.connect() for _ in range(2)]
        await asyncio.sleep(0.02)
        answer = await scene.ask()
        assert status(answer) == 503
        assert problem(answer)["code"] == "BUSY"
        assert b"Retry-After" in answer
        for _, writer in held:
            writer.close()
        await asyncio.sleep(0.02)
        assert status(await scene.ask(get(more=CLOSE))) == 200


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


async def test_errors_of_the_node_are_problems() -> None:
    error = SkerryError(BUSY, "What.", "Why.", "Hint.")
    told = problem(client_module.error_response(error))
    assert told["title"] == "What."
    assert told["type"] == "/docs/reference/errors#busy"
