"""The endpoint as OpenAI's own Python client uses it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai import (
    AsyncOpenAI,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
)
from pydantic import BaseModel

from skerry.kinds.models import manifest as m
from skerry.kinds.models.tests.conftest import Rig
from skerry.kinds.models.tests.fake import THOUGHT, WORDS

TEXT = "".join(WORDS)
ASKED: Any = [{"role": "user", "content": "What are skerries?"}]
TOOLS: Any = [
    {
        "type": "function",
        "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}},
    }
]


def client(rig: Rig, key: str = "") -> AsyncOpenAI:
    return AsyncOpenAI(base_url=rig.base_url, api_key=key or rig.key, max_retries=0)


@pytest.fixture
async def openai(rig: Rig) -> AsyncIterator[AsyncOpenAI]:
    async with client(rig) as made:
        yield made


async def test_a_chat_completion_says_where_it_was_made(openai: AsyncOpenAI) -> None:
    raw = await openai.chat.completions.with_raw_response.create(model="chat", messages=ASKED)
    answer = raw.parse()
    assert answer.choices[0].message.content == TEXT
    assert answer.usage and answer.usage.total_tokens == 12
    assert raw.headers["x-skerry-provider"] == "one"
    assert raw.headers["x-skerry-country"] == "SE"
    assert raw.headers["x-skerry-evidence"] == "documented"
    assert raw.headers["x-skerry-policy"] == "terms"
    assert raw.headers["x-skerry-cost-micro-eur"] == str(math.ceil(7 * 0.0001 * 10000) + 10)


async def test_a_streamed_chat_completion_with_usage(openai: AsyncOpenAI) -> None:
    stream = await openai.chat.completions.create(
        model="chat", messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    parts = [part async for part in stream]
    assert "".join(p.choices[0].delta.content or "" for p in parts if p.choices) == TEXT
    assert parts[-1].usage and parts[-1].usage.completion_tokens == 5


async def test_usage_that_was_not_asked_for_is_kept_from_the_stream(
    rig: Rig, openai: AsyncOpenAI
) -> None:
    stream = await openai.chat.completions.create(model="chat", messages=ASKED, stream=True)
    parts = [part async for part in stream]
    assert all(part.choices for part in parts)
    assert not any(part.usage for part in parts)
    assert rig.meter.counts["output_tokens"] == 5, "it was asked for all the same, to count it"


@pytest.mark.parametrize("model", ["one/good", "one/odd"])
async def test_tool_calls(openai: AsyncOpenAI, model: str) -> None:
    answer = await openai.chat.completions.create(model=model, messages=ASKED, tools=TOOLS)
    call: Any = answer.choices[0].message.tool_calls and answer.choices[0].message.tool_calls[0]
    assert call.function.arguments == '{"location":"Visby"}'
    assert call.id and call.type == "function"


@pytest.mark.parametrize("model", ["one/good", "one/odd"])
async def test_streamed_tool_calls(openai: AsyncOpenAI, model: str) -> None:
    arguments, reason = "", None
    stream = await openai.chat.completions.create(
        model=model, messages=ASKED, tools=TOOLS, stream=True
    )
    async for part in stream:
        for call in part.choices[0].delta.tool_calls or ():
            assert call.index == 0
            arguments += (call.function and call.function.arguments) or ""
        reason = part.choices[0].finish_reason or reason
    assert (arguments, reason) == ('{"location":"Visby"}', "tool_calls")


class Rocks(BaseModel):
    rocks: int


async def test_a_json_schema(rig: Rig, openai: AsyncOpenAI) -> None:
    answer = await openai.chat.completions.parse(
        model="chat", messages=ASKED, response_format=Rocks
    )
    assert answer.choices[0].message.parsed == Rocks(rocks=3)
    assert rig.providers["one"].bodies[-1]["response_format"]["type"] == "json_schema"


async def test_a_text_completion_whole_and_streamed(openai: AsyncOpenAI) -> None:
    whole = await openai.completions.create(model="chat", prompt="Skerries")
    assert whole.choices[0].text == TEXT
    stream = await openai.completions.create(model="chat", prompt="Skerries", stream=True)
    assert "".join([part.choices[0].text async for part in stream if part.choices]) == TEXT


async def test_embeddings_come_as_the_client_decodes_them(openai: AsyncOpenAI) -> None:
    found = await openai.embeddings.create(model="one/good", input=["a", "bb"])
    assert [item.embedding[3] for item in found.data] == [1.0, 2.0]
    assert found.usage.prompt_tokens == 3


async def test_embeddings_are_shortened_and_scaled(openai: AsyncOpenAI) -> None:
    found = await openai.embeddings.create(model="one/good", input="a", dimensions=2)
    assert found.data[0].embedding == pytest.approx([0.6, 0.8])


async def test_models_are_listed(openai: AsyncOpenAI) -> None:
    names = [model.id async for model in await openai.models.list()]
    assert "chat" in names and "one/good" in names
    assert (await openai.models.retrieve("chat")).id == "chat"
    with pytest.raises(NotFoundError):
        await openai.models.retrieve("nothing")


async def test_a_response_and_one_that_follows_it(rig: Rig, openai: AsyncOpenAI) -> None:
    first = await openai.responses.create(model="chat", input="Hello", instructions="Be brief.")
    assert first.output_text == TEXT
    assert (await openai.responses.retrieve(first.id)).output_text == TEXT
    second = await openai.responses.create(
        model="chat", input="And?", previous_response_id=first.id, tools=[], max_output_tokens=50
    )
    assert second.usage and second.usage.output_tokens == 5
    sent = rig.providers["one"].bodies[-1]
    said = [(each["role"], each["content"]) for each in sent["messages"]]
    assert said == [("user", "Hello"), ("assistant", TEXT), ("user", "And?")]
    assert sent["max_tokens"] == 50
    await openai.responses.delete(first.id)
    with pytest.raises(NotFoundError):
        await openai.responses.retrieve(first.id)


async def test_a_streamed_response(openai: AsyncOpenAI) -> None:
    text, kinds = "", []
    async with openai.responses.stream(model="chat", input="Hello") as stream:
        async for event in stream:
            kinds.append(event.type)
            if event.type == "response.output_text.delta":
                text += event.delta
        final = await stream.get_final_response()
    assert text == final.output_text == TEXT
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"


async def test_thoughts_are_items_of_their_own(openai: AsyncOpenAI) -> None:
    whole: Any = await openai.responses.create(model="one/thinker", input="Hello")
    assert [item.type for item in whole.output] == ["reasoning", "message"]
    assert whole.output[0].content[0].text == THOUGHT and whole.output_text == TEXT
    assert whole.usage.output_tokens_details.reasoning_tokens == 3
    told = ""
    async with openai.responses.stream(
        model="one/thinker", input="Hello", reasoning={"summary": "auto"}
    ) as stream:
        async for event in stream:
            told += event.delta if event.type == "response.reasoning_summary_text.delta" else ""
        final: Any = await stream.get_final_response()
    assert told == final.output[0].summary[0].text == THOUGHT
    again = await openai.responses.create(
        model="chat", input="And?", previous_response_id=final.id, store=False
    )
    assert again.output_text == TEXT


async def test_what_is_left_of_a_rate_limit_stands_in_headers(rig: Rig) -> None:
    limits = m.KeyCreate("team", requests_per_minute=3, tokens_per_minute=9000)
    made = await rig.engine.word_key_create(limits)
    async with client(rig, made.api_key) as openai:
        ask = openai.chat.completions.with_raw_response.create
        for left in (2, 1, 0):
            raw = await ask(model="chat", messages=ASKED, max_tokens=50)
            assert raw.headers["x-ratelimit-limit-requests"] == "3"
            assert raw.headers["x-ratelimit-remaining-requests"] == str(left)
            assert raw.headers["x-ratelimit-limit-tokens"] == "9000"
            assert raw.headers["x-ratelimit-remaining-tokens"] == str(9000 - 12 * (3 - left))
            assert (
                raw.headers["x-ratelimit-reset-requests"] == raw.headers["x-ratelimit-reset-tokens"]
            )
        with pytest.raises(RateLimitError) as limited:
            await ask(model="chat", messages=ASKED)
        headers = limited.value.response.headers
        assert headers["x-ratelimit-remaining-requests"] == "0"
        assert 0 < int(headers["retry-after"]) <= 60
        rig.clock.seconds += 60
        with pytest.raises(RateLimitError, match="smaller max_tokens") as never:
            await ask(model="chat", messages=ASKED, max_tokens=9001)
        assert never.value.response.headers["x-should-retry"] == "false"
        stream = await ask(model="chat", messages=ASKED, stream=True, max_tokens=50)
        assert stream.headers["x-ratelimit-remaining-requests"] == "2"
        await stream.http_response.aclose()


async def test_a_response_calls_a_tool_and_reads_its_output(rig: Rig, openai: AsyncOpenAI) -> None:
    tools: Any = [{"type": "function", "name": "get_weather", "parameters": {}, "strict": False}]
    asked: Any = [{"role": "user", "content": "Weather?"}]
    first = await openai.responses.create(model="chat", input=asked, tools=tools)
    call: Any = first.output[0]
    assert (call.type, call.arguments) == ("function_call", '{"location":"Visby"}')
    output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    await openai.responses.create(
        model="chat", input=[*asked, call.model_dump(exclude={"status"}), output]
    )
    roles = [each["role"] for each in rig.providers["one"].bodies[-1]["messages"]]
    assert roles == ["user", "assistant", "tool"]


async def test_what_a_client_does_wrong_it_is_told(rig: Rig, openai: AsyncOpenAI) -> None:
    with pytest.raises(NotFoundError) as unknown:
        await openai.chat.completions.create(model="chatt", messages=ASKED)
    assert unknown.value.code == "model_not_found" and "chat" in unknown.value.message
    with pytest.raises(BadRequestError) as empty:
        await openai.chat.completions.create(model="chat", messages=[])
    assert empty.value.param == "messages"
    with pytest.raises(BadRequestError) as refused:
        await openai.chat.completions.create(model="one/refuser", messages=ASKED)
    assert refused.value.code == "bad_thing" and "one: that is" in refused.value.message
    async with client(rig, rig.key[:-1] + "x") as stranger:
        with pytest.raises(AuthenticationError):
            await stranger.models.list()
    assert rig.providers["one"].calls["good"] == 0


async def test_a_policy_that_forbids_every_route_is_a_403(rig: Rig, openai: AsyncOpenAI) -> None:
    rig.judge.countries = set()
    with pytest.raises(PermissionDeniedError) as denied:
        await openai.chat.completions.create(model="chat", messages=ASKED)
    assert denied.value.code == "policy_denied"
    assert denied.value.response.headers["x-skerry-policy"] == "terms"
    assert not rig.providers["one"].bodies and not rig.providers["two"].bodies


async def test_a_provider_that_limits_is_a_429_with_its_wait(openai: AsyncOpenAI) -> None:
    with pytest.raises(RateLimitError) as limited:
        await openai.chat.completions.create(model="one/limited", messages=ASKED)
    assert limited.value.response.headers["retry-after"] == "30"
