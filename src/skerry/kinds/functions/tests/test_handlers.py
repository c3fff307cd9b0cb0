"""Plain handlers: what they may be, what they may take and return."""

from __future__ import annotations

from typing import Any

import pytest

from skerry.kinds.functions.tests.conftest import Start


async def test_an_async_handler(start: Start) -> None:
    function = await start(
        """
        async def fetch(request, env):
            body = await request.body()
            return {"path": request.url.path, "body": body.decode(), "who": env.WHO}
        """,
        secrets={"WHO": "me"},
    )
    answer = await function.request("/a/b?c=d", "POST", body=(b"he", b"llo"))
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"path": "/a/b", "body": "hello", "who": "me"}
    assert function.counts == {"requests": 1}


async def test_a_blocking_handler_runs_beside_the_loop(start: Start) -> None:
    function = await start("""
        import contextvars, threading

        def fetch(request):
            return f"{threading.current_thread().name} {request.method} {request.content.decode()}"
    """)
    answer = await function.request("/", "PUT", body=(b"ab", b"c"))
    assert answer.text.startswith("handler_")
    assert answer.text.endswith("PUT abc")


async def test_a_blocking_handler_needs_the_body_to_fit(start: Start) -> None:
    function = await start("def fetch(request): return 'never'")
    answer = await function.request("/", "PUT", body=(bytes(1 << 20),) * 33)
    assert answer.status == 413


@pytest.mark.parametrize(
    ("expression", "status", "content_type", "body"),
    [
        ("'héllo'", 200, "text/plain; charset=utf-8", "héllo".encode()),
        ("b'x'", 200, "application/octet-stream", b"x"),
        ("[1, {'a': None}]", 200, "application/json", b'[1,{"a":null}]'),
        ("{'at': datetime(2030, 1, 1)}", 200, "application/json", b'{"at":"2030-01-01T00:00:00"}'),
        ("Point(1)", 200, "application/json", b'{"x":1}'),
        ("None", 204, None, b""),
        ("Response('<p>', 201, media_type='text/html')", 201, "text/html; charset=utf-8", b"<p>"),
    ],
)
async def test_what_a_handler_returns(
    start: Start, expression: str, status: int, content_type: str | None, body: bytes
) -> None:
    function = await start(f"""
        from dataclasses import dataclass
        from datetime import datetime
        from starlette.responses import Response

        @dataclass
        class Point:
            x: int

        async def fetch(request, env):
            return {expression}
    """)
    answer = await function.request()
    assert (answer.status, answer.headers.get("content-type")) == (status, content_type)
    assert answer.body == body


async def test_an_async_generator_streams(start: Start) -> None:
    function = await start("""
        async def fetch(request):
            async def parts():
                for number in range(3):
                    yield f"{number}\\n"
            return parts()
    """)
    answer = await function.request()
    assert [each.get("body") for each in answer.messages[1:]] == [b"0\n", b"1\n", b"2\n", b""]


async def test_a_value_of_no_known_type_is_an_error(start: Start, caplog: Any) -> None:
    function = await start("async def fetch(request): return object()")
    assert (await function.request()).status == 500
    assert "fetch returned a object; expected a Response" in caplog.text


async def test_a_class_with_methods(start: Start) -> None:
    function = await start(
        """
        class Web:
            def __init__(self):
                self.visits = 0

            async def fetch(self, request):
                self.visits += 1
                return {"visits": self.visits, "greeting": self.env.GREETING}
        """,
        entry="{module}:Web",
        vars={"GREETING": "hi"},
    )
    await function.request()
    assert (await function.request()).json() == {"visits": 2, "greeting": "hi"}


async def test_a_class_that_takes_env(start: Start) -> None:
    source = """
        class Web:
            def __init__(self, env):
                self.name = env.NAME

            def fetch(self, request, env):
                return self.name + env.NAME
    """
    function = await start(source, entry="{module}:Web", vars={"NAME": "n"})
    assert (await function.request()).text == "nn"


async def test_a_named_function(start: Start) -> None:
    function = await start("async def hello(request): return 'hi'", entry="{module}:hello")
    assert (await function.request()).text == "hi"


async def test_http_errors_of_a_handler(start: Start) -> None:
    function = await start("""
        from starlette.exceptions import HTTPException

        async def fetch(request):
            raise HTTPException(418, "short and stout", {"x-pot": "tea"})
    """)
    answer = await function.request()
    assert (answer.status, answer.text) == (418, "short and stout\n")
    assert answer.headers["x-pot"] == "tea"


async def test_handlers_without_fetch_answer_not_found(start: Start) -> None:
    function = await start("async def scheduled(event, env): pass")
    answer = await function.request()
    assert (answer.status, answer.text) == (404, "This function has no `fetch`.\n")
