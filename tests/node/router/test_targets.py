"""The router: where requests go."""

from __future__ import annotations

import pytest
from tests.node.router.scene import (
    CLOSE,
    HELLO,
    Scene,
    get,
    problem,
    status,
)


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
