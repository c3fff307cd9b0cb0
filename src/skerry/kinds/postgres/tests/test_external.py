"""A database that stays elsewhere, through the node's port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import psycopg
import pytest

from skerry.kernel.app import parse
from skerry.kernel.errors import SkerryError
from skerry.kernel.names import ResourceRef
from skerry.kinds.postgres.manifest import MANIFEST
from skerry.kinds.postgres.tests.harness import EngineProcess
from skerry.kinds.postgres.tests.node import Node
from skerry.kinds.postgres.tests.test_front import cancel


@pytest.fixture
async def outside(
    node: Node, engine: EngineProcess, tmp_path: Path
) -> AsyncIterator[EngineProcess]:
    """An external resource, `newsroom/outside`, that leads to the database of another engine."""
    found = EngineProcess(tmp_path / "outside", "00000000000000ee", external=True, dsn_secret="DSN")
    password = engine.keys.secret("password")
    found.secrets = {"DSN": f"postgresql://app:{password}@/app?host={engine.run}"}
    found.ref = ResourceRef("outside", "main", "postgres", "db")
    node.awake[engine.id] = True
    node.add(found, app="outside")
    yield found


async def test_clients_reach_it_with_the_resources_own_password(
    node: Node, engine: EngineProcess, outside: EngineProcess
) -> None:
    connection = await asyncpg.connect(node.dsn(outside, "outside"))
    await connection.execute("CREATE TABLE t AS SELECT 7 AS n")
    direct = await asyncpg.connect(**engine.connection())
    assert await direct.fetchval("SELECT n FROM t") == 7
    await direct.close()
    await connection.close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(node.dsn(engine, "outside"))
    with pytest.raises(asyncpg.InvalidPasswordError):
        password = engine.keys.secret("password")
        await asyncpg.connect(host=str(outside.run), user="app", password=password, database="app")


async def test_cancel_and_pooler_work(node: Node, outside: EngineProcess) -> None:
    for label in ("outside", "outside-pooler"):
        dsn = node.dsn(outside, label)
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            running = asyncio.create_task(connection.execute("SELECT pg_sleep(60)"))
            await cancel(connection, running)
            with pytest.raises(psycopg.errors.QueryCanceled):
                await running


async def test_an_open_session_keeps_the_relay(node: Node, outside: EngineProcess) -> None:
    connection = await asyncpg.connect(node.dsn(outside, "outside"))
    assert "session" in await outside.call("busy")
    await connection.close()
    for _ in range(100):
        if not await outside.call("busy"):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the session has not ended")


async def test_what_is_refused_says_why(node: Node, outside: EngineProcess) -> None:
    outside.secrets = {"DSN": "postgresql://app:secret-word@127.0.0.1:1/app"}
    with pytest.raises(asyncpg.PostgresError, match="cannot be reached") as caught:
        await asyncpg.connect(node.dsn(outside, "outside"))
    assert caught.value.sqlstate == "08006"
    assert "secret-word" not in str(caught.value.as_dict())


@pytest.mark.parametrize(
    ("branch", "secrets", "code"),
    [("pr-1", {"DSN": "postgresql://a@b/c"}, "UNSUPPORTED"), ("main", {}, "CONFIG_INVALID")],
)
async def test_a_branch_or_a_missing_secret_is_refused(
    tmp_path: Path, branch: str, secrets: dict[str, str], code: str
) -> None:
    engine = EngineProcess(tmp_path, external=True, dsn_secret="DSN")
    engine.ref = ResourceRef("newsroom", branch, "postgres", "db")
    engine.secrets = secrets
    with pytest.raises(SkerryError) as caught:
        await engine.start()
    assert caught.value.code == code
    await engine.close()


def test_an_app_file_that_names_no_dsn_is_wrong() -> None:
    text = '[app]\nname = "news"\n\n[postgres.db]\nexternal = true\n'
    with pytest.raises(SkerryError) as caught:
        parse(text, {"postgres": MANIFEST})
    assert caught.value.what.startswith("skerry.toml line 5: postgres.db.external:")
    assert "dsn_secret" in caught.value.why
