"""Fallback, retries, rests, cancelling and policy, with providers that misbehave."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from skerry.kinds.models.gateway.refusals import refusal, wait_seconds
from skerry.kinds.models.tests.conftest import Rig, Start
from skerry.kinds.models.tests.fake import WORDS


async def ask(rig: Rig, model: str, **more: Any) -> tuple[int, Any, dict[str, str]]:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], **more}
    headers = {"Authorization": f"Bearer {rig.key}"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{rig.base_url}/chat/completions", json=body, headers=headers) as answer,
    ):
        kind = answer.content_type
        found = await answer.json() if kind == "application/json" else await answer.text()
        return answer.status, found, {k.lower(): v for k, v in answer.headers.items()}


async def test_the_next_route_answers_when_one_fails(start: Start) -> None:
    async with start(aliases={"chat": ["one/broken", "two/second"]}, retries=0) as rig:
        status, _, headers = await ask(rig, "chat")
        assert (status, headers["x-skerry-provider"]) == (200, "two")
        assert headers["x-skerry-attempts"] == "2"
        await ask(rig, "chat")
        assert rig.providers["one"].calls["broken"] == 1, "it rests after a failure"
        rig.clock.seconds += 1.1
        await ask(rig, "chat")
        assert rig.providers["one"].calls["broken"] == 2
        rig.clock.seconds += 1.1
        await ask(rig, "chat")
        assert rig.providers["one"].calls["broken"] == 2, "each failure lets it rest longer"


async def test_a_streamed_call_falls_back_before_its_first_event(start: Start) -> None:
    aliases = {"chat": ["one/stillborn", "two/garbled", "two/second"]}
    async with start(aliases=aliases, retries=0) as rig:
        status, text, headers = await ask(rig, "chat", stream=True)
        assert (status, headers["x-skerry-model"]) == (200, "two/second")
        assert all(word in text for word in WORDS) and "[DONE]" in text


async def test_a_failing_route_is_tried_again(rig: Rig) -> None:
    rig.providers["one"].fail_times = 2
    status, _, headers = await ask(rig, "one/good")
    assert (status, headers["x-skerry-attempts"]) == (200, "3")


async def test_a_wait_that_the_provider_asks_for_is_kept(start: Start) -> None:
    async with start(aliases={"chat": ["one/limited", "two/second"]}) as rig:
        _, _, headers = await ask(rig, "chat")
        assert headers["x-skerry-provider"] == "two"
        rig.clock.seconds += 29
        await ask(rig, "chat")
        assert rig.providers["one"].calls["limited"] == 1
        rig.clock.seconds += 2
        await ask(rig, "chat")
        assert rig.providers["one"].calls["limited"] == 2


async def test_what_the_request_itself_is_refused_for_goes_nowhere_else(start: Start) -> None:
    async with start(aliases={"chat": ["one/refuser", "two/second"]}) as rig:
        status, found, _ = await ask(rig, "chat")
        assert (status, found["error"]["code"]) == (400, "bad_thing")
        assert not rig.providers["two"].bodies


async def test_a_key_that_a_provider_refuses_is_not_the_clients_fault(rig: Rig) -> None:
    status, found, _ = await ask(rig, "one/keyless")
    assert (status, found["error"]["code"]) == (502, "provider_key_refused")


async def test_a_missing_key_is_named(start: Start) -> None:
    async with start() as rig:
        status, found, _ = await ask(rig, "scaleway/llama-3.3-70b-instruct")
        assert (status, found["error"]["code"]) == (503, "provider_key_missing")
        assert "skerry secret set SCALEWAY_API_KEY" in found["error"]["message"]


async def test_no_prompt_leaves_the_allowed_area_even_as_fallback(start: Start) -> None:
    aliases = {"chat": ["one/broken", "far/good"]}
    async with start(aliases=aliases, retries=0) as rig:
        rig.judge.countries = {"SE", "FR"}
        status, found, _ = await ask(rig, "chat")
        assert status == 500 and "boom" in found["error"]["message"]
        assert not rig.providers["far"].bodies
        rig.judge.countries.add("US")
        rig.clock.seconds += 6
        status, _, headers = await ask(rig, "chat")
        assert (status, headers["x-skerry-country"]) == (200, "US")


async def test_a_refused_call_stands_in_the_log_and_costs_nothing(rig: Rig) -> None:
    rig.judge.countries = set()
    await ask(rig, "chat")
    (call,) = await rig.engine.word_log(_lines())
    assert (call.status, call.provider) == (403, "") and "not allow" in call.error
    assert not rig.meter.counts["calls"] and not rig.meter.counts["micro_eur"]


async def test_a_policy_that_changes_takes_hold_within_seconds(rig: Rig) -> None:
    assert (await ask(rig, "one/good"))[0] == 200
    rig.judge.countries = set()
    rig.clock.seconds += 5.1
    assert (await ask(rig, "one/good"))[0] == 403
    assert rig.providers["one"].calls["good"] == 1


async def test_a_client_that_goes_away_cancels_the_provider(rig: Rig) -> None:
    body = {"model": "one/slow", "stream": True, "messages": [{"role": "user", "content": "x"}]}
    headers = {"Authorization": f"Bearer {rig.key}"}
    async with aiohttp.ClientSession() as session:
        url = f"{rig.base_url}/chat/completions"
        answer = await session.post(url, json=body, headers=headers)
        first = await answer.content.readuntil(b"\n\n")
        assert first.startswith(b"data: "), "the first event passes at once"
        answer.close()
        async with asyncio.timeout(5):
            await rig.providers["one"].gone.wait()
    async with asyncio.timeout(5):
        while not (found := await rig.engine.word_log(_lines())):
            await asyncio.sleep(0.01)
    assert found[0].error == "the client went away"
    assert found[0].tokens.startswith("~"), "what had come is estimated and counted"


def _lines() -> Any:
    from skerry.kinds.models.manifest import LogParams

    return LogParams(1)


async def test_a_client_that_goes_away_before_the_answer_cancels_too(start: Start) -> None:
    async with start(first_seconds=30.0) as rig:
        body = {"model": "one/slow", "messages": [{"role": "user", "content": "x"}]}
        rig.providers["one"].fail_times = 1
        rig.providers["one"].retry_after = "9"
        headers = {"Authorization": f"Bearer {rig.key}"}
        async with aiohttp.ClientSession() as session:
            url = f"{rig.base_url}/chat/completions"
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await session.post(url, json=body, headers=headers)
        async with asyncio.timeout(5):
            while not await rig.engine.word_log(_lines()):
                await asyncio.sleep(0.01)
        assert rig.providers["one"].calls["slow"] == 1


async def test_a_stream_that_breaks_off_says_so(rig: Rig) -> None:
    status, text, _ = await ask(rig, "one/cut", stream=True)
    assert status == 200
    assert "stream_cut" in text and "[DONE]" not in text


async def test_answers_of_a_strange_shape_are_failures_of_the_provider(rig: Rig) -> None:
    status, found, _ = await ask(rig, "one/strange")
    assert (status, found["error"]["code"]) == (502, "bad_answer")
    status, text, _ = await ask(rig, "one/strange", stream=True)
    assert status == 502 or "bad_answer" in text


async def test_no_more_calls_run_at_a_provider_than_it_may_have(start: Start) -> None:
    async with start(aliases={"chat": ["far/slow", "two/second"]}) as rig:
        held = [asyncio.create_task(ask(rig, "chat", stream=True)) for _ in range(2)]
        async with asyncio.timeout(5):
            while rig.providers["far"].open < 2:
                await asyncio.sleep(0.01)
        _, _, headers = await ask(rig, "chat")
        assert headers["x-skerry-provider"] == "two"
        rig.providers["far"].go_on.set()
        for status, _, headers in await asyncio.gather(*held):
            assert (status, headers["x-skerry-provider"]) == (200, "far")
        _, _, headers = await ask(rig, "chat")
        assert headers["x-skerry-provider"] == "far", "it does not rest for that"


async def test_a_redirect_is_not_followed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def redirect(path: str, asked: Any, receive: Any, send: Any) -> None:
        where = rig.providers["two"]
        assert not where.bodies
        headers = [(b"location", b"http://127.0.0.1:9/v1/chat/completions")]
        await send({"type": "http.response.start", "status": 307, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    monkeypatch.setattr(rig.providers["one"], "_answer", redirect)
    status, found, _ = await ask(rig, "one/good")
    assert status == 502 and "redirects" in found["error"]["message"]


async def test_each_provider_gets_its_own_key_and_no_other(rig: Rig) -> None:
    await ask(rig, "one/good")
    await ask(rig, "two/good")
    await ask(rig, "far/good")
    sent = {name: fake.headers[-1] for name, fake in rig.providers.items()}
    assert sent["one"]["authorization"] == "Bearer secret-one"
    assert sent["two"]["authorization"] == "Bearer secret-two"
    assert "authorization" not in sent["far"]


async def test_the_limit_on_tokens_is_said_as_the_provider_knows_it(rig: Rig) -> None:
    await ask(rig, "one/good", max_completion_tokens=9)
    sent = rig.providers["one"].bodies[-1]
    assert sent["max_tokens"] == 9 and "max_completion_tokens" not in sent


async def test_roles_that_providers_do_not_know_are_said_otherwise(rig: Rig) -> None:
    messages = [{"role": "developer", "content": "x"}, {"role": "user", "content": "y"}]
    await ask(rig, "one/good", messages=messages)
    assert rig.providers["one"].bodies[-1]["messages"][0]["role"] == "system"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "1500", "retry-after": "7"}, 1.5),
        ({"retry-after": "Fri, 27 Nov 2026 10:00:10 GMT"}, 10.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "999999"}, 3600.0),
        ({"x-ratelimit-reset-requests": "1m30s"}, 90.0),
        ({"x-ratelimit-reset-tokens": "250ms"}, 0.25),
        ({"x-ratelimit-reset": "1795773620"}, 20.0),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    found = wait_seconds(headers, 1795773600.0)
    assert found == (seconds if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": {"message": "no"}}', "p: no"),
        (b'{"error": "no"}', "p: no"),
        (b'{"detail": "no"}', "p: no"),
        (b'{"message": "no"}', "p: no"),
        (b'{"detail": [{"msg": "no"}]}', 'p: [{"msg":"no"}]'),
        (b'{"errors": [{"code": 7, "message": "no"}]}', "p: no"),
        (b'[{"error": {"message": "no"}}]', "p: no"),
        (b"plain words", "p: plain words"),
        (b"<html>oops</html>", "p: it answered 418"),
        (b"", "p: it answered 418"),
        (b"\xff\xfe", "p: \ufffd\ufffd"),
        (b"null", "p: None"),
    ],
)
def test_refusals_in_many_shapes(body: bytes, message: str) -> None:
    assert refusal(418, body, "p").message == message
