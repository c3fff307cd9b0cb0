"""The gate answers nothing that the engine would not answer by the same bytes."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skerry.kernel.kind import Context, Head
from skerry.kinds.kv.claim import namespace_id, token
from skerry.kinds.kv.engine import KvEngine
from skerry.kinds.kv.gate import gate
from skerry.kinds.kv.wire import make
from skerry.testing.hosts import KEYS, RESOURCE_ID, answered, resource_of

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
AUTHORIZATIONS = st.sampled_from(
    [f"Bearer {_TOKEN}", f"bearer  {_TOKEN} ", f"Bearer {_TOKEN[:-1]}", f"Basic {_TOKEN}", ""]
) | st.text(st.characters(codec="latin-1"), max_size=40)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    method=st.sampled_from(["GET", "HEAD", "PUT", "DELETE", "POST"]),
    path=st.sampled_from(PATHS),
    presented=st.lists(AUTHORIZATIONS, max_size=2),
)
async def test_it_says_what_the_engine_says(
    engine: KvEngine, context: Context, method: str, path: str, presented: list[str]
) -> None:
    headers = tuple((b"authorization", each.encode("latin-1")) for each in presented)
    head = Head(method.encode(), path.encode(), b"", headers)
    answer = gate(head, resource_of(context), 0)
    right = bool(presented) and presented[0].strip()[-len(_TOKEN) :] == _TOKEN
    assert answer is not None or right
    if answer is not None:
        assert answer.status in (401, 404)
        assert answer == await answered(make(engine), head)
