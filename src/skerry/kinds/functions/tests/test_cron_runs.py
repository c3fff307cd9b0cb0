"""The word `trigger`: what the node calls when a cron expression is due."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from skerry.kernel.errors import SkerryError
from skerry.kinds.functions.manifest import TriggerParams
from skerry.kinds.functions.tests.conftest import Start

SCHEDULED = """
    seen = []

    async def scheduled(event, env):
        seen.append((event.cron, event.time.isoformat(), env.NAME))
"""


async def test_a_run(start: Start) -> None:
    function = await start(SCHEDULED, crons=["@daily"], vars={"NAME": "n"})
    params = TriggerParams(cron="@daily", time="2030-01-01T00:00:00Z")
    result = await function.engine.word_trigger(params)
    assert (result.cron, result.time) == ("@daily", "2030-01-01T00:00:00+00:00")
    assert sys.modules[function.engine.config.entry].seen == [
        ("@daily", "2030-01-01T00:00:00+00:00", "n")
    ]
    assert function.counts == {"runs": 1}


async def test_beside_an_app_and_without_async(start: Start) -> None:
    function = await start(
        """
        import threading
        seen = []

        async def app(scope, receive, send): ...

        def scheduled(event):
            seen.append(threading.current_thread().name)
        """,
        entry="{module}:app",
    )
    result = await function.engine.word_trigger(TriggerParams())
    assert result.cron == "manual"
    seen = sys.modules[function.engine.config.entry.partition(":")[0]].seen
    assert seen[0].startswith("handler_")


async def test_a_failed_run_is_told_and_logged(start: Start, caplog: Any) -> None:
    function = await start("async def scheduled(event): raise TimeoutError('upstream')")
    with pytest.raises(SkerryError) as caught:
        await function.engine.word_trigger(TriggerParams())
    assert (caught.value.code, caught.value.why) == ("ENGINE_FAILED", "TimeoutError: upstream")
    assert "Traceback" in caplog.text
    assert function.counts == {"runs": 1, "errors": 1}


async def test_a_run_has_a_time_limit(start: Start) -> None:
    source = "import asyncio\nasync def scheduled(event): await asyncio.sleep(60)"
    function = await start(source, cron_timeout="100ms")
    with pytest.raises(SkerryError, match="took longer than 100ms"):
        await function.engine.word_trigger(TriggerParams())


async def test_runs_of_one_expression_do_not_overlap(start: Start) -> None:
    source = """
        import asyncio
        go = asyncio.Event()

        async def scheduled(event):
            await go.wait()
    """
    function = await start(source, crons=["@daily", "@hourly"])
    first = asyncio.create_task(function.engine.word_trigger(TriggerParams(cron="@daily")))
    await asyncio.sleep(0)
    with pytest.raises(SkerryError, match="is not over"):
        await function.engine.word_trigger(TriggerParams(cron="@daily"))
    assert (await function.engine.status())["running"] == ["@daily"]
    sys.modules[function.engine.config.entry].go.set()
    await first
    await function.engine.word_trigger(TriggerParams(cron="@daily"))


async def test_mistakes(start: Start) -> None:
    function = await start(SCHEDULED, crons=["@daily", "@hourly"], vars={"NAME": "n"})
    with pytest.raises(SkerryError, match="several crons"):
        await function.engine.word_trigger(TriggerParams())
    with pytest.raises(SkerryError, match="is no time"):
        await function.engine.word_trigger(TriggerParams(cron="@daily", time="noon"))
    without = await start("async def fetch(request): ...")
    with pytest.raises(SkerryError, match="has no `scheduled`"):
        await without.engine.word_trigger(TriggerParams())
    with pytest.raises(SkerryError, match="has crons but no `scheduled`"):
        await start("async def fetch(request): ...", crons=["@daily"])


async def test_there_is_no_state(start: Start, tmp_path: Path) -> None:
    function = await start("async def fetch(request): return 'on'")
    await function.engine.prepare()
    await function.engine.freeze(atomic=True)
    assert (await function.request()).text == "on"
    await function.engine.thaw()
    with pytest.raises(SkerryError, match="cannot be exported"):
        await function.engine.export(tmp_path)
    with pytest.raises(SkerryError, match="cannot be imported"):
        await function.engine.restore(tmp_path)
    assert await function.engine.busy() == ""
