"""The verbs: sleep, kill, freeze and branch, export and import; words; and the binding."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw
import pytest

from skerry.kernel.errors import CONFLICT, DENIED, INVALID, SkerryError
from skerry.kernel.kind import Context
from skerry.kinds._shared.sqlite_state import connect
from skerry.kinds.sqlite.binding import bind
from skerry.kinds.sqlite.engine import FILE, SqliteEngine
from skerry.kinds.sqlite.hrana import Statement
from skerry.kinds.sqlite.manifest import MANIFEST, QueryParams
from skerry.kinds.sqlite.surface import Database

WRITER = """
import sys
from pathlib import Path
from skerry.kinds._shared.sqlite_state import connect
connection = connect(Path(sys.argv[1]))
for number in range(1_000_000):
    connection.execute("insert into t values (?)", (number,))
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


@pytest.fixture
async def database(engine: SqliteEngine, context: Context) -> Any:
    database = await bind(context)
    database.execute("create table t (a)")
    yield database
    database.close()


async def test_words(engine: SqliteEngine) -> None:
    made = await engine.word_execute(QueryParams("create table t (a, b)"))
    assert made.columns == ()
    await engine.word_execute(QueryParams("insert into t values (?, x'00ff')", ("é",)))
    found = await engine.word_query(QueryParams("select * from t"))
    assert (found.columns, found.rows) == (("a", "b"), (("é", "00ff"),))
    for sql, problem in (("delete from t", DENIED), ("selec", INVALID)):
        with pytest.raises(SkerryError) as caught:
            await engine.word_query(QueryParams(sql))
        assert caught.value.problem is problem
    assert (await engine.status())["tables"] == 1
    for word in MANIFEST.words:
        assert hasattr(engine, f"word_{word.name}")


async def test_binding(database: Database, context: Any) -> None:
    change = database.execute("insert into t values (?), (?)", [1, "é"])
    assert (change.rows, change.last_row_id) == (2, 2)
    rows = database.query("select a, rowid as id from t where a = :a", {"a": "é"})
    assert rows == [("é", 2)]
    assert (rows[0].a, rows[0]["id"], rows[0][0], dict(rows[0])) == (
        "é", 2, "é", {"a": "é", "id": 2},
    )  # fmt: skip
    assert database.first("select 1 where 0") is None
    with pytest.raises(ZeroDivisionError), database.transaction() as transaction:
        transaction.execute("delete from t")
        raise ZeroDivisionError
    results = database.batch(["delete from t where a = 1", ("select count(*) from t", ())])
    assert results[1] == [(1,)]
    assert await database.aio.query("select a from t") == [("é",)]
    assert context.meter.counts["rows_written"] >= 3
    database.execute("create unique index i on t (a)")
    for sql, problem in (
        ("insert into t values ('é')", CONFLICT),
        ("attach 'x' as y", DENIED),
        ("select 1; select 2", INVALID),
        ("selec", INVALID),
    ):
        with pytest.raises(SkerryError) as caught:
            database.execute(sql)
        assert caught.value.problem is problem


async def test_acknowledged_writes_survive_a_kill(engine: SqliteEngine, database: Database) -> None:
    command = [sys.executable, "-c", WRITER, str(engine.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        seen = [int(process.stdout.readline()) for _ in range(20)]
        process.kill()
        seen += [int(line) for line in process.stdout if line.endswith("\n")]
    kept = {row[0] for row in database.query("select a from t")}
    assert set(seen) <= kept


@pytest.mark.parametrize("open_transaction", [False, True])
async def test_a_freeze_holds_off_every_writer(
    engine: SqliteEngine, database: Database, tmp_path: Path, open_transaction: bool
) -> None:
    stream = await engine.streams.open()
    if open_transaction:
        await engine.streams.run(stream, stream.execute(Statement("begin immediate")))
        await engine.streams.run(stream, stream.execute(Statement("insert into t values (7)")))
    await engine.prepare()
    await engine.freeze(atomic=False)
    clone = tmp_path / "clone"
    clone.mkdir()
    subprocess.run(["cp", *engine.path.parent.glob(f"{FILE}*"), clone], check=True)
    other = asyncio.create_task(database.aio.execute("insert into t values (1)"))
    own = asyncio.create_task(
        engine.streams.run(stream, stream.execute(Statement("insert into t values (2)")))
    )
    await asyncio.sleep(0.1)
    assert not other.done()
    assert not own.done()
    await engine.thaw()
    await own
    if open_transaction:
        await engine.streams.run(stream, stream.execute(Statement("commit")))
    await other
    await engine.streams.close(stream)
    expected = [1, 2, 7] if open_transaction else [1, 2]
    assert [row[0] for row in database.query("select a from t order by a")] == expected
    copy = connect(clone / FILE)
    assert copy.execute("select count(*) from t").get == 0
    copy.close()


async def test_export_and_import_are_the_identity(
    engine: SqliteEngine, database: Database, tmp_path: Path
) -> None:
    database.batch(
        [
            "create virtual table f using fts5(x)",
            "insert into f values ('storm at sea')",
            "create table k (a integer primary key, b blob)",
            "insert into k values (1, x'00ff'), (9, 'it''s'), (10, 1.5), (11, null)",
            "insert into t values (1), (2), (3)",
            "delete from t where a = 2",
            "create trigger g after insert on k begin delete from t; end",
        ]
    )
    target = tmp_path / "export"
    target.mkdir()
    await engine.export(target)
    wanted = ["select rowid, * from t", "select * from k", "select * from f where f match 'sea'"]
    before = [database.query(sql) for sql in wanted]
    for kept in ("database.sqlite", "database.sql"):
        only = tmp_path / kept.replace(".", "-")
        only.mkdir()
        subprocess.run(["cp", target / kept, only], check=True)
        database.batch(["drop table f", "drop table k", "delete from t"])
        await engine.restore(only)
        after = [database.query(sql) for sql in wanted]
        if kept == "database.sql":
            assert [row[1] for row in after[0]] == [row[1] for row in before[0]]
            assert after[1:] == before[1:]
        else:
            assert after == before
    assert not list(engine.path.parent.glob("restore-*"))
    assert "User:" not in (target / "database.sql").read_text()


async def test_a_bad_export_changes_nothing(
    engine: SqliteEngine, database: Database, tmp_path: Path
) -> None:
    database.execute("insert into t values (1)")
    for name, content in (
        ("a.sqlite", b"garbage" * 1000),
        ("a.sql", b"create table x(a); selec"),
        ("b.sql", b"attach '/etc/passwd' as p;"),
        ("c.txt", b""),
    ):
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        (folder / name).write_bytes(content)
        with pytest.raises(SkerryError) as caught:
            await engine.restore(folder)
        assert caught.value.problem is INVALID
    assert database.query("select a from t") == [(1,)]


async def test_stop_undoes_what_is_open_and_leaves_one_file(context: Context) -> None:
    engine = SqliteEngine(context)
    await engine.start()
    stream = await engine.streams.open()
    for sql in ("create table t (a)", "begin", "insert into t values (1)"):
        await engine.streams.run(stream, stream.execute(Statement(sql)))
    assert await engine.busy()
    await engine.stop()
    assert [each.name for each in context.directory.iterdir()] == [FILE]
    connection = apsw.Connection(str(context.directory / FILE))
    assert connection.execute("select count(*) from t").get == 0
    connection.close()
