"""What selects a target, and what the router refuses to pass on."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from tests.node.router.scene import CLOSE, HELLO, OK, Scene, get, problem, status

from skerry.kernel.errors import BUSY, SkerryError
from skerry.node.router import client as client_module
from skerry.node.router import router as router_module


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
            ("127.0.0.1", "/%40news/main/%40web/%40a", "/%40a", "/%40news/main/%40web"),
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
        release = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await scene.head(reader)
            await release.wait()
            writer.write(OK)

        scene.script = script
        monkeypatch.setattr(router_module, "CONNECTIONS_MAX", 2)
        held = [await scene.connect() for _ in range(2)]
        for _, writer in held:
            writer.write(get())
        await asyncio.sleep(0.02)
        answer = await scene.ask()
        assert status(answer) == 503
        assert problem(answer)["code"] == "BUSY"
        assert b"Retry-After" in answer
        release.set()
        for reader, _ in held:
            assert await reader.readexactly(len(OK)) == OK

    async def test_idle_connections_give_way_and_busy_ones_do_not(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(router_module, "CONNECTIONS_MAX", 3)
        monkeypatch.setattr(router_module, "LOOKED_AT_MAX", 1)
        release = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if b"/slow" in await scene.head(reader):
                await release.wait()
            writer.write(OK)

        scene.script = script
        busy_reader, busy = await scene.connect()
        busy.write(get("/slow"))
        half_reader, half = await scene.connect()
        half.write(get()[:20])
        idle_reader, _ = await scene.connect()
        await asyncio.sleep(0.02)
        assert status(await scene.ask(get(more=CLOSE))) == 503, "the busy one was looked at"
        assert status(await scene.ask(get(more=CLOSE))) == 200
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(half_reader.read(), 5) == b""
        for _ in range(3):
            assert status(await scene.ask(get(more=CLOSE))) == 200
        assert not idle_reader.at_eof(), "there is room again: nobody gives way"
        release.set()
        assert await busy_reader.readexactly(len(OK)) == OK


async def test_errors_of_the_node_are_problems() -> None:
    error = SkerryError(BUSY, "What.", "Why.", "Hint.")
    told = problem(client_module.error_response(error))
    assert told["title"] == "What."
    assert told["type"] == "/docs/reference/errors#busy"
