"""Both clients against a server that says what a test tells it to say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from skerry.kernel.clock import SystemClock
from skerry.kernel.errors import (
    BUSY,
    INVALID,
    NODE_UNREACHABLE,
    NOT_FOUND,
    TOO_LARGE,
    Problem,
    SkerryError,
)
from skerry.kinds._shared.http import pool, streaming
from skerry.kinds._shared.http.message import Answer, Ask
from skerry.kinds._shared.http.pool import Pool
from skerry.kinds._shared.http.streaming import StreamingPool

READ, WRITE = Ask("GET", "/r", repeatable=True), Ask("POST", "/w", {"x-a": "é"}, b"body")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n"
LIMIT = 100_000


class Scripted:
    """Answers requests with the lines of a script, `None` for closing; counts connections."""

    def __init__(self) -> None:
        self.script: list[bytes | None] = []
        self.seen: list[bytes] = []
        self.connections = 0
        self.cut: Callable[[], None] = lambda: None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.cut = writer.transport.abort
        try:
            while self.script:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0] or 0)
                self.seen.append(head + await reader.readexactly(length))
                answer = self.script.pop(0)
                if answer is None:
                    return
                writer.write(answer)
                await writer.drain()
            await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Scripted]:
    made = Scripted()
    listening = await asyncio.start_unix_server(made.serve, tmp_path / "s")
    yield made
    made.cut()
    listening.close()


Call = Callable[[Ask], Any]


@pytest.fixture(params=["blocking", "streaming"])
async def call(request: Any, server: Scripted, tmp_path: Path) -> AsyncIterator[Call]:
    path, clock = str(tmp_path / "s"), SystemClock()
    if request.param == "blocking":
        blocking = Pool("thing", path, clock, 0.3)
        yield lambda ask: asyncio.to_thread(blocking.ask, ask, limit=LIMIT)
        blocking.close()
        return
    streamed = StreamingPool("thing", path, clock, 0.3)
    yield lambda ask: streamed.ask(ask, LIMIT)
    await streamed.close()


async def refused(problem: Problem, call: Any) -> SkerryError:
    with pytest.raises(SkerryError) as caught:
        await call
    assert caught.value.problem is problem, caught.value
    return caught.value


async def test_one_connection_serves_one_call_after_the_other(call: Call, server: Scripted) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\n" + OK
    head_only = b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"
    empty = b"HTTP/1.1 204 No Content\r\n\r\n"
    server.script = [OK, CHUNKED, interim, head_only, empty, OK]
    for ask in (READ, WRITE, READ):
        assert (await call(ask)).body == b"ok"
    answer: Answer = await call(Ask("HEAD", "/"))
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, "999", b"")
    assert (await call(Ask("DELETE", "/"))).status == 204
    assert (await call(READ)).body == b"ok"
    assert server.connections == 1
    assert server.seen[0] == b"GET /r HTTP/1.1\r\nhost: thing.skerry\r\n\r\n"
    assert "x-a: é\r\ncontent-length: 4\r\n\r\nbody".encode() in server.seen[1]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        OK + b"HTTP/1.1 200 OK\r\n",
        OK + b"\x00garbage",
    ],
)
async def test_a_connection_that_is_spoilt_is_not_used_again(
    call: Call, server: Scripted, answer: bytes
) -> None:
    server.script = [answer, OK]
    assert (await call(WRITE)).body == b"ok"
    assert (await call(WRITE)).body == b"ok"
    assert server.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        None,
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 40_000 + b"\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
    ],
)
async def test_what_is_no_whole_answer_is_told(
    call: Call, server: Scripted, answer: bytes | None
) -> None:
    server.script = [answer] if answer is None else [answer, None]
    error = await refused(NODE_UNREACHABLE, call(WRITE))
    assert (error.what, error.hint) == (
        "The node that holds thing does not answer.",
        "skerry nodes",
    )
    server.script = [OK]
    assert (await call(READ)).body == b"ok"


async def test_a_read_is_sent_again_and_a_write_is_not(call: Call, server: Scripted) -> None:
    server.script = [OK, None, OK, None]
    assert (await call(READ)).body == b"ok"
    assert (await call(READ)).body == b"ok"
    error = await refused(NODE_UNREACHABLE, call(WRITE))
    assert "may have been carried out" in error.why
    assert [each.split(b" ")[0] for each in server.seen] == [b"GET", b"GET", b"GET", b"POST"]


async def test_an_answer_has_a_bound(call: Call, server: Scripted) -> None:
    large = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (LIMIT + 1) + b"x" * (LIMIT + 1)
    server.script = [large, OK]
    await refused(TOO_LARGE, call(READ))
    assert (await call(READ)).body == b"ok"


async def test_a_problem_of_the_router_is_raised_as_it_was_told(
    call: Call, server: Scripted
) -> None:
    body = b'{"code": "NOT_FOUND", "what": "Nothing is served here.", "hint": "skerry status"}'
    head = b"HTTP/1.1 404 NOT_FOUND\r\nContent-Type: application/problem+json\r\n"
    server.script = [head + b"Content-Length: %d\r\n\r\n" % len(body) + body, OK]
    error = await refused(NOT_FOUND, call(READ))
    assert (error.what, error.hint) == ("Nothing is served here.", "skerry status")
    assert (await call(READ)).body == b"ok"


async def test_silence_and_a_missing_socket_end(
    call: Call, server: Scripted, tmp_path: Path
) -> None:
    server.script = [b"HTTP/1.1 200 OK\r\n"]
    await refused(NODE_UNREACHABLE, call(READ))
    (tmp_path / "s").unlink()
    error = await refused(NODE_UNREACHABLE, call(WRITE))
    assert "carried out" not in error.why


async def test_bad_headers_are_refused_before_anything_is_sent(
    call: Call, server: Scripted
) -> None:
    for headers in ({"a b": "c"}, {"a": "b\r\nc: d"}, {"a": " b"}, {"": "x"}):
        await refused(INVALID, call(Ask("GET", "/", headers)))
    assert server.seen == []


async def test_connections_are_bounded(
    call: Call, server: Scripted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pool, "CONNECTIONS_MAX", 1)
    monkeypatch.setattr(streaming, "CONNECTIONS_MAX", 1)
    path, clock = str(tmp_path / "s"), SystemClock()
    server.script = [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"]
    streamed = StreamingPool("thing", path, clock, 0.1)
    response = await streamed.open(READ)
    await refused(BUSY, streamed.open(READ))
    response.close()
    await streamed.close()


async def test_what_is_told_is_not_waited_for(server: Scripted, tmp_path: Path) -> None:
    told = Pool("thing", str(tmp_path / "s"), SystemClock(), 5.0)
    server.script = [CHUNKED, OK, OK, None]

    def work() -> None:
        told.tell(WRITE)
        told.tell(WRITE)
        assert told.ask(READ, limit=LIMIT).body == b"ok"
        told.tell(WRITE)

    await asyncio.to_thread(work)
    while len(server.seen) < 4:
        await asyncio.sleep(0.005)
    assert [each.split(b" ")[1] for each in server.seen[:3]] == [b"/w", b"/w", b"/r"]
    assert server.connections == 1
    server.script = [OK]
    assert (await asyncio.to_thread(told.ask, WRITE, limit=LIMIT)).body == b"ok"
    assert server.connections == 2
    (tmp_path / "s").unlink()
    told.close()
    await asyncio.to_thread(told.tell, WRITE)
