"""Apps of the frameworks that people use, as they are."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from skerry.kinds.functions.tests.conftest import Start, http_scope

STARLETTE = """
    from contextlib import asynccontextmanager
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse, StreamingResponse
    from starlette.routing import Route, WebSocketRoute
    from skerry import env

    events = []

    @asynccontextmanager
    async def lifespan(app):
        events.append("start " + env.NAME)
        yield {"pool": "p"}
        events.append("end")

    async def index(request):
        return JSONResponse({
            "env": request.state.env.NAME,
            "pool": request.state.pool,
            "url": str(request.url),
            "link": str(request.url_for("index")),
            "client": request.client.host,
        })

    async def stream(request):
        async def events():
            for number in range(3):
                yield f"data: {number}\\n\\n"
        return StreamingResponse(events(), media_type="text/event-stream")

    async def echo(socket):
        await socket.accept()
        text = await socket.receive_text()
        await socket.send_text(text + socket.state.env.NAME)
        await socket.close()

    app = Starlette(
        routes=[Route("/index", index), Route("/stream", stream), WebSocketRoute("/echo", echo)],
        lifespan=lifespan,
    )

    def make():
        return app
"""
FORWARDED = {
    "x-forwarded-prefix": "/@app/pr-1/web",
    "x-forwarded-proto": "https",
    "x-forwarded-host": "cloud.example:8443",
    "x-forwarded-for": "203.0.113.9",
}


@pytest.mark.parametrize("attribute", ["app", "make"])
async def test_starlette(start: Start, attribute: str) -> None:
    function = await start(STARLETTE, entry="{module}:" + attribute, vars={"NAME": "n"})
    answer = await function.request("/index", headers=FORWARDED)
    assert answer.json() == {
        "env": "n",
        "pool": "p",
        "url": "https://cloud.example:8443/@app/pr-1/web/index",
        "link": "https://cloud.example:8443/@app/pr-1/web/index",
        "client": "203.0.113.9",
    }
    assert (await function.request("/nothing")).status == 404


async def test_lifespan_runs_at_start_and_end(start: Start) -> None:
    import sys

    function = await start(STARLETTE, entry="{module}:app", vars={"NAME": "n"})
    events = sys.modules[function.engine.config.entry.partition(":")[0]].events
    assert events == ["start n"]
    await function.engine.stop()
    assert events == ["start n", "end"]


async def test_server_sent_events(start: Start) -> None:
    function = await start(STARLETTE, entry="{module}:app", vars={"NAME": "n"})
    waiting: asyncio.Queue[Any] = asyncio.Queue()
    waiting.put_nowait({"type": "http.request", "body": b"", "more_body": False})
    answer = await function.request("/stream", receive=waiting.get)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert [each.get("body") for each in answer.messages[1:-1]] == [
        b"data: 0\n\n",
        b"data: 1\n\n",
        b"data: 2\n\n",
    ]


async def test_websocket(start: Start) -> None:
    function = await start(STARLETTE, entry="{module}:app", vars={"NAME": "n"})
    sent: list[Any] = []
    messages: asyncio.Queue[Any] = asyncio.Queue()
    messages.put_nowait({"type": "websocket.connect"})
    messages.put_nowait({"type": "websocket.receive", "text": "hi "})

    async def send(message: Any) -> None:
        sent.append(message)

    scope = http_scope("/echo", "GET", FORWARDED)
    scope |= {"type": "websocket", "scheme": "ws", "subprotocols": [], "extensions": {}}
    await function.application(scope, messages.get, send)
    assert [each["type"] for each in sent] == [
        "websocket.accept",
        "websocket.send",
        "websocket.close",
    ]
    assert sent[1]["text"] == "hi n"
    assert scope["scheme"] == "wss"


async def test_fastapi(start: Start) -> None:
    function = await start(
        """
        from fastapi import FastAPI, Request
        from pydantic import BaseModel

        app = FastAPI()

        class Item(BaseModel):
            price: float

        @app.post("/items/{name}")
        async def item(name: str, item: Item, request: Request):
            return {"name": name, "price": item.price, "env": request.state.env.NAME}

        @app.get("/blocking")
        def blocking():
            return "done"
        """,
        entry="{module}:app",
        vars={"NAME": "n"},
    )
    json = {"content-type": "application/json"}
    answer = await function.request("/items/tea", "POST", json, (b'{"price": 2.5}',))
    assert answer.json() == {"name": "tea", "price": 2.5, "env": "n"}
    assert (await function.request("/items/tea", "POST", json, (b"{}",))).status == 422
    assert (await function.request("/blocking")).json() == "done"


DJANGO = """
    import sys
    from django.conf import settings

    if not settings.configured:
        settings.configure(
            ROOT_URLCONF=__name__, SECRET_KEY="s", ALLOWED_HOSTS=["*"], DEBUG=False
        )
    from django.core.asgi import get_asgi_application
    from django.core.wsgi import get_wsgi_application
    from django.http import JsonResponse
    from django.urls import path, set_urlconf

    def index(request, number):
        return JsonResponse({
            "path": request.path, "script": request.META["SCRIPT_NAME"], "number": number,
            "secure": request.is_secure(), "url": request.build_absolute_uri(),
            "body": request.body.decode(),
        })

    urlpatterns = [path("index/<int:number>", index)]
    settings.ROOT_URLCONF = __name__
    application = get_asgi_application()
    wsgi = get_wsgi_application()
"""


@pytest.mark.parametrize("attribute", ["application", "wsgi"])
async def test_django(start: Start, attribute: str) -> None:
    function = await start(DJANGO, entry="{module}:" + attribute)
    waiting: asyncio.Queue[Any] = asyncio.Queue()
    for message in (b"ab", True), (b"c", False):
        waiting.put_nowait({"type": "http.request", "body": message[0], "more_body": message[1]})
    answer = await function.request("/index/7", "POST", FORWARDED, receive=waiting.get)
    assert answer.json() == {
        "path": "/@app/pr-1/web/index/7",
        "script": "/@app/pr-1/web",
        "number": 7,
        "secure": True,
        "url": "https://cloud.example:8443/@app/pr-1/web/index/7",
        "body": "abc",
    }


async def test_wsgi_streams_and_closes(start: Start) -> None:
    import sys

    function = await start(
        """
        closed = []

        class Body:
            def __iter__(self):
                yield b"a"
                yield b""
                yield b"b"

            def close(self):
                closed.append(True)

        def app(environ, start_response):
            write = start_response("201 Created", [("X-Query", environ["QUERY_STRING"])])
            write(environ["skerry.env"].NAME.encode())
            return Body()
        """,
        entry="{module}:app",
        vars={"NAME": "n"},
    )
    answer = await function.request("/?q=1")
    assert (answer.status, answer.headers["x-query"], answer.body) == (201, "q=1", b"nab")
    assert sys.modules[function.engine.config.entry.partition(":")[0]].closed == [True]


async def test_a_raw_asgi_app_that_knows_no_lifespan(start: Start) -> None:
    function = await start(
        """
        async def app(scope, receive, send):
            assert scope["type"] == "http"
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": scope["root_path"].encode()})
        """,
        entry="{module}:app",
    )
    answer = await function.request("/x", headers={"x-forwarded-prefix": "/p%20q/"})
    assert answer.text == "/p q"
