"""The gate answers nothing that the engine would not answer by the same bytes."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skerry.kernel.kind import Context, Head
from skerry.kinds.kv.claim import namespace_id, token
from skerry.kinds.kv.engine import KvEngine
from skerry.kinds.kv.gate import gate
from skerry.kinds.kv.wire import make
from skerry.testing.gating import answer_alike, bearers
from skerry.testing.hosts import KEYS, RESOURCE_ID, resource_of

_TOKEN = token(RESOURCE_ID, KEYS)
_BASE = "/client/v4/accounts/a/storage/kv/namespaces"
PATHS = (
    "/",
    _BASE,
    f"{_BASE}/{namespace_id(RESOURCE_ID)}/keys",
    f"{_BASE}/{namespace_id(RESOURCE_ID)}/values/a%2Fb",
    f"{_BASE}/{'1' * 32}/keys",
    f"{_BASE}//keys",
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    method=st.sampled_from(["GET", "HEAD", "PUT", "DELETE", "POST"]),
    path=st.sampled_from(PATHS),
    presented=bearers(_TOKEN),
)
async def test_it_says_what_the_engine_says(
    engine: KvEngine, context: Context, method: str, path: str, presented: list[str]
) -> None:
    headers = tuple((b"authorization", each.encode("latin-1")) for each in presented)
    head = Head(method.encode(), path.encode(), b"", headers)
    alike = answer_alike(gate, make(engine), resource_of(context), head, _TOKEN)
    assert await alike in (0, 401, 404)
