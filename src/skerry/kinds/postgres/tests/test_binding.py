"""What a function gets: a pool that survives the server's sleep."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest

from skerry.kernel.clock import SystemClock
from skerry.kernel.errors import SkerryError
from skerry.kernel.kind import Context
from skerry.kernel.usage import NoMeter
from skerry.kinds.postgres.binding import Database, bind
from skerry.kinds.postgres.config import PostgresConfig
from skerry.kinds.postgres.tests.harness import EngineProcess


class Waker:
    def __init__(self, engine: EngineProcess) -> None:
        self.engine = engine
        self.awake = False
        self.lock = asyncio.Lock()

    async def ready(self, resource: str) -> str:
        assert resource == "db"
        async with self.lock:
            if not self.awake:
                await self.engine.start()
                self.awake = True
        return self.engine.socket

    async def sleep(self) -> None:
        await self.engine.call("stop")
        self.awake = False

    async def bind(self, resource: str) -> Any:
        raise NotImplementedError

    def progress(self, done: int, total: int, text: str) -> None:
        raise NotImplementedError


def context_of(engine: EngineProcess, host: Waker, config: Any, **secrets: str) -> Context:
    return Context(
        ref=engine.ref,
        id=engine.id,
        directory=engine.directory,
        run=engine.run,
        code=Path("/"),
        config=config,
        keys=engine.keys,
        meter=NoMeter(),
        clock=SystemClock(),
        host=host,
        secrets=secrets,
    )


@pytest.fixture
def waker(sleeping: EngineProcess) -> Waker:
    return Waker(sleeping)


@pytest.fixture
async def database(sleeping: EngineProcess, waker: Waker) -> AsyncIterator[Database]:
    made = await bind(context_of(sleeping, waker, {"pool_size": 3}))
    yield made
    await made.close()


async def test_the_first_statement_wakes_the_database(database: Database, waker: Waker) -> None:
    assert not waker.awake
    await database.execute("CREATE TABLE t (n int, s text)")
    await database.executemany("INSERT INTO t VALUES ($1, $2)", [(1, "a"), (2, "b")])
    assert [row["s"] for row in await database.fetch("SELECT s FROM t ORDER BY n")] == ["a", "b"]
    row = await database.fetchrow("SELECT * FROM t WHERE n = $1", 2)
    assert tuple(row) == (2, "b")


async def test_the_pool_is_bounded_and_survives_sleep(database: Database, waker: Waker) -> None:
    values = await asyncio.gather(*(database.fetchval("SELECT $1::int", n) for n in range(20)))
    assert values == list(range(20))
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'"
    assert await database.fetchval(sessions) == 3
    for number in range(3):
        await waker.sleep()
        assert await database.fetchval("SELECT $1::int", number) == number


async def test_a_transaction_is_all_or_nothing(database: Database) -> None:
    await database.execute("CREATE TABLE t (n int PRIMARY KEY)")
    with pytest.raises(asyncpg.UniqueViolationError):
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO t VALUES (1)")
            await connection.execute("INSERT INTO t VALUES (1)")
    async with database.transaction("serializable") as connection:
        await connection.execute("INSERT INTO t VALUES (2)")
    assert await database.fetchval("SELECT array_agg(n) FROM t") == [2]


async def test_other_libraries_use_the_dsn(database: Database) -> None:
    async with await psycopg.AsyncConnection.connect(await database.ready()) as connection:
        assert await (await connection.execute("SELECT current_user")).fetchone() == ("app",)


async def test_an_external_database_is_reached_by_its_secret(
    engine: EngineProcess, waker: Waker
) -> None:
    config = PostgresConfig(external=True, dsn_secret="DSN")
    with pytest.raises(SkerryError, match="DSN"):
        await bind(context_of(engine, waker, config))
    fields = engine.connection()
    dsn = f"postgresql://app:{fields['password']}@/app?host={fields['host']}"
    database = await bind(context_of(engine, waker, config, DSN=dsn))
    assert database.dsn == dsn
    assert await database.fetchval("SELECT 1") == 1
    assert not waker.awake
    await database.close()
