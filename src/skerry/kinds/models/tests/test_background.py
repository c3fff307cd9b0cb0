"""Responses in the background, with the official client: fetched, cancelled, failed, bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError, InternalServerError, NotFoundError

from skerry.kinds.models.gateway import background
from skerry.kinds.models.tests.conftest import Rig, Start
from skerry.kinds.models.tests.test_openai_client import TEXT, client


@pytest.fixture
async def openai(rig: Rig) -> AsyncIterator[AsyncOpenAI]:
    async with client(rig) as made:
        yield made


async def until_done(openai: AsyncOpenAI, name: str) -> Any:
    async with asyncio.timeout(10):
        while True:
            found = await openai.responses.retrieve(name)
            if found.status not in ("queued", "in_progress"):
                return found
            await asyncio.sleep(0.01)


async def test_a_response_is_fetched_when_it_is_done_and_followed(
    rig: Rig, openai: AsyncOpenAI
) -> None:
    first = await openai.responses.create(model="one/slow", input="Hello", background=True)
    assert (first.status, first.background, first.output) == ("queued", True, [])
    assert (await openai.responses.retrieve(first.id)).status == "in_progress"
    assert "1 responses" in await rig.engine.busy()
    with pytest.raises(BadRequestError, match="before is queued"):
        await openai.responses.create(model="chat", input="And?", previous_response_id=first.id)
    rig.providers["one"].go_on.set()
    done = await until_done(openai, first.id)
    assert (done.status, done.output_text) == ("completed", TEXT)
    assert done.usage and done.usage.output_tokens == 5
    assert await rig.engine.busy() == ""
    await openai.responses.create(model="chat", input="And?", previous_response_id=first.id)
    said = [each["content"] for each in rig.providers["one"].bodies[-1]["messages"]]
    assert said == ["Hello", TEXT, "And?"]


async def test_one_is_cancelled_upstream_too_and_one_fails(rig: Rig, openai: AsyncOpenAI) -> None:
    slow = await openai.responses.create(model="one/slow", input="Hello", background=True)
    async with asyncio.timeout(10):
        while not rig.providers["one"].calls["slow"]:
            await asyncio.sleep(0.01)
    assert (await openai.responses.cancel(slow.id)).status == "cancelled"
    assert (await openai.responses.retrieve(slow.id)).status == "cancelled"
    await asyncio.wait_for(rig.providers["one"].gone.wait(), 10)
    assert (await openai.responses.cancel(slow.id)).status == "cancelled"
    failing = await openai.responses.create(model="one/refuser", input="Hello", background=True)
    found = await until_done(openai, failing.id)
    assert found.status == "failed"
    assert found.error and "that is not possible" in found.error.message
    plain = await openai.responses.create(model="chat", input="Hello")
    with pytest.raises(BadRequestError, match="in the background can be cancelled"):
        await openai.responses.cancel(plain.id)
    with pytest.raises(NotFoundError):
        await openai.responses.cancel("resp_nothing")


async def test_what_a_stop_broke_off_is_told_so(start: Start) -> None:
    async with start() as rig, client(rig) as openai:
        slow = await openai.responses.create(model="one/slow", input="Hi", background=True)
    async with start() as rig, client(rig) as openai:
        found = await openai.responses.retrieve(slow.id)
        assert found.status == "failed"
        assert found.error and "stopped" in found.error.message


async def test_they_are_bounded_and_malformed_ones_are_refused(
    openai: AsyncOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong: tuple[dict[str, Any], ...] = ({"store": False}, {"stream": True})
    for more in wrong:
        with pytest.raises(BadRequestError):
            await openai.responses.create(model="chat", input="Hi", background=True, **more)
    with pytest.raises(NotFoundError):
        await openai.responses.create(model="none/such", input="Hi", background=True)
    monkeypatch.setattr(background, "RUNNING_MAX", 1)
    slow = await openai.responses.create(model="one/slow", input="Hello", background=True)
    impatient = openai.with_options(max_retries=0)
    with pytest.raises(InternalServerError, match="Too many"):
        await impatient.responses.create(model="chat", input="Hello", background=True)
    await openai.responses.delete(slow.id)
    await openai.responses.create(model="chat", input="Hello", background=True)
