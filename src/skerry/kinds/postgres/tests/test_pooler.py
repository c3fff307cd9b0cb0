"""Transaction pooling under `-pooler` names: many clients, few server sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest

from skerry.kinds.postgres.install import find
from skerry.kinds.postgres.limits import Limits
from skerry.kinds.postgres.tests.harness import EngineProcess
from skerry.kinds.postgres.tests.node import Node
from skerry.kinds.postgres.tests.test_front import cancel, run, until

LABEL = "newsroom-pooler"
PID = "SELECT pg_backend_pid()"


@pytest.fixture
async def pooled(node: Node, sleeping: EngineProcess) -> AsyncIterator[Callable[..., str]]:
    """Return what makes the DSN of the pooler, which has two server sessions."""
    sleeping.config["pooler_size"] = 2
    yield lambda **more: node.dsn(sleeping, LABEL, sslmode="disable", **more)


def open_sessions(node: Node) -> int:
    return sum(not session.closed for session in node.sessions)


async def test_more_clients_than_sessions(node: Node, pooled: Callable[..., str]) -> None:
    clients = [await asyncpg.connect(pooled()) for _ in range(20)]

    async def work(connection: Any, number: int) -> None:
        for step in range(10):
            assert await connection.fetchval("SELECT $1::int + $2::int", number, step) == (
                number + step
            )
            async with connection.transaction():
                pid = await connection.fetchval(PID)
                await asyncio.sleep(0)
                assert await connection.fetchval(PID) == pid

    await asyncio.gather(*(work(each, number) for number, each in enumerate(clients)))
    assert open_sessions(node) == 2
    for each in clients:
        await each.close()
    await until(lambda: not node.front.lobby.clients)


async def test_prepared_statements_follow_their_client(pooled: Callable[..., str]) -> None:
    one, two = [await asyncpg.connect(pooled()) for _ in range(2)]
    mine = await one.prepare("SELECT $1::int * 2")
    theirs = await two.prepare("SELECT 'text ' || $1::text")
    blocker = await asyncpg.connect(pooled())
    transaction = blocker.transaction()
    await transaction.start()
    pids = set()
    for number in range(6):
        if number == 3:
            await transaction.rollback()
            transaction = one.transaction()
            await transaction.start()
        assert await mine.fetchval(number) == number * 2
        assert await theirs.fetchval(str(number)) == f"text {number}"
        pids.add(await two.fetchval(PID))
    await transaction.rollback()
    for each in (one, two, blocker):
        await each.close()


async def test_psycopg_prepares_and_pipelines(pooled: Callable[..., str]) -> None:
    for _ in range(2):
        async with await psycopg.AsyncConnection.connect(
            pooled(), autocommit=True, prepare_threshold=0
        ) as connection:
            for number in range(5):
                found = await connection.execute("SELECT %s::int + 1", [number])
                assert await found.fetchone() == (number + 1,)
            async with connection.pipeline():
                cursors = [
                    await connection.execute("SELECT %s::int", [number]) for number in range(20)
                ]
            assert [await each.fetchone() for each in cursors] == [(n,) for n in range(20)]
            with pytest.raises(psycopg.errors.UndefinedTable):
                await connection.execute("SELECT * FROM nothing WHERE n = %s", [1])
            with pytest.raises(psycopg.errors.DivisionByZero):
                async with connection.pipeline():
                    await connection.execute("SELECT 1 / %s::int", [0])
                    await connection.execute("SELECT %s::text || 'x'", ["y"])
            found = await connection.execute("SELECT %s::text || 'x'", ["y"])
            assert await found.fetchone() == ("yx",)


async def test_copy_both_ways(pooled: Callable[..., str]) -> None:
    async with await psycopg.AsyncConnection.connect(pooled(), autocommit=True) as connection:
        await connection.execute("CREATE TABLE t (n int, s text)")
        async with connection.cursor().copy("COPY t FROM STDIN") as copy:
            for number in range(5000):
                await copy.write_row((number, "x" * 100))
        total = 0
        async with connection.cursor().copy("COPY t TO STDOUT") as copy:
            async for block in copy:
                total += len(block)
        assert total > 5000 * 102
    native = await asyncpg.connect(pooled())
    rows = [(number, "y") for number in range(1000)]
    assert await native.copy_records_to_table("t", records=rows) == "COPY 1000"
    assert await native.fetchval("SELECT count(*) FROM t") == 6000
    await native.close()


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
async def test_pgbench_with_more_clients_than_sessions(
    node: Node, sleeping: EngineProcess, pooled: Callable[..., str], mode: str
) -> None:
    pgbench = find("", 18).program("pgbench")
    at = ["-h", "127.0.0.1", "-p", str(node.port), "-U", "app", f"app@{LABEL}"]
    password = {"PGPASSWORD": sleeping.keys.secret("password")}
    code, said = await run(pgbench, "-i", "-q", "-s", "1", *at, **password)
    assert code == 0, said
    code, said = await run(
        pgbench, "-n", "-c", "8", "-j", "8", "-t", "40", "-M", mode, *at, **password
    )
    assert code == 0, said
    assert "processed: 320/320" in said
    assert open_sessions(node) <= 2


@pytest.mark.parametrize(
    ("keep", "ask", "drop"),
    [
        ("SET work_mem = '5MB'", "SELECT current_setting('work_mem') = '5MB'", "RESET ALL"),
        (
            "SELECT set_config('work_mem', '5MB', false)",
            "SELECT current_setting('work_mem') = '5MB'",
            "DISCARD ALL",
        ),
        (
            "SELECT pg_advisory_lock(7)",
            "SELECT count(*) = 1 FROM pg_locks "
            "WHERE pid = pg_backend_pid() AND locktype = 'advisory'",
            "SELECT pg_advisory_unlock_all()",
        ),
        ("CREATE TEMP TABLE mine AS SELECT 1", "SELECT count(*) = 1 FROM mine", "DISCARD ALL"),
        ("PREPARE p AS SELECT true", "EXECUTE p", "DEALLOCATE p"),
        ("LISTEN news", "SELECT count(*) = 1 FROM pg_listening_channels()", "UNLISTEN *"),
    ],
)
async def test_what_a_session_holds_pins_it_to_its_client(
    pooled: Callable[..., str], keep: str, ask: str, drop: str
) -> None:
    one, two = [await asyncpg.connect(pooled(), statement_cache_size=0) for _ in range(2)]
    await one.execute(keep)
    pid = await one.fetchval(PID)
    for _ in range(4):
        assert await one.fetchval(ask)
        assert await two.fetchval(PID) != pid
    if "TEMP" not in keep:
        await one.execute(drop)
        found = {await two.fetchval(PID) for _ in range(2)}
        async with two.transaction():
            found.add(await two.fetchval(PID))
            assert await one.fetchval(PID)
        await two.execute("BEGIN")
        assert {await one.fetchval(PID), await two.fetchval(PID)} >= {pid}
        await two.execute("COMMIT")
    await one.close()
    await two.close()


async def test_settings_of_a_transaction_pin_nothing(
    node: Node, pooled: Callable[..., str]
) -> None:
    one, two = [await asyncpg.connect(pooled()) for _ in range(2)]
    async with one.transaction():
        await one.execute("SET LOCAL work_mem = '5MB'")
        pid = await one.fetchval(PID)
    clients: Any = node.front.lobby.clients
    await until(lambda: all(client.pooled._server is None for client in clients))
    async with two.transaction():
        assert await two.fetchval("SHOW work_mem") == "4MB"
        assert await two.fetchval(PID) == pid
    await one.close()
    await two.close()


async def test_start_up_settings_are_the_clients_own(pooled: Callable[..., str]) -> None:
    plain = await asyncpg.connect(pooled())
    slow = await asyncpg.connect(pooled(), server_settings={"work_mem": "7MB"})
    fast = await asyncpg.connect(pooled(), server_settings={"work_mem": "8MB"})
    for _ in range(3):
        assert await plain.fetchval("SHOW work_mem") == "4MB"
        assert await slow.fetchval("SHOW work_mem") == "7MB"
        assert await fast.fetchval("SHOW work_mem") == "8MB"
    for each in (plain, slow, fast):
        await each.close()


async def test_leaving_in_a_transaction_rolls_it_back(
    node: Node, pooled: Callable[..., str]
) -> None:
    one, two = [await asyncpg.connect(pooled()) for _ in range(2)]
    await one.execute("CREATE TABLE t (n int)")
    await one.execute("BEGIN; INSERT INTO t VALUES (1)")
    one.terminate()
    await until(lambda: len(node.front.lobby.clients) == 1)
    assert await two.fetchval("SELECT count(*) FROM t") == 0
    await two.close()


async def test_cancel_finds_the_session_of_the_moment(pooled: Callable[..., str]) -> None:
    async with await psycopg.AsyncConnection.connect(pooled(), autocommit=True) as connection:
        for _ in range(2):
            running = asyncio.create_task(connection.execute("SELECT pg_sleep(60)"))
            await cancel(connection, running)
            with pytest.raises(psycopg.errors.QueryCanceled):
                await running
            await connection.cancel_safe(timeout=5)
            assert await (await connection.execute("SELECT 1")).fetchone() == (1,)


async def test_waiting_for_a_session_ends_with_a_native_error(sleeping: EngineProcess) -> None:
    sleeping.config["pooler_size"] = 1
    async with Node(Limits(pooler_seconds=0.3)) as node:
        node.add(sleeping)
        dsn = node.dsn(sleeping, LABEL, sslmode="disable")
        one, two = [await asyncpg.connect(dsn) for _ in range(2)]
        async with one.transaction():
            await one.fetchval(PID)
            with pytest.raises(asyncpg.ConnectionDoesNotExistError) as caught:
                await two.fetchval(PID)
            assert isinstance(caught.value.__cause__, asyncpg.TooManyConnectionsError)
        three = await asyncpg.connect(dsn)
        assert await three.fetchval("SELECT 3") == 3
        await one.close()
        await three.close()


async def test_pooled_clients_outlive_a_sleep(
    node: Node, sleeping: EngineProcess, pooled: Callable[..., str]
) -> None:
    connection = await asyncpg.connect(pooled())
    statement = await connection.prepare("SELECT $1::int + 1")
    assert await statement.fetchval(1) == 2
    assert not any(each.is_active for each in node.sessions if not each.closed)
    await node.sleep(sleeping)
    other = await asyncpg.connect(pooled())
    assert len(node.opened) == 1, "a log-in that the pool has seen wakes nothing"
    assert await statement.fetchval(2) == 3
    assert await other.fetchval("SELECT 1") == 1
    await connection.close()
    await other.close()


async def test_garbage_after_the_log_in_ends_that_client_alone(
    node: Node, pooled: Callable[..., str]
) -> None:
    one, two = [await asyncpg.connect(pooled()) for _ in range(2)]
    assert await one.fetchval("SELECT 1") == 1
    one._transport.write(b"Q\x00\x00\x00\x01" + b"\xff" * 100)
    await until(lambda: len(node.front.lobby.clients) == 1)
    assert await two.fetchval("SELECT 2") == 2
    one.terminate()
    await two.close()


async def test_big_answers_and_parameters_pass_whole(
    pooled: Callable[..., str], tmp_path: Path
) -> None:
    connection = await asyncpg.connect(pooled())
    big = "x" * 3_000_000
    assert await connection.fetchval("SELECT length($1::text)", big) == len(big)
    assert await connection.fetchval("SELECT repeat('y', 3000000)") == "y" * 3_000_000
    rows = await connection.fetch("SELECT n FROM generate_series(1, 50000) AS n")
    assert len(rows) == 50_000
    await connection.close()
