"""Brings the Postgres schema up to date: numbered SQL files, each run once, in one transaction."""

from __future__ import annotations

from pathlib import Path

from skerry import env

SCHEMA = Path(__file__).parent / "schema"
_LOCK = 7306
"""The advisory lock that a start holds, so that two versions that start at once take turns."""

_LEDGER = """
CREATE TABLE IF NOT EXISTS migration (
    name text PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now())
"""


async def migrate() -> None:
    """Run every file of `schema/` that has not run on this database."""
    async with env.db.transaction() as connection:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await connection.execute(_LEDGER)
        done = {row["name"] for row in await connection.fetch("SELECT name FROM migration")}
        for path in sorted(SCHEMA.glob("*.sql")):
            if path.name not in done:
                await connection.execute(path.read_text(encoding="utf-8"))
                await connection.execute("INSERT INTO migration (name) VALUES ($1)", path.name)
