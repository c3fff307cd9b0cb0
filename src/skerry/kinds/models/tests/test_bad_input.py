"""Whatever is sent, the client is told what is wrong with it, and the gateway goes on."""

from __future__ import annotations

from typing import Any

import aiohttp
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skerry.kinds.models.gateway.sse import Events
from skerry.kinds.models.tests.conftest import Rig

PATHS = ("chat/completions", "completions", "embeddings", "responses")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["messages", "prompt", "input", "tools", "tool_choice", "stream", "stream_options", "n",
     "max_tokens", "max_completion_tokens", "response_format", "dimensions", "encoding_format",
     "instructions", "background", "previous_response_id", "text", "reasoning", "store",
     "max_output_tokens"]
)  # fmt: skip
MESSAGE = st.fixed_dictionaries(
    {}, optional={"role": JSON, "content": JSON, "tool_calls": JSON, "tool_call_id": JSON}
)


def samples() -> list[tuple[str, dict[str, Any]]]:
    """Return requests that are nearly right."""
    found: list[tuple[str, dict[str, Any]]] = []

    @settings(
        max_examples=160,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.sampled_from(PATHS),
        st.dictionaries(NAMES, JSON | st.lists(MESSAGE, max_size=3), max_size=5),
        st.booleans(),
    )
    def remember(path: str, body: dict[str, Any], usual: bool) -> None:
        if usual:
            body = {"messages": [{"role": "user", "content": "x"}], "prompt": "x", "input": "x"} | (
                body
            )
        found.append((path, {"model": "one/good", **body}))

    remember()
    return found


async def test_requests_that_are_nearly_right_break_nothing(rig: Rig) -> None:
    headers = {"Authorization": f"Bearer {rig.key}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        for path, body in samples():
            async with session.post(f"{rig.base_url}/{path}", json=body) as answer:
                told = await answer.read()
            assert answer.status < 500, (path, body, told)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'"x"', b"\xff", b"[" * 100_000, b'{"model": 7}', b"null"]
)
async def test_bodies_that_are_no_request(rig: Rig, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {rig.key}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{rig.base_url}/chat/completions", data=body) as answer,
    ):
        assert answer.status == 400
        assert (await answer.json())["error"]["type"] == "invalid_request_error"


async def test_what_is_not_there_is_a_404_and_without_a_key_nothing_is_told(rig: Rig) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{rig.base_url}/models") as answer:
            assert answer.status == 401
        headers = {"Authorization": f"Bearer {rig.key}"}
        for method, path, status in (
            ("GET", "nothing", 404),
            ("GET", "chat/completions", 405),
            ("DELETE", "responses/resp_x", 404),
            ("DELETE", "keys/nobody", 404),
        ):
            async with session.request(method, f"{rig.base_url}/{path}", headers=headers) as answer:
                assert answer.status == status, (method, path)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=20), max_size=8
    ),
    st.sampled_from(["\n", "\r\n"]),
    st.lists(st.integers(1, 30), min_size=1, max_size=40),
)
def test_events_are_found_however_they_are_cut(
    texts: list[str], newline: str, sizes: list[int]
) -> None:
    data = "".join(
        f": remark{newline}event: x{newline}data: {msgspec.json.encode(text).decode()}{newline * 2}"
        for text in texts
    ).encode()
    events, found, at = Events(), list[bytes](), 0
    for number in range(len(data)):
        size = sizes[number % len(sizes)]
        found += events.feed(data[at : at + size])
        at += size
        if at >= len(data):
            break
    found += events.end()
    assert [msgspec.json.decode(each) for each in found] == texts
