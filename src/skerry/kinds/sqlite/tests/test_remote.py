"""The same calls on a database here and on one elsewhere; and what a broken way does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from skerry.kernel.errors import (
    BUSY,
    CONFLICT,
    DENIED,
    INVALID,
    NODE_UNREACHABLE,
    TIMED_OUT,
    UNAUTHENTICATED,
    Problem,
    SkerryError,
)
from skerry.kernel.keys import Keys
from skerry.kernel.kind import Context
from skerry.kinds.sqlite import remote
from skerry.kinds.sqlite.binding import bind
from skerry.kinds.sqlite.engine import SqliteEngine
from skerry.kinds.sqlite.remote import RemoteDatabase
from skerry.kinds.sqlite.surface import Change, Database
from skerry.testing.faults import FaultProxy
from skerry.testing.hosts import Tally
from skerry.testing.tunnels import Tunnelled, tunnel


@pytest.fixture
async def proxy(port: int, tmp_path: Path) -> AsyncIterator[FaultProxy]:
    async with tunnel(tmp_path / "away.sock", port) as made:
        yield made


@pytest.fixture
async def away(
    proxy: FaultProxy, context: Context, tmp_path: Path
) -> AsyncIterator[RemoteDatabase]:
    host = Tunnelled(tmp_path / "away.sock")
    gone = replace(context, host=host, directory=tmp_path / "nothing", meter=Tally())
    made = await remote.bind(gone)
    assert isinstance(made, RemoteDatabase)
    yield made
    made.close()


@pytest.fixture(params=["here", "elsewhere"])
async def database(request: Any, context: Context, away: RemoteDatabase) -> AsyncIterator[Database]:
    made = await bind(context) if request.param == "here" else away
    yield made
    made.close()


def refused(problem: Problem, call: Any, *arguments: Any) -> SkerryError:
    with pytest.raises(SkerryError) as caught:
        call(*arguments)
    assert caught.value.problem is problem, caught.value
    return caught.value


def check(database: Database) -> None:
    made = database.execute("create table t (a, b text unique)")
    assert made == Change(0, made.last_row_id)
    assert database.execute("insert into t values (?, ?), (2, 'x')", [1, "é\n"]) == Change(2, 2)
    assert database.execute("update t set a = a where a = 9").rows == 0
    rows = database.query("select a, b, a as a from t where a <= :top", {"top": 2, "unused": 0})
    assert rows == [(1, "é\n", 1), (2, "x", 2)]
    assert (rows[0].a, rows[0]["b"], rows[0][1]) == (1, "é\n", "é\n")
    assert dict(rows[1]) == rows[1].as_dict() == {"a": 2, "b": "x"}
    values: Any = [None, -(1 << 63), 1.5, 1e300, "", "\x00é", b"", b"\xff\x00", True, float("nan")]
    marks = ", ".join("?" * len(values))
    expected = (*values[:8], 1, None)
    assert database.first(f"select {marks}", values) == expected
    buffer: Any = bytearray(b"ab")
    found = database.first("select ?, typeof(?1)", [buffer])
    assert found == (b"ab", "blob")
    assert database.first("select 1 where 0") is None
    assert len(database.query("select value from generate_series(1, 20000)")) == 20_000
    batch: Any = ["select 1", ("insert into t values (?, 'y')", [3]), "select count(*) as n from t"]
    results = database.batch(batch)
    assert results[0] == [(1,)]
    assert results[1] == []
    assert results[2][0].n == 3
    assert database.batch([]) == []


def check_transactions(database: Database) -> None:
    database.execute("create table t (a unique)")
    with database.transaction() as transaction:
        assert transaction.execute("insert into t values (1)").last_row_id == 1
        assert transaction.query("select a from t") == [(1,)]
        refused(CONFLICT, transaction.execute, "insert into t values (1)")
        assert transaction.first("select count(*) from t") == (1,)
        large = transaction.query("select value, 'x' from generate_series(1, 20000)")
        assert large[-1] == (20_000, "x")
    with pytest.raises(RuntimeError), database.transaction() as transaction:
        transaction.execute("insert into t values (2)")
        raise RuntimeError
    refused(CONFLICT, database.batch, ["insert into t values (3)", "insert into t values (1)"])
    refused(INVALID, database.batch, ["insert into t values (4)", "selec"])
    database.execute("begin")
    database.execute("create temp table only_here (a)")
    refused(INVALID, database.query, "select * from only_here")
    assert database.query("select a from t") == [(1,)]
    database.execute("create table child (a references t (a) deferrable initially deferred)")

    def dangling() -> None:
        with database.transaction() as transaction:
            transaction.execute("insert into child values (7)")

    refused(CONFLICT, dangling)
    assert database.query("select * from child") == []


def check_refusals(database: Database) -> None:
    for sql, arguments in (
        ("selec", []),
        ("", []),
        ("select 1; select 2", []),
        ("select ?", []),
        ("select ?", [1, 2]),
        ("select :a", {"b": 1}),
        ("select ?", [object()]),
        ("select ?", [1 << 63]),
        ("select ?", ["\ud800"]),
    ):
        refused(INVALID, database.query, sql, arguments)
    refused(DENIED, database.execute, "attach 'x' as y")
    refused(INVALID, database.query, "select zeroblob(33554433)")


async def test_the_calls_are_the_same(database: Database) -> None:
    await asyncio.to_thread(check, database)
    assert await database.aio.first("select max(a) from t") == (3,)
    assert (await database.aio.execute("delete from t")).rows == 3
    assert await database.aio.batch(["select 1"]) == [[(1,)]]
    assert await database.aio.query("select * from t") == []


async def test_transactions_are_the_same(database: Database, engine: SqliteEngine) -> None:
    await asyncio.to_thread(check_transactions, database)


async def test_the_refusals_are_the_same(database: Database) -> None:
    await asyncio.to_thread(check_refusals, database)


async def test_nothing_is_left_open(away: RemoteDatabase, engine: SqliteEngine) -> None:
    await asyncio.to_thread(check_transactions, away)
    await away.aio.query("select 1")
    assert await engine.busy() == ""


async def test_what_does_not_pass_is_told(away: RemoteDatabase) -> None:
    with pytest.raises(SkerryError, match="infinity"):
        await away.aio.query("select ?", [float("inf")])
    with pytest.raises(SkerryError, match="infinity"):
        await away.aio.query("select 9e999")


async def test_a_wrong_token_is_told(proxy: FaultProxy, context: Context, tmp_path: Path) -> None:
    other = replace(context, keys=Keys(b"x" * 32, b"y" * 32))
    stranger = RemoteDatabase(other, str(tmp_path / "away.sock"))
    with pytest.raises(SkerryError) as caught:
        await stranger.aio.query("select 1")
    assert caught.value.problem is UNAUTHENTICATED
    stranger.close()


async def test_a_node_that_vanishes_is_an_error_and_no_wait(
    away: RemoteDatabase, proxy: FaultProxy
) -> None:
    await away.aio.execute("create table t (a)")
    proxy.refuses = True
    proxy.cut_now()
    await asyncio.sleep(0.02)
    for sql in ("select 1", "insert into t values (1)"):
        with pytest.raises(SkerryError) as caught:
            await away.aio.execute(sql)
        assert (caught.value.problem, caught.value.hint) == (NODE_UNREACHABLE, "skerry nodes")
    proxy.refuses = False
    assert await away.aio.query("select * from t") == []


async def test_a_cut_transaction_counts_for_nothing(
    away: RemoteDatabase, proxy: FaultProxy, engine: SqliteEngine
) -> None:
    await away.aio.execute("create table t (a)")

    def work() -> None:
        with away.transaction() as transaction:
            transaction.execute("insert into t values (1)")
            proxy.cut_after = 0
            refused(NODE_UNREACHABLE, transaction.execute, "insert into t values (2)")
            proxy.cut_after = None
            why = refused(CONFLICT, transaction.execute, "insert into t values (3)").why
            assert "could not be read" in why

    with pytest.raises(SkerryError, match="undone"):
        await asyncio.to_thread(work)
    proxy.cut_after = None
    assert await away.aio.query("select * from t") == []


async def test_an_idle_transaction_ends(away: RemoteDatabase, engine: SqliteEngine) -> None:
    await away.aio.execute("create table t (a)")
    loop = asyncio.get_running_loop()

    def work() -> None:
        with away.transaction() as transaction:
            transaction.execute("insert into t values (1)")
            asyncio.run_coroutine_threadsafe(engine.streams._expire(float("inf")), loop).result()
            refused(TIMED_OUT, transaction.execute, "insert into t values (2)")

    with pytest.raises(SkerryError, match="undone"):
        await asyncio.to_thread(work)
    assert await away.aio.query("select * from t") == []


async def test_an_engine_that_is_full_says_so(
    away: RemoteDatabase, engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skerry.kinds.sqlite.streams.ACTIVE_MAX", 0)
    for call in (away.aio.batch(["select 1"]), away.aio.execute("create table t (a)")):
        with pytest.raises(SkerryError) as caught:
            await call
        assert caught.value.problem is BUSY
