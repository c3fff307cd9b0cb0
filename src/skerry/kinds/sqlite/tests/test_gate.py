"""The gate answers nothing that the engine would not answer by the same bytes."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skerry.kernel.kind import Context, Head
from skerry.kinds.sqlite.claim import database_id, token
from skerry.kinds.sqlite.engine import SqliteEngine
from skerry.kinds.sqlite.gate import gate
from skerry.kinds.sqlite.wire import make
from skerry.testing.gating import answer_alike, bearers
from skerry.testing.hosts import KEYS, RESOURCE_ID, resource_of

_TOKEN = token(RESOURCE_ID, KEYS)
_D1 = f"/client/v4/accounts/a/d1/database/{database_id(RESOURCE_ID)}"
PATHS = ("/", "/v2", "/v3/", "/v%32", "/v2/pipeline", "/v3/cursor", "/x", f"{_D1}/query")


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "OPTIONS"]),
    path=st.sampled_from(PATHS),
    presented=bearers(_TOKEN),
)
async def test_it_says_what_the_engine_says(
    engine: SqliteEngine, context: Context, method: str, path: str, presented: list[str]
) -> None:
    headers = tuple((b"authorization", each.encode("latin-1")) for each in presented)
    head = Head(method.encode(), path.encode(), b"", headers)
    alike = answer_alike(gate, make(engine), resource_of(context), head, _TOKEN)
    assert await alike in (0, 200, 401)


@pytest.mark.parametrize("path", ["/", "/v2/pipeline"])
def test_a_websocket_is_let_in_to_say_hello(context: Context, path: str) -> None:
    head = Head(b"GET", path.encode(), b"", ((b"upgrade", b"websocket"),))
    assert gate(head, resource_of(context), 0) is None
