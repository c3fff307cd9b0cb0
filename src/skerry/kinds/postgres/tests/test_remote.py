"""The same calls on a database here and on one elsewhere; and what a broken way does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest

from skerry.kernel.errors import NODE_UNREACHABLE, SkerryError
from skerry.kinds.postgres import remote
from skerry.kinds.postgres.binding import Database
from skerry.kinds.postgres.config import PostgresConfig
from skerry.kinds.postgres.tests.harness import EngineProcess
from skerry.kinds.postgres.tests.node import Node
from skerry.kinds.postgres.tests.test_binding import Waker, context_of
from skerry.testing.faults import FaultProxy
from skerry.testing.tunnels import Tunnelled, tunnel


@pytest.fixture
async def proxy(node: Node, tmp_path: Path) -> AsyncIterator[FaultProxy]:
    async with tunnel(tmp_path / "away.sock", node.port) as made:
        yield made


@pytest.fixture
async def away(
    sleeping: EngineProcess, proxy: FaultProxy, tmp_path: Path
) -> AsyncIterator[Database]:
    context = context_of(sleeping, Waker(sleeping), {"pool_size": 3})
    host: Any = Tunnelled(tmp_path / "away.sock")
    made = await remote.bind(replace(context, host=host, run=tmp_path, directory=tmp_path / "no"))
    yield made
    await made.close()


async def check(database: Database) -> None:
    await database.execute("CREATE TABLE t (n int PRIMARY KEY, s text)")
    await database.executemany("INSERT INTO t VALUES ($1, $2)", [(1, "a"), (2, "b")])
    assert [row["s"] for row in await database.fetch("SELECT s FROM t ORDER BY n")] == ["a", "b"]
    row = await database.fetchrow("SELECT * FROM t WHERE n = $1", 2)
    assert tuple(row) == (2, "b")
    assert await database.fetchval("SELECT current_database() || current_user") == "appapp"
    with pytest.raises(asyncpg.UniqueViolationError):
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO t VALUES (3)")
            await connection.execute("INSERT INTO t VALUES (1)")
    async with database.acquire() as connection:
        copied = await connection.copy_records_to_table("t", records=[(3, "c"), (4, None)])
        assert copied == "COPY 2"
    assert await database.fetchval("SELECT count(*) FROM t") == 4
    values = await asyncio.gather(*(database.fetchval("SELECT $1::int", n) for n in range(9)))
    assert values == list(range(9))
    await database.execute("DROP TABLE t")


async def test_the_calls_are_the_same(
    away: Database, node: Node, sleeping: EngineProcess, proxy: FaultProxy
) -> None:
    assert not node.awake
    await check(away)
    assert proxy.accepted <= 3
    awake = Waker(sleeping)
    awake.awake = True
    here = Database(context_of(sleeping, awake, {}), PostgresConfig())
    await check(here)
    await here.close()
    async with await psycopg.AsyncConnection.connect(await away.ready()) as connection:
        assert await (await connection.execute("SELECT current_user")).fetchone() == ("app",)


async def test_a_node_that_vanishes_is_an_error_and_no_wait(
    away: Database, proxy: FaultProxy
) -> None:
    await away.execute("CREATE TABLE t (n int)")

    async def cut() -> None:
        await asyncio.sleep(0.2)
        proxy.refuses = True
        proxy.cut_now()

    cutting = asyncio.create_task(cut())
    for sql in ("INSERT INTO t SELECT 1 FROM pg_sleep(5)", "SELECT 1"):
        with pytest.raises(SkerryError) as caught:
            await away.execute(sql)
        assert (caught.value.problem, caught.value.hint) == (NODE_UNREACHABLE, "skerry nodes")
    await cutting
    proxy.refuses = False
    assert await away.fetchval("SELECT count(*) FROM t") == 0
