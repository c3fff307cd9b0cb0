"""Databases in and out: export, restore, and copies from a server elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from skerry.kernel.errors import SkerryError
from skerry.kinds.postgres.tests.harness import EngineProcess
from skerry.kinds.postgres.tests.node import Node

SCHEMA = """
CREATE ROLE staff;
CREATE ROLE editor LOGIN PASSWORD 'pencil' IN ROLE staff;
CREATE EXTENSION pg_trgm;
CREATE SCHEMA "odd ""name";
CREATE TYPE mood AS ENUM ('calm', 'storm');
CREATE TABLE article (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, title text NOT NULL, mood mood,
    body bytea, price numeric(12, 3), at timestamptz, tags text[], extra jsonb);
CREATE INDEX ON article USING gin (title gin_trgm_ops);
CREATE TABLE "odd ""name"."Note" (article bigint REFERENCES article, "when" date);
CREATE VIEW calm AS SELECT * FROM article WHERE mood = 'calm';
CREATE FUNCTION double(n int) RETURNS int LANGUAGE sql AS 'SELECT n * 2';
COMMENT ON TABLE article IS 'it''s \\ a comment';
GRANT SELECT ON article TO staff;
GRANT USAGE ON SCHEMA "odd ""name" TO editor;
GRANT SELECT ON "odd ""name"."Note" TO editor;
ALTER DATABASE app SET work_mem = '7MB';
ALTER ROLE editor SET search_path = "odd ""name", public;
INSERT INTO article (title, mood, body, price, at, tags, extra)
SELECT 'Tïtle ' || n, CASE n % 2 WHEN 0 THEN 'calm' ELSE 'storm' END::mood,
       decode(md5(n::text), 'hex'), n / 7.0,
       timestamptz '2020-02-29 12:00+00' + n * interval '1 us',
       ARRAY['a,b', NULL, '"' || n], jsonb_build_object('n', n, 'nested', ARRAY[n])
FROM generate_series(1, 500) AS n;
INSERT INTO "odd ""name"."Note" SELECT id, date '2020-01-01' + id::int FROM article;
"""

DIGEST = """
SELECT md5(string_agg(a::text, '|' ORDER BY id)) || (SELECT md5(string_agg(n::text, '|' ORDER BY n))
    FROM "odd ""name"."Note" AS n) FROM article AS a"""


async def connect(engine: EngineProcess, **more: Any) -> Any:
    return await asyncpg.connect(**engine.connection(**more))


async def ask(engine: EngineProcess, sql: str, **more: Any) -> Any:
    connection = await connect(engine, **more)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


@pytest.fixture
async def full(engine: EngineProcess) -> EngineProcess:
    connection = await connect(engine)
    await connection.execute(SCHEMA)
    await connection.execute("CREATE DATABASE second")
    await connection.close()
    other = await connect(engine, database="second")
    await other.execute("CREATE TABLE t AS SELECT 5 AS n")
    await other.close()
    return engine


@pytest.fixture
async def empty(engine: EngineProcess, template: Path, tmp_path: Path) -> AsyncIterator[Any]:
    assert engine.process
    other = EngineProcess(tmp_path / "other", "00000000000000cc", retention="0")
    async with other:
        yield other


def dump(engine: EngineProcess, folder: Path) -> Path:
    folder.mkdir()
    return folder


def texts(folder: Path) -> dict[str, list[str]]:
    """Return the files of an export without what pg_dump makes up each time."""
    return {
        str(path.relative_to(folder)): [
            line
            for line in path.read_text().splitlines()
            if not line.startswith(("\\restrict", "\\unrestrict", "--"))
        ]
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


async def test_an_export_brought_in_elsewhere_is_the_same(
    full: EngineProcess, empty: EngineProcess, tmp_path: Path
) -> None:
    first, second = dump(full, tmp_path / "first"), dump(empty, tmp_path / "second")
    await full.call("export", path=str(first))
    assert "skerry" not in (first / "roles.sql").read_text().replace("GRANTED BY skerry", "")
    assert await empty.call("restore", path=str(first)) is None
    await empty.call("export", path=str(second))
    assert texts(first) == texts(second)
    assert await ask(empty, DIGEST) == await ask(full, DIGEST)
    assert await ask(empty, "SHOW work_mem") == "7MB"
    assert await ask(empty, "SELECT n FROM t", database="second") == 5
    assert await ask(empty, 'SELECT count(*) FROM "Note"', user="editor", password="pencil") == 500


async def test_what_is_no_export_changes_nothing(full: EngineProcess, tmp_path: Path) -> None:
    before = await ask(full, DIGEST)
    folder = dump(full, tmp_path / "bad")
    with pytest.raises(SkerryError) as caught:
        await full.call("restore", path=str(folder))
    assert caught.value.code == "INVALID"
    await full.call("export", path=str(folder))
    script = next(folder.glob("databases/*.sql"))
    script.write_text(script.read_text() + "\nSELECT 1/0;\n")
    with pytest.raises(SkerryError) as caught:
        await full.call("restore", path=str(folder))
    assert caught.value.code == "INVALID"
    assert "division by zero" in caught.value.why
    assert await ask(full, DIGEST) == before
    names = "SELECT string_agg(datname, ',' ORDER BY datname) FROM pg_database"
    assert await ask(full, names) == "app,postgres,second,template0,template1"


async def test_a_database_elsewhere_is_copied_over_tls_with_progress(
    full: EngineProcess, empty: EngineProcess
) -> None:
    async with Node() as node:
        node.add(full)
        node.awake[full.id] = True
        dsn = node.dsn(full, sslmode="require")
        answer = await empty.call("word_import", dsn=dsn)
        assert answer["tables"] == 2
        assert await ask(empty, DIGEST) == await ask(full, DIGEST)
        owner = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'article'"
        assert await ask(empty, owner) == "app"
        assert empty.progress[-1][0] == empty.progress[-1][1] > 0
        assert await ask(empty, "SELECT double(21)") == 42


async def test_a_copy_that_fails_changes_nothing(full: EngineProcess) -> None:
    before = await ask(full, DIGEST)
    for dsn in (
        "postgres://app:x@127.0.0.1:1/app",
        "postgres:///app",
        "postgres://app@127.0.0.1:notaport/app",
    ):
        with pytest.raises(SkerryError) as caught:
            await full.call("word_import", dsn=dsn)
        assert caught.value.code == "INVALID", dsn
        assert "x@" not in caught.value.what + caught.value.why
    assert await ask(full, DIGEST) == before
