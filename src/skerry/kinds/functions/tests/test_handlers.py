"""Plain handlers: what they may be, what they may take and return."""

from __future__ import annotations

import pytest

from skerry.kernel.errors import SkerryError
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


async def test_x(start: Start) -> None:
    with pytest.raises(SkerryError):
        await start("import nothing_like_this")
