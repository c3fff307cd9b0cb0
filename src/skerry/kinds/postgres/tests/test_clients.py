"""SQLAlchemy and node's `pg` through the node's port, on session and pooled endpoints."""

from __future__ import annotations

import asyncio
import json
import shutil
import warnings
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from skerry.kinds.postgres.tests.harness import EngineProcess
from skerry.kinds.postgres.tests.node import Node
from skerry.kinds.postgres.tests.test_front import run

LABELS = ["newsroom", "newsroom-pooler"]
CLIENTS = Path(__file__).parents[5] / "tests" / "clients"
SCRIPT = """
const pg = require('pg');
const main = async () => {
  const client = new pg.Client(process.env.DSN);
  await client.connect();
  await client.query('DROP TABLE IF EXISTS n; CREATE TABLE n (id int, doc jsonb)');
  for (let id = 0; id < 3; id++)
    await client.query({ name: 'put', text: 'INSERT INTO n VALUES ($1, $2)',
                         values: [id, { id }] });
  await client.query('BEGIN');
  await client.query('DELETE FROM n');
  await client.query('ROLLBACK');
  const found = await client.query('SELECT id, doc FROM n ORDER BY id');
  const code = await client.query('SELECT nonsense').catch((error) => error.code);
  await client.end();
  const pool = new pg.Pool({ connectionString: process.env.DSN, max: 3 });
  const many = await Promise.all([...Array(9).keys()].map(
    (n) => pool.query('SELECT $1::int AS n', [n]).then((r) => r.rows[0].n)));
  await pool.end();
  console.log(JSON.stringify({ rows: found.rows, code, many }));
};
main().catch((error) => { console.error(error); process.exit(1); });
"""


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


def use_sqlalchemy(url: str) -> tuple[list[str], list[str]]:
    engine = sa.create_engine(url, pool_size=2, isolation_level="REPEATABLE READ")
    try:
        Base.metadata.create_all(engine)
        with Session(engine) as session:
            session.add_all([Note(text=f"note {number}") for number in range(50)])
            session.commit()
            session.execute(sa.delete(Note))
            session.rollback()
        with Session(engine) as session:
            texts = list(session.scalars(sa.select(Note.text).order_by(Note.id)))
        names = sa.inspect(engine).get_table_names()
        Base.metadata.drop_all(engine)
        return texts, names
    finally:
        engine.dispose()


@pytest.mark.parametrize("label", LABELS)
async def test_sqlalchemy(node: Node, sleeping: EngineProcess, label: str) -> None:
    url = node.dsn(sleeping, label).replace("postgresql:", "postgresql+psycopg:")
    texts, names = await asyncio.to_thread(use_sqlalchemy, url)
    assert texts == [f"note {number}" for number in range(50)]
    assert "note" in names


@pytest.mark.parametrize("label", LABELS)
async def test_node_pg(node: Node, sleeping: EngineProcess, label: str) -> None:
    program = shutil.which("node")
    if program is None or not (CLIENTS / "node_modules" / "pg").is_dir():
        reason = "node's pg was NOT tested: run `npm ci` in tests/clients"
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    modules = str(CLIENTS / "node_modules")
    dsn = node.dsn(sleeping, label)
    code, said = await run(program, "-e", SCRIPT, DSN=dsn, NODE_PATH=modules)
    assert code == 0, said
    answer = json.loads(said)
    assert answer["rows"] == [{"id": number, "doc": {"id": number}} for number in range(3)]
    assert answer["code"] == "42703"
    assert answer["many"] == list(range(9))
