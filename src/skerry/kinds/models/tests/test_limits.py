"""Keys and their limits: exact under concurrency, and after a crash."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.kernel.errors import SkerryError
from skerry.kinds.models import manifest as m
from skerry.kinds.models.gateway.quota import ExceededError, Quota, minute, month
from skerry.kinds.models.state.limits import Period
from skerry.kinds.models.tests.conftest import Rig, again

MINUTE = 60 * 1_000_000_000


async def post(rig: Rig, key: str, path: str = "/chat/completions", **more: Any) -> Any:
    body = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}], **more}
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(rig.base_url + path, json=body, headers=headers) as answer,
    ):
        return answer.status, await answer.json(), answer.headers


async def make(rig: Rig, name: str = "team", **limits: Any) -> str:
    return (await rig.engine.word_key_create(m.KeyCreate(name, **limits))).api_key


async def test_requests_a_minute_hold_exactly_under_concurrency(rig: Rig) -> None:
    key = await make(rig, requests_per_minute=10)
    found = await asyncio.gather(*(post(rig, key) for _ in range(40)))
    assert sorted(status for status, _, _ in found) == [200] * 10 + [429] * 30
    refused = next(answer for answer in found if answer[0] == 429)
    assert refused[1]["error"]["code"] == "rate_limit_exceeded"
    assert 0 < int(refused[2]["retry-after"]) <= 60
    rig.clock.seconds += 60
    assert (await post(rig, key))[0] == 200


async def test_a_budget_is_never_exceeded_however_many_call_at_once(rig: Rig) -> None:
    key = await make(rig, budget=0.01, period=Period.EVER)
    found = await asyncio.gather(*(post(rig, key, max_tokens=50) for _ in range(60)))
    spent = rig.meter.counts["micro_eur"]
    assert 0 < spent <= 10_000
    assert {status for status, _, _ in found} == {200, 429}
    assert spent == 17 * sum(status == 200 for status, _, _ in found)
    state = rig.engine.keyring.find(3)
    assert state and state.quotas["budget"].used == spent


async def test_a_budget_survives_a_crash_and_is_never_exceeded_by_it(rig: Rig) -> None:
    key = await make(rig, budget=0.01, period=Period.EVER)
    for _ in range(3):
        assert (await post(rig, key, max_tokens=50))[0] == 200
    other = again(rig.context)  # the state as it lies, without a clean stop
    await other.start()
    state = other.keyring.find(3)
    assert state
    assert 3 * 17 <= state.quotas["budget"].used <= 10_000
    await other.stop()


async def test_after_a_clean_stop_what_was_used_is_exact(rig: Rig) -> None:
    key = await make(rig, budget=1.0, period=Period.EVER)
    await post(rig, key)
    await rig.engine.keyring.settle_leases()
    other = again(rig.context)
    await other.start()
    state = other.keyring.find(3)
    assert state and state.quotas["budget"].used == 17
    await other.stop()


async def test_a_call_that_the_budget_does_not_cover_goes_nowhere(rig: Rig) -> None:
    key = await make(rig, budget=0.000001)
    status, found, headers = await post(rig, key)
    assert (status, found["error"]["code"]) == (429, "insufficient_quota")
    assert headers["x-should-retry"] == "false"
    assert not rig.providers["one"].bodies


async def test_a_budget_needs_a_price(rig: Rig) -> None:
    key = await make(rig, budget=1.0)
    status, found, _ = await post(rig, key, model="one/unpriced")
    assert (status, found["error"]["code"]) == (400, "price_unknown")
    assert (await post(rig, rig.key, model="one/unpriced"))[0] == 200


@pytest.mark.parametrize("model", ["one/liar", "one/quiet"])
async def test_a_provider_that_lies_about_usage_is_not_believed(rig: Rig, model: str) -> None:
    key = await make(rig, budget=1.0)
    status, found, _ = await post(rig, key, model=model, max_tokens=20)
    assert status == 200
    usage = found["usage"]
    assert 0 < usage["completion_tokens"] <= 20 and 0 < usage["prompt_tokens"] < 100
    assert rig.meter.counts["micro_eur"] < 100


async def test_a_key_is_only_for_its_models_and_ends(rig: Rig) -> None:
    key = await make(rig, models="chat, two/second")
    assert (await post(rig, key))[0] == 200
    assert (await post(rig, key, model="one/good"))[0] == 403
    await rig.engine.word_key_revoke(m.KeyNamed("team"))
    assert (await post(rig, key))[0] == 401
    with pytest.raises(SkerryError):
        await rig.engine.word_key_revoke(m.KeyNamed("owner"))


async def test_only_the_owner_makes_keys(rig: Rig) -> None:
    key = await make(rig)
    status, _, _ = await post(rig, key, "/keys")
    assert status == 403
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {rig.key}"}) as session:
        async with session.post(f"{rig.base_url}/keys", json={"key": "web"}) as answer:
            made = await answer.json()
        assert (await post(rig, made["api_key"]))[0] == 200
        async with session.get(f"{rig.base_url}/keys") as answer:
            names = [each["key"] for each in (await answer.json())["data"]]
        assert names == ["owner", "app", "team", "web"]
        assert (await session.delete(f"{rig.base_url}/keys/web")).status == 200
    assert (await post(rig, made["api_key"]))[0] == 401


async def test_a_limit_that_is_changed_keeps_what_was_used(rig: Rig) -> None:
    key = await make(rig, requests_per_minute=5)
    for _ in range(5):
        await post(rig, key)
    await rig.engine.word_key_limit(m.KeyCreate("team", requests_per_minute=6))
    assert [(await post(rig, key))[0] for _ in range(2)] == [200, 429]


async def _saved(quota: Quota, window: int, amount: int) -> None:
    await asyncio.sleep(0)


@settings(max_examples=60, deadline=None)
@given(
    limit=st.integers(1, 1000),
    steps=st.lists(
        st.tuples(st.integers(0, 400), st.integers(0, 400), st.integers(0, MINUTE)), max_size=30
    ),
)
def test_no_order_of_calls_exceeds_a_quota(limit: int, steps: list[tuple[int, int, int]]) -> None:
    quota = Quota(1, "tokens", limit, minute, _saved)
    now, used, window = 0, 0, 0
    for amount, actual, later in steps:
        now += later
        if now // MINUTE > window:
            window, used = now // MINUTE, 0
        try:
            taken = quota.take(amount, now)
        except ExceededError as error:
            assert used + amount > limit and error.retry_seconds <= 60
            continue
        assert used + amount <= limit
        quota.settle(taken, min(actual, amount))
        used += min(actual, amount)
        assert quota.left(now) == limit - used


async def test_a_lease_is_durable_before_a_call_goes_on() -> None:
    saved: list[int] = []

    async def save(quota: Quota, window: int, amount: int) -> None:
        await asyncio.sleep(0.001)
        saved.append(amount)

    quota = Quota(1, "budget", 1000, month, save)
    for _ in range(20):
        quota.take(10, 0)
        await quota.secure()
        assert saved[-1] >= quota.used
    assert len(saved) < 10, "not every call waits for the disk"


def test_months_follow_the_calendar() -> None:
    december = 1_797_000_000 * 1_000_000_000
    assert month(december).number + 1 == month(month(december).ends).number
    assert month(month(december).ends - 1).number == month(december).number
