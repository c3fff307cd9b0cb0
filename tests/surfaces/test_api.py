"""The HTTP API: who is let in, shapes, limits, streams, and what describes it."""

from __future__ import annotations

import asyncio
import json
import socket
import time

import msgspec
import pytest
from openapi_spec_validator import validate
from tests.surfaces.conftest import FakeNode, Served

from skerry.kernel import commands as c
from skerry.kernel.errors import NOT_FOUND, PROBLEMS, SkerryError
from skerry.surfaces.api import Limits, make_api, openapi

LINES = "application/x-ndjson"


@pytest.mark.parametrize("path", ["/v1/node.status", "/v1/uploads", "/v1/logins"])
@pytest.mark.parametrize("token", ["", "Bearer wrong", "Bearer \xe9", "Basic x"])
def test_every_command_wants_a_token(served: Served, path: str, token: str) -> None:
    answer = served.ask("POST", path, "{}", Authorization=token)
    assert answer.status == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert json.loads(answer.body)["code"] == "UNAUTHENTICATED"
    assert not served.node.calls


def test_health_is_open(served: Served) -> None:
    assert json.loads(served.ask("GET", "/healthz").body) == {"ok": True}


def test_a_command_answers_json(served: Served) -> None:
    answer = served.ask("POST", "/v1/app.list", "", Authorization=served.token)
    assert answer.status == 200
    assert json.loads(answer.body)[0]["name"] == "newsroom"
    assert served.node.calls == [("app.list", c.Nothing(), "operator")]


@pytest.mark.parametrize(
    ("command", "body", "word"),
    [
        ("app.list", "{", "JSON"),
        ("app.list", '{"x": 1}', "x"),
        ("branch.create", '{"app": "newsroom"}', "name"),
        ("branch.create", '{"app": 1, "name": "x"}', "app"),
        ("notes.put", '{"name": "wall", "app": "newsroom", "params": {"key": "k"}}', "value"),
    ],
)
def test_bad_parameters_are_refused(served: Served, command: str, body: str, word: str) -> None:
    answer = served.ask("POST", f"/v1/{command}", body, Authorization=served.token)
    shape = json.loads(answer.body)
    assert (answer.status, shape["code"]) == (400, "INVALID")
    assert word in shape["what"]
    assert not served.node.calls


def test_an_unknown_command_names_the_nearest(served: Served) -> None:
    answer = served.ask("POST", "/v1/branch.crate", "{}", Authorization=served.token)
    assert answer.status == 404
    assert json.loads(answer.body)["why"] == "Did you mean branch.create?"


def test_a_word_of_a_kind_is_validated_and_filled(served: Served) -> None:
    body = '{"name": "wall", "app": "newsroom", "params": {"key": "k", "value": "v"}}'
    answer = served.ask("POST", "/v1/notes.put", body, Authorization=served.token)
    assert json.loads(answer.body) == {"key": "k", "value_bytes": 1}
    (_, call, _) = served.node.calls[0]
    assert call.params == {"key": "k", "value": "v", "tags": (), "times": 1}
    assert call.branch == "main"


def test_progress_comes_before_the_result(served: Served) -> None:
    seen: list[tuple[int, int, str]] = []
    found = served.client.call("app.list", {}, lambda *step: seen.append(step))
    assert found[0]["name"] == "newsroom"
    assert seen == [(1, 2, "half of it")]


def test_errors_come_as_the_last_line(served: Served) -> None:
    with pytest.raises(SkerryError) as failed:
        served.client.call("resource.connect", {"name": "x", "app": "newsroom"})
    assert failed.value.problem is NOT_FOUND
    assert failed.value.hint == "skerry resource list"


def test_a_defect_tells_no_secrets(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_params: object) -> None:
        raise RuntimeError("the password is tuna")

    monkeypatch.setattr(served.node, "on_app_list", fail)
    answer = served.ask("POST", "/v1/app.list", "", Authorization=served.token)
    assert answer.status == 500
    assert "tuna" not in answer.text
    with pytest.raises(SkerryError) as failed:
        served.client.call("app.list", {})
    assert "tuna" not in failed.value.what


