"""Starting: what a wrong entry, a broken module and a name that is not given lead to."""

from __future__ import annotations

import io
import sys
import time
from typing import Any

import pytest

from skerry.kernel.errors import BUSY, SkerryError
from skerry.kinds.functions.tests.conftest import Start


@pytest.mark.parametrize(
    ("source", "entry", "message"),
    [
        ("x = 1", "no_such_module_of_users", "There is no module no_such_module_of_users"),
        ("import no_such_module_either", "{module}", "cannot be imported"),
        ("raise SystemExit(3)", "{module}", "cannot be imported"),
        ("def (", "{module}", "cannot be imported"),
        ("application = 1", "{module}:aplication", "has no 'aplication'"),
        ("app = 1", "{module}:app", "is a int, not an app"),
        ("app = 1", "{module}", "has neither `fetch` nor `scheduled`"),
        ("def app(a, b, c, d): pass", "{module}:app", "takes a, b, c, d"),
        ("class A: pass", "{module}:A", "has neither `fetch` nor `scheduled`"),
        ("def make(): return 1 / 0", "{module}:make", "failed as a factory"),
    ],
)
async def test_a_wrong_entry_is_a_clear_error(
    start: Start, source: str, entry: str, message: str
) -> None:
    with pytest.raises(SkerryError, match=message) as caught:
        await start(source, entry=entry)
    assert caught.value.why or caught.value.hint


async def test_the_nearest_name_is_offered(start: Start) -> None:
    with pytest.raises(SkerryError) as caught:
        await start("application = 1", entry="{module}:aplication")
    assert caught.value.why == "Did you mean application?"


async def test_the_traceback_of_a_broken_module_is_logged(start: Start, caplog: Any) -> None:
    with pytest.raises(SkerryError, match="cannot be imported") as caught:
        await start("def helper():\n    return {}['missing']\nhelper()")
    assert caught.value.why == "KeyError: 'missing'"
    assert "in helper" in caplog.text
    assert "in load" not in caplog.text


async def test_what_cannot_be_parsed_is_logged_with_its_line_alone(
    start: Start, caplog: Any
) -> None:
    with pytest.raises(SkerryError, match="cannot be imported"):
        await start("x = 1\ndef (")
    assert "line 2" in caplog.text
    assert "importlib" not in caplog.text


async def test_a_package_that_is_not_there_says_where_to_name_it(start: Start) -> None:
    with pytest.raises(SkerryError, match="cannot be imported") as caught:
        await start("import no_such_package_of_users")
    assert "no_such_package_of_users" in caught.value.why
    assert "requirements" in caught.value.hint


async def test_a_failing_lifespan_fails_the_start(start: Start) -> None:
    with pytest.raises(SkerryError, match="start-up failed") as caught:
        await start(
            """
            from contextlib import asynccontextmanager
            from starlette.applications import Starlette

            @asynccontextmanager
            async def lifespan(app):
                raise ValueError("no database")
                yield

            app = Starlette(lifespan=lifespan)
            """,
            entry="{module}:app",
        )
    assert caught.value.why == "ValueError: no database"


async def test_a_raw_lifespan_that_fails_after_listening(start: Start) -> None:
    source = """
        async def app(scope, receive, send):
            await receive()
            raise ValueError("late")
    """
    with pytest.raises(SkerryError, match="start-up failed") as caught:
        await start(source, entry="{module}:app")
    assert caught.value.why == "ValueError: late"


async def test_a_lifespan_that_never_starts(start: Start) -> None:
    source = """
        import asyncio

        async def app(scope, receive, send):
            await receive()
            await asyncio.sleep(60)
    """
    with pytest.raises(SkerryError, match="took longer than"):
        await start(source, entry="{module}:app", timeout="200ms")


async def test_env_is_there_while_the_module_is_imported(start: Start) -> None:
    function = await start(
        """
        from skerry import env

        NAME = env.db

        async def fetch(request):
            return NAME
        """,
        bindings={"db": "opened"},
    )
    assert (await function.request()).text == "opened"


async def test_an_unknown_name_of_env_names_the_file(start: Start, caplog: Any) -> None:
    function = await start(
        "async def fetch(request, env): return env.databse", bindings={"database": 1}
    )
    assert (await function.request()).status == 500
    assert "env has no 'databse'. Did you mean database?" in caplog.text
    assert "[functions.web] in skerry.toml" in caplog.text


async def test_a_binding_that_cannot_be_made_fails_the_start(start: Start) -> None:
    with pytest.raises(SkerryError, match="no driver"):
        await start("def fetch(): pass", bindings={"db": BUSY("no driver")})


async def test_one_name_for_two_things_is_refused(start: Start) -> None:
    with pytest.raises(SkerryError, match="db is given to web twice"):
        await start("def fetch(): pass", bindings={"db": 1}, vars={"db": "x"})


async def test_prints_reach_the_log_line_by_line(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(raw)))
    function = await start("async def fetch(request): print('seen'); return ''")
    await function.request()
    assert raw.getvalue() == b"seen\n"


async def test_it_starts_again_after_it_was_stopped(start: Start) -> None:
    function = await start("async def fetch(request, env): return env.NAME", vars={"NAME": "n"})
    await function.engine.stop()
    await function.engine.stop()
    await function.engine.start()
    assert (await function.request()).text == "n"


async def test_a_small_app_starts_at_little_cost(start: Start) -> None:
    costs = []
    for _ in range(5):
        before = time.thread_time()
        await start("async def fetch(request): return ''")
        costs.append(time.thread_time() - before)
    assert min(costs) < 0.05
