"""Counting what a server holds, by reading all of it."""

from __future__ import annotations

from pathlib import Path

from skerry.kernel.keys import Keys
from skerry.kinds._shared.pgwire.messages import identifier
from skerry.kinds.postgres.control import connect

_SECONDS_MAX = 6 * 3600.0
_DATABASES = """
SELECT datname FROM pg_database
WHERE NOT datistemplate AND datallowconn AND datname <> 'postgres'"""
_TABLES = """
SELECT n.nspname AS schema, c.relname AS name FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname !~ '^(pg_|information_schema$)'"""


async def count(run: Path, keys: Keys) -> dict[str, int]:
    """Return how many databases, tables and rows there are; every row is read."""
    names = [row["datname"] for row in await _fetch(run, keys, "postgres", _DATABASES)]
    tables = rows = 0
    for name in names:
        connection = await connect(run, keys, name)
        try:
            for table in await connection.fetch(_TABLES):
                place = f"{identifier(table['schema'])}.{identifier(table['name'])}"
                statement = f"SELECT count(*) FROM {place}"  # noqa: S608 (quoted names)
                rows += int(await connection.fetchval(statement, timeout=_SECONDS_MAX))
                tables += 1
        finally:
            await connection.close()
    return {"databases": len(names), "tables": tables, "rows": rows}


async def _fetch(run: Path, keys: Keys, database: str, select: str) -> list[dict[str, str]]:
    connection = await connect(run, keys, database)
    try:
        return [dict(row) for row in await connection.fetch(select)]
    finally:
        await connection.close()
