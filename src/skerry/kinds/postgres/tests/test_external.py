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
from skerry.kinds.postgres.tunnel import Source


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


async def test_sessions_go_to_the_server_that_takes_writes(
    node: Node, engine: EngineProcess, outside: EngineProcess
) -> None:
    """As behind Patroni: one DSN names every member, and the leader is another one now and then."""
    direct = await asyncpg.connect(**engine.connection())
    password = engine.keys.secret("password")
    await direct.execute("ALTER DATABASE app SET default_transaction_read_only = on")
    dead = engine.run / "nobody"
    outside.secrets = {
        "DSN": f"postgresql://app:{password}@/app?host={dead},{engine.run},{dead}"
        "&target_session_attrs=read-write"
    }
    with pytest.raises(asyncpg.PostgresError, match="takes no writes"):
        await asyncpg.connect(node.dsn(outside, "outside"))
    await direct.execute("BEGIN READ WRITE; ALTER DATABASE app RESET ALL; COMMIT")
    connection = await asyncpg.connect(node.dsn(outside, "outside"))
    await connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
    assert await connection.fetchval("SELECT n FROM kept") == 1
    await connection.close()
    await direct.close()


def test_a_dsn_may_name_several_servers() -> None:
    found = Source.parse("postgres://u:p@a:1,[::1]:2,c/d?target_session_attrs=primary")
    assert found.places == (("a", 1), ("::1", 2), ("c", 5432))
    assert found.writes and found.at(found.places[1]).host == "::1"
    assert not Source.parse("postgres://u:p@a/d").writes
    for wrong in ("postgres://u:p@a:1,b/d?port=1,2,3", "postgres://u:p@,b/d", "postgres://u@a:b/d"):
        with pytest.raises(SkerryError):
            Source.parse(wrong)


@pytest.mark.parametrize(
    ("branch", "secrets", "code", "hint"),
    [
        ("pr-1", {"DSN": "postgresql://a@b/c"}, "UNSUPPORTED", "skerry postgres import"),
        ("main", {}, "CONFIG_INVALID", 'In [postgres.db]: secrets = ["DSN"].'),
    ],
)
async def test_a_branch_or_a_missing_secret_is_refused(
    tmp_path: Path, branch: str, secrets: dict[str, str], code: str, hint: str
) -> None:
    engine = EngineProcess(tmp_path, external=True, dsn_secret="DSN")
    engine.ref = ResourceRef("newsroom", branch, "postgres", "db")
    engine.secrets = secrets
    with pytest.raises(SkerryError) as caught:
        await engine.start()
    assert caught.value.code == code
    assert hint in caught.value.hint
    await engine.close()


def test_an_app_file_that_names_no_dsn_is_wrong() -> None:
    text = '[app]\nname = "news"\n\n[postgres.db]\nexternal = true\n'
    with pytest.raises(SkerryError) as caught:
        parse(text, {"postgres": MANIFEST})
    assert caught.value.what.startswith("skerry.toml line 5: postgres.db.external:")
    assert "dsn_secret" in caught.value.why
