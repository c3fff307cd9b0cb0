"""Point in time: a copy goes back to the exact commit."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from skerry.kernel.errors import SkerryError
from skerry.kernel.kind import RECOVER_FILE, Recover
from skerry.kinds.postgres.tests.harness import EngineProcess


async def base_taken(engine: EngineProcess) -> None:
    for _ in range(500):
        if list(engine.directory.glob("base/*/base.json")):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("no base backup was taken")


def copy_at(engine: EngineProcess, home: Path, resource_id: str, at: int) -> EngineProcess:
    copy = engine.clone(home, resource_id)
    (copy.directory / RECOVER_FILE).write_bytes(msgspec.json.encode(Recover(at)))
    return copy


async def numbers(engine: EngineProcess) -> list[int]:
    connection = await asyncpg.connect(**engine.connection())
    rows = await connection.fetch("SELECT n FROM t ORDER BY n")
    await connection.close()
    return [row[0] for row in rows]


async def insert(connection: Any, number: int) -> None:
    await connection.execute("INSERT INTO t VALUES ($1)", number)
    await asyncio.sleep(0.002)


@pytest.fixture
async def history(tmp_path: Path) -> Any:
    """A database with ten commits, and the moment after each."""
    async with EngineProcess(tmp_path / "one", retention="1d") as engine:
        await base_taken(engine)
        connection = await asyncpg.connect(**engine.connection())
        await connection.execute("CREATE TABLE t (n int)")
        moments = []
        for number in range(10):
            await insert(connection, number)
            moments.append(time.time_ns())
            await asyncio.sleep(0.002)
        await connection.close()
        yield engine, moments


async def test_a_copy_lands_on_the_exact_commit(history: Any, tmp_path: Path) -> None:
    engine, moments = history
    await engine.call("freeze", atomic=False)
    copies = {at: copy_at(engine, tmp_path / f"at{at}", f"{at:016x}", moments[at]) for at in (3, 9)}
    await engine.call("thaw")
    for at, copy in copies.items():
        async with copy:
            assert await numbers(copy) == list(range(at + 1))
            assert not (copy.directory / RECOVER_FILE).exists()
            assert not (copy.directory / "data.before").exists()
            connection = await asyncpg.connect(**copy.connection())
            await insert(connection, 100)
            await connection.close()
            await copy.kill()
            await copy.start()
            assert await numbers(copy) == [*range(at + 1), 100]
    assert await numbers(engine) == list(range(10))


async def test_a_copy_of_a_copy_goes_back_along_its_own_line(history: Any, tmp_path: Path) -> None:
    engine, moments = history
    await engine.call("stop")
    async with copy_at(engine, tmp_path / "two", "00000000000000bb", moments[4]) as copy:
        connection = await asyncpg.connect(**copy.connection())
        await insert(connection, 50)
        after = time.time_ns()
        await asyncio.sleep(0.01)
        await insert(connection, 51)
        await connection.close()
        await copy.call("stop")
        async with copy_at(copy, tmp_path / "three", "00000000000000cc", after) as third:
            assert await numbers(third) == [0, 1, 2, 3, 4, 50]
        async with copy_at(copy, tmp_path / "four", "00000000000000dd", moments[2]) as fourth:
            assert await numbers(fourth) == [0, 1, 2]


async def test_an_interrupted_recovery_is_done_again(history: Any, tmp_path: Path) -> None:
    engine, moments = history
    await engine.call("stop")
    copy = copy_at(engine, tmp_path / "two", "00000000000000bb", moments[4])
    (copy.directory / "data").rename(copy.directory / "data.before")
    (copy.directory / "data").mkdir()
    (copy.directory / "data" / "PG_VERSION").write_text("18\n")
    async with copy:
        assert await numbers(copy) == [0, 1, 2, 3, 4]


async def test_a_moment_out_of_reach_is_refused(history: Any, tmp_path: Path) -> None:
    engine, moments = history
    await engine.call("stop")
    day = 86_400 * 10**9
    for at in (moments[0] - day, moments[0] + day):
        copy = copy_at(engine, tmp_path / str(at), "00000000000000bb", at)
        with pytest.raises(SkerryError, match="cannot go back") as caught:
            await copy.start()
        assert caught.value.code == "CONFLICT"
        (copy.directory / RECOVER_FILE).unlink()
        await copy.call("start")
        assert await numbers(copy) == list(range(10))
        await copy.close()


async def test_status_tells_how_far_back_it_reaches(history: Any) -> None:
    engine, moments = history
    since = (await engine.call("status"))["recoverable_since"]
    assert 0 < moments[0] - since < 60 * 10**9
