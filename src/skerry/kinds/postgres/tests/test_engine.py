"""The engine alone: start, crash, copy, freeze, and what it tells."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import stat
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from skerry.kernel.errors import SkerryError
from skerry.kinds._shared.pgwire.scram import parse_verifier
from skerry.kinds.postgres import cluster, programs
from skerry.kinds.postgres.config import PostgresConfig
from skerry.kinds.postgres.install import find
from skerry.kinds.postgres.tests.harness import EngineProcess


async def connect(engine: EngineProcess, **more: Any) -> Any:
    return await asyncpg.connect(**engine.connection(**more))


async def written(engine: EngineProcess, *values: int) -> None:
    connection = await connect(engine)
    await connection.execute("CREATE TABLE IF NOT EXISTS note (value int)")
    await connection.executemany("INSERT INTO note VALUES ($1)", [(value,) for value in values])
    await connection.close()


async def notes(engine: EngineProcess) -> list[int]:
    connection = await connect(engine)
    rows = await connection.fetch("SELECT value FROM note ORDER BY 1")
    await connection.close()
    return [row[0] for row in rows]


def servers_of(directory: Path) -> list[int]:
    found = []
    for entry in list(Path("/proc").iterdir()):
        with contextlib.suppress(OSError):
            if (entry / "cwd").readlink() == directory / "data":
                found.append(int(entry.name))
    return found


async def test_a_new_directory_becomes_a_utf8_cluster_with_the_applications_database(
    tmp_path: Path,
) -> None:
    async with EngineProcess(tmp_path, retention="0", extensions=["vector"]) as engine:
        connection = await connect(engine)
        assert await connection.fetchval("SHOW server_encoding") == "UTF8"
        assert await connection.fetchval("SHOW listen_addresses") == ""
        owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'app'"
        assert await connection.fetchval(owner) == "app"
        assert await connection.fetchval("SELECT '[1,2]'::vector <-> '[1,4]'") == 2
        assert not await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = 'app'")
        await connection.close()


async def test_a_uid_without_a_name_can_make_a_cluster(tmp_path: Path) -> None:
    engine = EngineProcess(tmp_path, retention="0")
    engine.uid = 54321
    async with engine:
        await written(engine, 1)
        assert await notes(engine) == [1]


async def test_nobody_gets_in_without_a_password(engine: EngineProcess) -> None:
    for more in ({"password": "wrong"}, {"user": "skerry", "password": "wrong"}):
        with pytest.raises(asyncpg.InvalidPasswordError):
            await connect(engine, **more)


async def test_what_was_committed_survives_kill_9(engine: EngineProcess) -> None:
    await written(engine, 1, 2, 3)
    await engine.kill()
    await engine.start()
    assert await notes(engine) == [1, 2, 3]


async def test_the_server_does_not_outlive_its_engine(engine: EngineProcess) -> None:
    assert servers_of(engine.directory)
    await engine.kill()
    for _ in range(200):
        if not servers_of(engine.directory):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the server still runs")


async def test_a_server_that_dies_by_itself_is_started_again(engine: EngineProcess) -> None:
    await written(engine, 1)
    postmaster = int((engine.directory / "data/postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    for pid in (postmaster, *map(int, children)):
        os.kill(pid, signal.SIGKILL)
    for _ in range(200):
        with contextlib.suppress(OSError, asyncpg.PostgresError):
            assert await notes(engine) == [1]
            return
        await asyncio.sleep(0.05)
    raise AssertionError("no server answers")


async def test_a_server_that_was_killed_while_frozen_is_replaced(engine: EngineProcess) -> None:
    await written(engine, 1)
    await engine.call("freeze", atomic=False)
    left = servers_of(engine.directory)
    assert left
    await engine.kill()
    await engine.start()
    assert not set(left) & set(servers_of(engine.directory))
    assert await notes(engine) == [1]


async def test_a_copy_has_its_own_password_and_the_parents_data(
    engine: EngineProcess, tmp_path: Path
) -> None:
    await written(engine, 1)
    await engine.call("prepare")
    await engine.call("freeze", atomic=False)
    copy = engine.clone(tmp_path / "two", "00000000000000bb")
    await engine.call("thaw")
    async with copy:
        assert await notes(copy) == [1]
        await written(copy, 2)
        await written(engine, 3)
        assert await notes(copy) == [1, 2]
        assert await notes(engine) == [1, 3]
        with pytest.raises(asyncpg.InvalidPasswordError):
            await connect(copy, password=engine.keys.secret("password"))


async def test_a_copy_of_a_copy_may_be_the_first_ones_again(
    engine: EngineProcess, tmp_path: Path
) -> None:
    """As a promotion makes it, of a branch that woke just before."""
    await written(engine, 1)
    await engine.call("stop")
    async with engine.clone(tmp_path / "two", "00000000000000bb") as copy:
        await written(copy, 2)
        await copy.call("prepare")
        await copy.call("freeze", atomic=False)
        promoted = copy.clone(tmp_path / "three", engine.id)
        await copy.call("thaw")
        async with promoted:
            assert await notes(promoted) == [1, 2]


async def test_a_frozen_server_writes_nothing_and_goes_on_when_thawed(
    engine: EngineProcess,
) -> None:
    await written(engine, 0)
    connection = await connect(engine)

    async def writer() -> None:
        for value in range(1, 10_000):
            await connection.execute("INSERT INTO note VALUES ($1)", value)

    writing = asyncio.create_task(writer())
    await asyncio.sleep(0.05)
    await engine.call("freeze", atomic=False)

    def sizes() -> dict[str, tuple[int, int]]:
        files = [path for path in engine.directory.rglob("*") if path.is_file()]
        return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}

    before = sizes()
    await asyncio.sleep(0.1)
    assert sizes() == before
    await engine.call("thaw")
    count = "SELECT count(*) FROM note"
    other = await connect(engine)
    first = await other.fetchval(count)
    async with asyncio.timeout(20):
        while await other.fetchval(count) == first:
            await asyncio.sleep(0.02)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    connection.terminate()
    await other.close()


async def test_a_copy_under_writes_holds_every_commit_before_it(
    engine: EngineProcess, tmp_path: Path
) -> None:
    await written(engine)
    connection = await connect(engine)
    acknowledged = 0

    async def writer() -> None:
        nonlocal acknowledged
        while True:
            await connection.execute("INSERT INTO note VALUES ($1)", acknowledged + 1)
            acknowledged += 1

    writing = asyncio.create_task(writer())
    await asyncio.sleep(0.1)
    await engine.call("freeze", atomic=False)
    frozen_at = acknowledged
    copy = engine.clone(tmp_path / "two", "00000000000000bb")
    await engine.call("thaw")
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    connection.terminate()
    async with copy:
        found = await notes(copy)
    assert found == list(range(1, len(found) + 1))
    assert frozen_at <= len(found) <= frozen_at + 1


async def test_a_copy_leaves_replication_behind(sleeping: EngineProcess, tmp_path: Path) -> None:
    sleeping.config["settings"] = {"wal_level": "logical"}
    async with sleeping:
        connection = await connect(
            sleeping, user="skerry", password=sleeping.keys.shared("superuser")
        )
        await connection.execute("SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
        await connection.execute("ALTER SYSTEM SET primary_conninfo = 'host=elsewhere'")
        await connection.close()
        await sleeping.call("stop")
        async with sleeping.clone(tmp_path / "two", "00000000000000bb") as copy:
            connection = await connect(copy)
            assert await connection.fetchval("SELECT count(*) FROM pg_replication_slots") == 0
            assert await connection.fetchval("SHOW primary_conninfo") == ""
            await connection.close()


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("BEGIN", "a transaction is open"),
        ("LISTEN news", "a session listens"),
        ("SELECT pg_advisory_lock(1)", "a session holds an advisory lock"),
        ("SELECT 1", ""),
    ],
)
async def test_busy_tells_what_needs_the_server_from_idle_sessions(
    engine: EngineProcess, statement: str, reason: str
) -> None:
    connection = await connect(engine)
    await connection.execute(statement)
    assert await engine.call("busy") == reason
    await connection.close()


async def test_a_running_query_is_busy(engine: EngineProcess) -> None:
    connection = await connect(engine)
    running = asyncio.create_task(connection.execute("SELECT pg_sleep(60)"))
    async with asyncio.timeout(20):
        while await engine.call("busy") != "a query is running":
            await asyncio.sleep(0.02)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    connection.terminate()


async def test_use_is_metered_once_and_idle_is_nothing(engine: EngineProcess) -> None:
    await engine.call("busy")
    assert await engine.call("counts") == {}
    await written(engine, *range(100))
    for _ in range(100):
        await engine.call("busy")
        counts = await engine.call("counts")
        if counts.get("rows_written", 0) >= 100:
            break
        await asyncio.sleep(0.02)
    assert counts["sessions"] == 1
    assert 100 <= counts["rows_written"] < 200
    await engine.call("stop")
    await engine.call("start")
    before = await engine.call("counts")
    await engine.call("busy")
    assert await engine.call("counts") == before


async def test_verifiers_of_new_roles_are_written_down(engine: EngineProcess) -> None:
    connection = await connect(engine)
    await connection.execute("CREATE ROLE editor LOGIN PASSWORD 'pencil'")
    await connection.close()
    path = engine.directory / "roles.json"
    for _ in range(200):
        if "editor" in path.read_text():
            break
        await asyncio.sleep(0.02)
    content = json.loads(path.read_text())
    assert content["id"] == engine.id
    assert set(content["verifiers"]) == {"app", "editor"}
    assert parse_verifier(content["verifiers"]["editor"]).iterations == 4096
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_bad_setting_is_reported_with_the_servers_words(sleeping: EngineProcess) -> None:
    sleeping.config["settings"] = {"work_mem": "a lot"}
    with pytest.raises(SkerryError) as caught:
        await sleeping.start()
    assert caught.value.code == "ENGINE_FAILED"
    assert "work_mem" in caught.value.why
    sleeping.config["settings"] = {"Port": 1}
    await sleeping.launch()
    with pytest.raises(SkerryError, match="Port"):
        await sleeping.call("start")


async def test_the_application_creates_safe_extensions_itself(engine: EngineProcess) -> None:
    connection = await connect(engine)
    for name in ("vector", "pg_trgm", "bloom", "pg_stat_statements"):
        await connection.execute(f"CREATE EXTENSION {name}")
    assert await connection.fetchval("SELECT '[1,2]'::vector <-> '[1,4]'") == 2
    for name in ("dblink", "file_fdw", "postgres_fdw", "pageinspect", "pg_surgery"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(f"CREATE EXTENSION {name}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("SET extension_control_path = '/tmp'")
    await connection.execute("DROP EXTENSION vector")
    await connection.close()
    offered = [each["name"] for each in await engine.call("word_extensions")]
    assert len(offered) == len(set(offered)) > 40


async def test_an_unknown_extension_is_refused_by_name(sleeping: EngineProcess) -> None:
    sleeping.config["extensions"] = ["no_such_thing"]
    with pytest.raises(SkerryError, match="no_such_thing"):
        await sleeping.start()
    assert not servers_of(sleeping.directory)


async def test_words_answer(engine: EngineProcess) -> None:
    made = await engine.call("word_sql", statement="CREATE TABLE t (a int, b text)")
    assert made["status"] == "CREATE TABLE"
    insert = "INSERT INTO t SELECT n, 'x' || n FROM generate_series(1, 3) AS n RETURNING a, b"
    answer = await engine.call("word_sql", statement=insert, limit=2)
    assert answer["rows"] == [[1, "x1"], [2, "x2"]]
    assert answer["more"]
    count = await engine.call("word_sql", statement="SELECT count(*) FROM t")
    assert count["rows"] == [[3]]
    with pytest.raises(SkerryError, match="42P01"):
        await engine.call("word_sql", statement="SELECT * FROM nothing")
    with pytest.raises(SkerryError, match="42601") as caught:
        await engine.call("word_sql", statement="SELECT 1; SELECT 2")
    assert "psql" in caught.value.hint
    assert {"app", "skerry"} <= {role["name"] for role in await engine.call("word_roles")}
    offered = {each["name"]: each for each in await engine.call("word_extensions")}
    assert offered["plpgsql"]["installed"]
    assert not offered["hstore"]["installed"]
    settings = {each["name"]: each["value"] for each in await engine.call("word_settings")}
    assert settings["shared_buffers"] == "16MB"
    status = await engine.call("status")
    assert status["bytes"] > 10_000_000


def test_an_installed_postgres_of_another_version_is_not_used_for_a_directory() -> None:
    with pytest.raises(SkerryError) as caught:
        find("", 14)
    assert caught.value.code == "CONFLICT"
    with pytest.raises(SkerryError) as caught:
        find("/nowhere", None)
    assert caught.value.code == "EXTRA_MISSING"


async def test_a_postgres_of_the_machine_can_be_the_engine(tmp_path: Path) -> None:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not folders:
        pytest.skip("no PostgreSQL is installed on this machine")
    config = {"bin": str(folders[-1].parent), "retention": "1d"}
    async with EngineProcess(tmp_path, **config) as engine:
        await written(engine, 1)
        await engine.kill()
        await engine.start()
        assert await notes(engine) == [1]


def test_settings_are_quoted(tmp_path: Path) -> None:
    config = PostgresConfig(settings={"search_path": "a'b\\c\n", "jit": False})
    places = cluster.Places(tmp_path / "it's", tmp_path, None)
    cluster.configure(find("", None), config, places, "name", {})
    text = (tmp_path / "postgresql.conf").read_text()
    assert "search_path = 'a''b\\\\c '\n" in text
    assert "jit = off\n" in text
    assert os.sep + "it''s/postgresql.conf'" in text


def test_settings_that_stay_are_not_written_again(tmp_path: Path) -> None:
    places = cluster.Places(tmp_path / "data", tmp_path, None)
    written = []
    for value in (True, True, False):
        config = PostgresConfig(settings={"jit": value})
        cluster.configure(find("", None), config, places, "name", {})
        written.append((tmp_path / "postgresql.conf").stat().st_mtime_ns)
    assert written[0] == written[1] != written[2]
    assert "autovacuum_worker_slots = 4\n" in (tmp_path / "postgresql.conf").read_text()
    many = PostgresConfig(settings={"autovacuum_max_workers": 6})
    cluster.configure(find("", None), many, places, "name", {})
    assert "autovacuum_worker_slots = 6\n" in (tmp_path / "postgresql.conf").read_text()
    assert cluster.finish_waking(tmp_path)
    assert not cluster.finish_waking(tmp_path)
    assert (tmp_path / "waking.conf").read_text() == ""


async def test_autovacuum_begins_once_the_first_session_has_been_served(
    engine: EngineProcess,
) -> None:
    connection = await connect(engine)
    launcher = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'autovacuum launcher'"
    async with asyncio.timeout(10):
        while not await connection.fetchval(launcher):
            await asyncio.sleep(0.05)
    assert await connection.fetchval("SHOW autovacuum") == "on"
    await connection.close()


def test_initdb_in_a_cell_whose_user_lost_its_name_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unknown = 2**31 - 7
    monkeypatch.setattr("os.geteuid", lambda: unknown)
    monkeypatch.setattr(programs, "_is_confined", lambda: True)
    with pytest.raises(SkerryError) as caught:
        programs.as_known_user(["initdb"])
    assert caught.value.code == "ENGINE_FAILED"
    assert caught.value.hint == "skerry sleep"
    monkeypatch.setattr(programs, "_is_confined", lambda: False)
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    assert programs.as_known_user(["initdb"])[0] == "/bin/unshare"