def test_a_stream_ends_with_its_reader(served: Served) -> None:
    records = served.client.stream("node.logs", {"app": "newsroom", "follow": True})
    assert [next(records)["text"] for _ in range(4)][:2] == [
        "GET /stories/0 200",
        "GET /stories/1 200",
    ]
    records.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 5
    while not served.node.closed_streams and time.monotonic() < deadline:
        time.sleep(0.01)
    assert served.node.closed_streams == 1


def test_a_mutation_is_finished_though_its_client_left(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, finished = [], []

    async def slow(command: c.Command, params: object, principal: str, progress: object) -> c.Done:
        started.append(command.name)
        await asyncio.sleep(0.2)
        finished.append(command.name)
        return c.Done("done")

    monkeypatch.setattr(served.node, "perform", slow)
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(served.node.home.socket))
    head = f"POST /v1/branch.wake HTTP/1.1\r\nHost: x\r\nAuthorization: {served.token}\r\n"
    body = '{"app":"newsroom"}'
    client.sendall(f"{head}Accept: {LINES}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    deadline = time.monotonic() + 20
    while not started and time.monotonic() < deadline:
        time.sleep(0.01)
    client.close()
    while not finished and time.monotonic() < deadline:
        time.sleep(0.01)
    assert finished == ["branch.wake"]


def test_uploads_and_downloads(served: Served) -> None:
    assert served.client.upload([b"a" * 70_000, b"b"]) == "up0"
    assert served.node.uploads["up0"] == b"a" * 70_000 + b"b"
    served.node.downloads["x"] = b"bytes"
    assert b"".join(served.client.download("x")) == b"bytes"
    with pytest.raises(SkerryError) as failed:
        list(served.client.download("nothing"))
    assert failed.value.problem is NOT_FOUND


async def test_bodies_are_limited(served: Served) -> None:
    api = make_api(served.node, limits=Limits(body_bytes=64, upload_bytes=100, chunk_seconds=0.05))

    async def ask(path: str, chunks: list[bytes], length: str = "", *, stall: bool = False) -> int:
        waiting = list(chunks)
        sent = []

        async def receive() -> dict[str, object]:
            if not waiting and stall:
                await asyncio.sleep(5)
            body = waiting.pop(0) if waiting else b""
            more = bool(waiting) or stall
            return {"type": "http.request", "body": body, "more_body": more}

        async def send(message: dict[str, object]) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "query_string": b"",
            "headers": [
                (b"authorization", served.token.encode()),
                *([(b"content-length", length.encode())] if length else []),
            ],
        }
        await api(scope, receive, send)  # type: ignore[arg-type]
        status = sent[0]["status"]
        assert isinstance(status, int)
        return status

    assert await ask("/v1/app.list", [b" " * 65]) == 413
    assert await ask("/v1/app.list", [b" " * 40, b" " * 40]) == 413
    assert await ask("/v1/uploads", [b"x"], "101") == 413
    assert await ask("/v1/uploads", [b"x"], "-1") == 400
    assert await ask("/v1/uploads", [b"x" * 60, b"x" * 60]) == 413
    assert await ask("/v1/uploads", [b"x"], stall=True) == 504
    assert await ask("/v1/uploads", [b"x" * 100]) == 201


async def test_answers_at_once_are_limited(served: Served) -> None:
    api = make_api(served.node, limits=Limits(answers=0))
    sent = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    headers = [(b"authorization", served.token.encode())]
    scope = {"type": "http", "method": "POST", "path": "/v1/app.list", "headers": headers}
    await api({**scope, "query_string": b""}, receive, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == 503


def test_openapi_is_valid_and_whole(served: Served) -> None:
    answer = served.ask("GET", "/v1/openapi.json", Authorization=served.token)
    document = json.loads(answer.body)
    validate(document)
    assert {f"/v1/{name}" for name in served.node.commands} <= set(document["paths"])
    word = document["paths"]["/v1/notes.put"]["post"]["requestBody"]["content"]
    schema = word["application/json"]["schema"]
    assert schema["required"] == ["name", "app", "params"]
    assert document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"] == sorted(
        PROBLEMS
    )


def test_openapi_of_every_installed_kind_is_valid(served: Served) -> None:
    from skerry.surfaces.installed import manifests

    node = FakeNode(served.node.home)
    node.commands = c.commands(manifests())
    validate(json.loads(msgspec.json.encode(openapi.describe(node))))
