"""What is kept: the cache, the log, redaction, export and import."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from skerry.kernel.errors import SkerryError
from skerry.kinds.models import manifest as m
from skerry.kinds.models.checks import checks
from skerry.kinds.models.config import Keep
from skerry.kinds.models.state.redact import redact
from skerry.kinds.models.tests.conftest import Rig, Start
from skerry.kinds.models.tests.fake import WORDS

TEXT = "".join(WORDS)
LAST = m.LogParams(10)


async def post(rig: Rig, content: str = "Hi", **more: Any) -> tuple[str, dict[str, str]]:
    body = {"model": "chat", "messages": [{"role": "user", "content": content}], **more}
    headers = {"Authorization": f"Bearer {rig.key}", **more.pop("headers", {})}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{rig.base_url}/chat/completions", json=body, headers=headers) as answer,
    ):
        assert answer.status == 200, await answer.text()
        return await answer.text(), {k.lower(): v for k, v in answer.headers.items()}


async def test_equal_questions_are_answered_from_the_cache(start: Start) -> None:
    async with start(cache="1h") as rig:
        first, headers = await post(rig)
        assert "x-skerry-cache" not in headers
        second, headers = await post(rig)
        assert first.replace(" ", "") == second.replace(" ", "")
        assert headers["x-skerry-cache"] == "hit" and headers["x-skerry-provider"] == "one"
        await post(rig, "Something else")
        await post(rig, temperature=0)
        assert rig.providers["one"].calls["good"] == 3
        assert rig.meter.counts["cache_hits"] == 1
        rig.clock.seconds += 3601
        await post(rig)
        assert rig.providers["one"].calls["good"] == 4


async def test_a_streamed_answer_is_cached_and_streamed_from_the_cache(start: Start) -> None:
    async with start(cache="1h") as rig:
        first, _ = await post(rig, stream=True)
        assert TEXT not in first and "[DONE]" in first
        whole, headers = await post(rig)
        assert TEXT in whole and headers["x-skerry-cache"] == "hit"
        again, headers = await post(rig, stream=True, stream_options={"include_usage": True})
        assert TEXT in again and '"usage"' in again and again.endswith("data: [DONE]\n\n")
        assert rig.providers["one"].calls["good"] == 1


async def test_an_answer_that_broke_off_is_not_cached(start: Start) -> None:
    async with start(cache="1h") as rig:
        await post(rig, model="one/cut", stream=True)
        await post(rig, model="one/cut", stream=True)
        assert rig.providers["one"].calls["cut"] == 2


async def test_the_log_tells_every_call_and_by_default_no_text(rig: Rig) -> None:
    await post(rig, "my secret plan")
    await post(rig, "another", stream=True)
    found = await rig.engine.word_log(LAST)
    assert [(each.provider, each.country, each.status, each.tokens) for each in found] == [
        ("one", "SE", 200, "7+5")
    ] * 2
    assert found[0].rule == "terms" and found[0].key == "owner"
    assert not any(each.prompt or each.answer for each in found)


async def test_the_log_keeps_redacted_texts_if_it_is_told_to(start: Start) -> None:
    async with start(log=Keep.REDACTED) as rig:
        await post(rig, "Write to ada@example.org", stream=True)
        (call,) = await rig.engine.word_log(LAST)
        assert call.prompt == "user: Write to [e-mail]" and call.answer == TEXT


async def test_the_log_is_bounded(start: Start) -> None:
    async with start(log_rows=100) as rig:
        for _ in range(300):
            await rig.engine.database.do(_row)
        status = await rig.engine.status()
        assert 100 <= status["calls"] < 100 + 256


def _row(db: Any) -> None:
    from skerry.kinds.models.state import calls

    calls.write(db, calls.Call(0, 1, "chat", "good", "one", 200), 100)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("ada.lovelace+x@mail.example.org!", "[e-mail]!"),
        ("4111 1111 1111 1111 is one", "[card] is one"),
        ("SE45 5000 0000 0583 9825 7466", "[iban]"),
        ("key sk-proj-abcdefghijklmnop1234", "key [key]"),
        ("token ghp_abcdefghijklmnop1234", "token [key]"),
        ("from 192.168.10.7 today", "from [address] today"),
        ("call +46 70 123 45 67 now", "call [phone] now"),
        ("in 2026 we had 1234 rocks", "in 2026 we had 1234 rocks"),
    ],
)
def test_redaction(text: str, kept: str) -> None:
    assert redact(text) == kept


async def test_aliases_are_made_and_forgotten(rig: Rig) -> None:
    await rig.engine.word_alias_set(m.AliasSet("fast", "two/second, one/good"))
    _, headers = await post(rig, model="fast")
    assert headers["x-skerry-model"] == "two/second"
    listed = {each.alias: each.declared for each in await rig.engine.word_alias_list(m.Nothing())}
    assert listed == {"chat": True, "fast": False}
    await rig.engine.word_alias_delete(m.AliasNamed("fast"))
    for params in (m.AliasSet("chat", "one/good"), m.AliasSet("x", "nowhere/at-all")):
        with pytest.raises(SkerryError):
            await rig.engine.word_alias_set(params)


async def test_models_are_compared_side_by_side(rig: Rig) -> None:
    found = await rig.engine.word_ask(m.AskParams("Hi", "one/good,two/second,one/broken"))
    good, second, broken = found
    assert good.answer == second.answer == TEXT
    assert (good.country, second.country) == ("SE", "FR")
    assert good.output_tokens == 5 and good.euro == "0.000017"
    assert "boom" in broken.error and not broken.answer


async def test_an_export_has_everything_but_secrets(start: Start, tmp_path: Path) -> None:
    target = tmp_path / "export"
    target.mkdir()
    async with start() as rig:
        made = await rig.engine.word_key_create(m.KeyCreate("team", budget=2.0))
        await post(rig, "remember")
        await rig.engine.export(target)
        text = "".join(path.read_text() for path in target.iterdir())
        assert made.api_key.rpartition("_")[2] not in text and "secret-one" not in text
        before = rig.engine.list_keys()
        await rig.engine.word_key_create(m.KeyCreate("late"))
        await rig.engine.restore(target)
        assert rig.engine.list_keys() == before
        (target / "keys.ndjson").write_text("nonsense\n")
        with pytest.raises(SkerryError):
            await rig.engine.restore(target)
        assert rig.engine.list_keys() == before


async def test_without_its_client_the_gateway_says_what_to_install(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "skerry.kinds.models.gateway.gateway", None)
    with pytest.raises(SkerryError) as missing:
        async with start():
            pass
    assert missing.value.hint == 'pip install "skerry[models]"'


def test_the_doctor_tells_what_is_installed() -> None:
    found = {each.name: each for each in checks()}
    assert found["models"].ok
    for each in found.values():
        assert bool(each.hint) == each.detail.startswith("not installed")
