"""A gate answers while its resource sleeps, and is asked of nothing else."""

from __future__ import annotations

import logging
import threading

import msgspec
import pytest
from tests.node.router.scene import CLOSE, HELLO, OK, Scene, get, problem, status

from skerry.kernel.errors import INVALID, SkerryError
from skerry.kernel.kind import Head, Resource, Response
from skerry.kinds.hello.gate import token
from skerry.node.router.gates import QUICK_BYTES_MAX, as_bytes, read_head
from skerry.testing.hosts import KEYS

HOST = "guests--main--news.localhost"
RIGHT = f"Authorization: Bearer {token(HELLO, KEYS)}\r\n{CLOSE}"
WRONG = f"Authorization: Bearer {token(HELLO, KEYS)}x\r\n{CLOSE}"


class Spy:
    """A gate that remembers what it was asked, and answers as told."""

    def __init__(self, answer: Response | Exception | None = None) -> None:
        self.answer = answer
        self.heads: list[Head] = []

    def __call__(self, head: Head, resource: Resource, now: int) -> Response | None:
        assert (resource.id, resource.keys) == (HELLO, KEYS)
        assert now > 0
        self.heads.append(head)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def spy(scene: Scene) -> Spy:
    made = Spy()
    scene.router._gates._loaded["hello"] = made
    return made


async def test_a_stranger_is_refused_and_wakes_nothing(scene: Scene) -> None:
    scene.awake = False
    answer = await scene.ask(get("/ada", HOST, WRONG))
    assert status(answer) == 401
    head, _, body = answer.partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head
    assert msgspec.json.decode(body)["code"] == "UNAUTHENTICATED"
    assert (scene.wakes, scene.heads) == (0, [])


async def test_the_right_token_wakes(scene: Scene) -> None:
    scene.awake = False
    assert (await scene.ask(get("/ada", HOST, RIGHT))).startswith(OK)
    assert scene.wakes == 1


async def test_what_is_awake_is_not_asked_for(scene: Scene, spy: Spy) -> None:
    scene.awake = True
    assert (await scene.ask(get("/ada", HOST, WRONG))).startswith(OK)
    assert spy.heads == []


async def test_what_died_unseen_is_asked_for_before_it_wakes_again(scene: Scene, spy: Spy) -> None:
    spy.answer = Response(401, ((b"content-length", b"0"),), b"")
    scene.running.instance = "dead"
    assert status(await scene.ask(get("/ada", HOST, WRONG))) == 401
    assert (scene.wakes, len(spy.heads)) == (0, 1)


async def test_a_kind_without_a_gate_wakes(scene: Scene) -> None:
    scene.awake = False
    assert (await scene.ask(get("/", more=CLOSE))).startswith(OK)
    assert scene.wakes == 1


@pytest.mark.parametrize("failure", [ValueError("a mistake"), KeyError("x"), RecursionError()])
async def test_a_gate_that_fails_lets_nobody_in_and_is_logged(
    scene: Scene, spy: Spy, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    scene.awake, spy.answer = False, failure
    with caplog.at_level(logging.ERROR):
        answer = await scene.ask(get("/ada", HOST, RIGHT))
    assert problem(answer)["status"] == 500
    assert str(failure) not in answer.decode() or not str(failure)
    assert [each for each in caplog.records if each.exc_info]
    assert scene.wakes == 0


async def test_it_sees_the_head_as_the_engine_would(scene: Scene, spy: Spy) -> None:
    scene.awake = False
    more = f"X-Forwarded-Prefix: /evil\r\nX-Two:  a\r\nX-Gone: 1\r\nConnection: X-Gone\r\n{CLOSE}"
    await scene.ask(get("/@news/main/@guests/a%20b?c=d&e", "127.0.0.1", more))
    (head,) = spy.heads
    assert (head.method, head.path, head.query) == (b"GET", b"/a%20b", b"c=d&e")
    assert head.header(b"x-forwarded-prefix") == b"/@news/main/@guests"
    assert head.header(b"x-two") == b"a"
    assert head.header(b"x-gone") is None
    (sent,) = scene.heads
    assert read_head(sent) == head


async def test_a_long_head_does_not_hold_the_others_up(scene: Scene, spy: Spy) -> None:
    threads: list[bool] = []

    def gate(head: Head, resource: Resource, now: int) -> Response | None:
        threads.append(threading.current_thread() is threading.main_thread())
        return Spy.__call__(spy, head, resource, now)

    scene.router._gates._loaded["hello"] = gate
    scene.awake = False
    spy.answer = Response(401, ((b"content-length", b"0"),), b"")
    for more in ("", f"X-Long: {'x' * QUICK_BYTES_MAX}\r\n"):
        assert status(await scene.ask(get("/", HOST, more + CLOSE))) == 401
    assert threads == [True, False]


async def test_an_upgrade_and_a_body_are_seen_by_their_head(scene: Scene, spy: Spy) -> None:
    scene.awake = False
    spy.answer = Response(401, ((b"content-length", b"2"),), b"no")
    upgrade = get("/", HOST, "Upgrade: websocket\r\nConnection: Upgrade\r\n")
    post = get("/", HOST, "Content-Length: 9999\r\nExpect: 100-continue\r\n", "POST")
    for request in (upgrade, post):
        answer = await scene.ask(request, b"some of it", end=True)
        assert answer.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
        assert answer.endswith(b"\r\n\r\nno")
    assert [each.header(b"upgrade") for each in spy.heads] == [b"websocket", None]
    assert scene.wakes == 0


async def test_a_head_is_answered_without_a_body(scene: Scene, spy: Spy) -> None:
    scene.awake = False
    spy.answer = Response(403, ((b"content-length", b"2"),), b"no")
    answer = await scene.ask(get("/", HOST, CLOSE, "HEAD"))
    assert answer.endswith(b"content-length: 2\r\nconnection: close\r\n\r\n")


async def test_a_browsers_page_is_sandboxed_like_any(scene: Scene, spy: Spy) -> None:
    scene.awake = False
    spy.answer = Response(403, ((b"content-length", b"2"),), b"no")
    page = "Sec-Fetch-Dest: document\r\n"
    answer = await scene.ask(get("/@news/main/@guests/", "203.0.113.5", page + CLOSE))
    assert b"Content-Security-Policy: sandbox" in answer


def test_a_target_that_cells_do_not_take_is_refused() -> None:
    for target in (b"/\xc3\xa9", b"http://", b"/ /"):
        with pytest.raises(SkerryError) as refused:
            read_head(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target)
        assert refused.value.problem is INVALID


def test_an_answer_names_its_status() -> None:
    answer = as_bytes(Response(404, ((b"content-length", b"1"),), b"x"), b"GET")
    assert answer == (b"HTTP/1.1 404 Not Found\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx")
