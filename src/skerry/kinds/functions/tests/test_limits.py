"""Limits and failures: what a client sees, what is logged, what is counted."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from typing import Any
from unittest.mock import Mock

import pytest

from skerry.kinds.functions.tests.conftest import Function, Start, http_scope


async def test_an_exception_is_a_clear_500_without_details(start: Start, caplog: Any) -> None:
    function = await start("""
        async def fetch(request):
            raise ValueError("hunter2")
    """)
    answer = await function.request("/a?q", "DELETE")
    assert answer.status == 500
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.startswith("error[ENGINE_FAILED]: The function web failed.\n")
    assert "hunter2" not in answer.text
    assert "DELETE /a: The function failed." in caplog.text
    assert "ValueError: hunter2" in caplog.text
    assert "in _respond" not in caplog.text, "nor the way through Skerry to the app's line"
    assert function.counts == {"requests": 1, "errors": 1}


async def test_programs_get_json(start: Start) -> None:
    function = await start("def fetch(request): raise StopIteration")
    answer = await function.request(headers={"accept": "application/json"})
    assert answer.status == 500
    assert answer.json()["error"]["code"] == "ENGINE_FAILED"


async def test_debug_shows_the_traceback(start: Start) -> None:
    function = await start("async def fetch(request): return 1 / 0", debug=True)
    assert "ZeroDivisionError: division by zero" in (await function.request()).text


async def test_an_exit_ends_the_request_only(start: Start) -> None:
    function = await start("""
        async def fetch(request):
            if request.url.path == "/exit":
                raise SystemExit(1)
            return "alive"
    """)
    assert (await function.request("/exit")).status == 500
    assert (await function.request("/")).text == "alive"


async def test_an_app_that_does_not_answer(start: Start, caplog: Any) -> None:
    function = await start("async def app(scope, receive, send): pass", entry="{module}:app")
    assert (await function.request()).status == 500
    assert "the app returned without an answer" in caplog.text


async def test_an_exception_after_the_beginning_is_logged_only(start: Start, caplog: Any) -> None:
    function = await start(
        """
        async def app(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            raise ValueError("torn")
        """,
        entry="{module}:app",
    )
    answer = await function.request()
    assert (answer.status, answer.body) == (200, b"half")
    assert "ValueError: torn" in caplog.text


async def test_a_request_that_takes_too_long(start: Start) -> None:
    function = await start(
        """
        import asyncio
        cancelled = []

        async def fetch(request):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(True)
                raise
        """,
        timeout="100ms",
    )
    answer = await function.request()
    assert answer.status == 504
    assert answer.text.startswith("error[TIMED_OUT]: The function web did not begin its answer")
    assert sys.modules[function.engine.config.entry].cancelled == [True]
    assert function.counts == {"requests": 1, "errors": 1}


async def test_an_app_that_ignores_its_cancellation_is_answered_for(start: Start) -> None:
    function = await start(
        """
        import asyncio
        refused = []

        async def app(scope, receive, send):
            assert scope["type"] == "http"
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                await asyncio.sleep(0.2)
            try:
                await send({"type": "http.response.start", "status": 200, "headers": []})
            except OSError:
                refused.append(True)
        """,
        entry="{module}:app",
        timeout="100ms",
    )
    answer = await function.request()
    assert answer.status == 504
    assert [each["type"] for each in answer.messages] == [
        "http.response.start",
        "http.response.body",
    ]
    assert sys.modules[function.engine.config.entry.partition(":")[0]].refused == [True]


async def test_a_cancelled_client_is_not_taken_for_a_timeout(start: Start) -> None:
    function = await start("""
        import asyncio

        async def fetch(request):
            await asyncio.sleep(60)
    """)
    task = asyncio.create_task(function.request())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_blocking_handler_that_takes_too_long(start: Start) -> None:
    function = await start(
        "import time\ndef fetch(request): time.sleep(0.5)", timeout="100ms", threads=2
    )
    assert (await function.request()).status == 504


async def test_the_timeout_runs_anew_with_each_part_of_the_body(start: Start) -> None:
    function = await start(
        "async def fetch(request): return str(len(await request.body()))", timeout="200ms"
    )
    parts = iter(range(5))

    async def receive() -> Any:
        await asyncio.sleep(0.1)
        return {"type": "http.request", "body": b"x", "more_body": next(parts) < 4}

    assert (await function.request(receive=receive)).text == "5"


async def test_an_answer_that_began_may_take_its_time(start: Start) -> None:
    function = await start(
        """
        import asyncio

        async def fetch(request):
            async def slowly():
                for _ in range(4):
                    await asyncio.sleep(0.1)
                    yield b"."
            return slowly()
        """,
        timeout="200ms",
    )
    waiting: asyncio.Queue[Any] = asyncio.Queue()
    answer = await function.request(receive=waiting.get)
    assert (answer.status, answer.body) == (200, b"....")


BLOCKED = """
    import asyncio
    go = asyncio.Event()

    async def fetch(request):
        await go.wait()
        return "done"
"""


async def test_more_requests_than_allowed_are_refused(start: Start) -> None:
    function = await start(BLOCKED, concurrency=2)
    first = [asyncio.create_task(function.request()) for _ in range(2)]
    await asyncio.sleep(0)
    refused = await function.request()
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    sys.modules[function.engine.config.entry].go.set()
    assert [answer.text for answer in await asyncio.gather(*first)] == ["done", "done"]
    assert (await function.request()).text == "done"
    assert function.counts == {"requests": 4, "errors": 1}


async def websocket(function: Function, extensions: dict[str, Any]) -> list[Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    scope = http_scope("/", "GET", None)
    scope |= {"type": "websocket", "scheme": "ws", "subprotocols": [], "extensions": extensions}
    await function.application(scope, receive, send)
    return sent


@pytest.mark.parametrize("can_answer", [True, False])
async def test_a_refused_websocket(start: Start, can_answer: bool) -> None:
    function = await start(
        "async def app(scope, receive, send): raise ValueError", entry="{module}:app"
    )
    sent = await websocket(function, {"websocket.http.response": {}} if can_answer else {})
    if can_answer:
        assert sent[0]["type"] == "websocket.http.response.start"
        assert sent[0]["status"] == 500
    else:
        assert sent == [{"type": "websocket.close", "code": 1011, "reason": "ENGINE_FAILED"}]


async def test_a_websocket_that_fails_is_closed(start: Start) -> None:
    function = await start(
        """
        async def app(scope, receive, send):
            await send({"type": "websocket.accept"})
            raise ValueError
        """,
        entry="{module}:app",
    )
    assert await websocket(function, {}) == [
        {"type": "websocket.accept"},
        {"type": "websocket.close", "code": 1011},
    ]


async def test_handlers_answer_no_websockets(start: Start) -> None:
    function = await start("async def fetch(request): return ''")
    sent = await websocket(function, {"websocket.http.response": {}})
    assert sent[0]["status"] == 426


WATCHED = """
    import asyncio, logging, re, signal, sys, threading, time
    from unittest import mock
    from skerry.kinds.functions.watchdog import Watchdog

    logging.basicConfig(level=logging.INFO)

    def blocked_here():
        {block}

    async def main():
        watchdog = Watchdog(0.4, logging.getLogger("test"), lambda: {stuck})
        watchdog.start()
        await asyncio.sleep(0.6)
        blocked_here()
        await asyncio.sleep(1.2)
        watchdog.stop()
        await asyncio.sleep(1.2)

    asyncio.run(main())
"""


def run_watched(block: str, stuck: str = "False") -> subprocess.CompletedProcess[str]:
    source = textwrap.dedent(WATCHED).format(block=block, stuck=stuck)
    command = [sys.executable, "-c", source]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_the_watchdog_ends_a_process_whose_loop_is_blocked() -> None:
    done = run_watched("time.sleep(20)")
    assert done.returncode == 70
    assert "The event loop is blocked" in done.stderr
    assert "blocked_here" in done.stderr


def test_the_watchdog_ends_a_process_whose_interpreter_is_held() -> None:
    done = run_watched("re.match(r'(a+)+$', 'a' * 34 + 'b')")
    assert done.returncode == 1
    assert "Timeout" in done.stderr
    assert "blocked_here" in done.stderr


def test_the_watchdog_ends_a_process_whose_threads_are_stuck() -> None:
    done = run_watched("pass", stuck="True")
    assert done.returncode == 70
    assert "Every thread is stuck" in done.stderr


def test_the_watchdog_ends_a_process_that_may_start_no_more_threads() -> None:
    done = run_watched(
        "threading.Thread.start = mock.Mock(side_effect=RuntimeError('no more'))",
        stuck="isinstance(threading.Thread.start, mock.Mock)",
    )
    assert done.returncode == 70, done.stderr
    assert "Every thread is stuck" in done.stderr


def test_the_watchdog_leaves_a_loop_that_runs_alone() -> None:
    done = run_watched("time.sleep(0.15)")
    assert (done.returncode, done.stderr) == (0, "")


async def test_threads_that_are_all_stuck_are_noticed(start: Start) -> None:
    function = await start(
        """
        import threading
        go = threading.Event()

        def fetch(request):
            go.wait(30)
            return ""
        """,
        timeout="100ms",
        threads=2,
    )
    pool = function.engine._pool
    assert pool is not None
    function.engine._watchdog.stop()  # type: ignore[union-attr]
    await function.request()
    assert not pool.is_stuck()
    await function.request()
    await asyncio.sleep(0.02)
    assert pool.is_stuck()
    sys.modules[function.engine.config.entry].go.set()
    await asyncio.sleep(0.1)
    assert not pool.is_stuck()


async def test_a_thread_that_cannot_be_started_beside_a_stuck_one_is_noticed(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = await start(
        """
        import threading
        go, paths = threading.Event(), []

        def fetch(request):
            paths.append(request.url.path)
            if request.url.path == "/bomb":
                go.wait(30)
            return ""
        """,
        timeout="100ms",
        threads=2,
    )
    pool, module = function.engine._pool, sys.modules[function.engine.config.entry]
    assert pool is not None
    function.engine._watchdog.stop()  # type: ignore[union-attr]
    assert (await function.request("/bomb")).status == 504
    assert not pool.is_stuck(), "there is room for one more"
    with monkeypatch.context() as patch:
        patch.setattr("threading.Thread.start", Mock(side_effect=RuntimeError("no more threads")))
        assert (await function.request("/refused")).status == 500
    assert pool.is_stuck()
    assert (await function.request("/later")).status == 200
    assert not pool.is_stuck()
    module.go.set()
    await asyncio.sleep(0.05)
    assert module.paths == ["/bomb", "/later"], "who was told that it failed is not served later"
