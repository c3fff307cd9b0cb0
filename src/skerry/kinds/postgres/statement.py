"""The word `sql`: one statement, as the application, with an answer that JSON can hold."""

from __future__ import annotations

import datetime
import decimal
import uuid
from pathlib import Path
from typing import Any

import asyncpg

from skerry.kernel.errors import ENGINE_FAILED, INVALID
from skerry.kernel.keys import Keys
from skerry.kinds.postgres.manifest import SqlParams, SqlResult
from skerry.kinds.postgres.roles import APPLICATION, password

_SECONDS = 60.0


async def run(run_directory: Path, keys: Keys, params: SqlParams) -> SqlResult:
    """Run a statement; raise INVALID with the server's own words if it fails.

    Raises ENGINE_FAILED if the server takes no session.
    """
    connection = await _connect(run_directory, keys)
    try:
        prepared = await connection.prepare(params.statement)
        columns = [each.name for each in prepared.get_attributes()]
        if columns:
            async with connection.transaction():
                cursor = await prepared.cursor()
                found = await cursor.fetch(params.limit + 1)
        else:
            found = await prepared.fetch()
        rows = [[_plain(value) for value in row.values()] for row in found[: params.limit]]
        status = prepared.get_statusmsg() or ""
        return SqlResult(columns, rows, len(found) > params.limit, status)
    except asyncpg.PostgresError as error:
        why = " ".join(filter(None, (getattr(error, "detail", ""), getattr(error, "hint", ""))))
        hint = "skerry connect (psql takes several statements)" if _several(error) else ""
        raise INVALID(f"{error.sqlstate}: {error}", why=why, hint=hint) from error
    except asyncpg.InterfaceError as error:
        raise INVALID(f"The statement cannot be run: {error}") from error
    finally:
        await connection.close()


async def _connect(run_directory: Path, keys: Keys) -> Any:
    try:
        return await asyncpg.connect(
            host=str(run_directory),
            user=APPLICATION,
            password=password(keys),
            database=APPLICATION,
            timeout=_SECONDS,
            command_timeout=_SECONDS,
        )
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise ENGINE_FAILED(
            "The database takes no session.", why=str(error), hint="skerry logs"
        ) from error


def _several(error: asyncpg.PostgresError) -> bool:
    """Tell whether more than one statement was given; the server has no code for that alone."""
    return error.sqlstate == "42601" and "multiple commands" in str(error)


def _plain(value: Any) -> Any:
    """Return what JSON holds exactly; everything else as text."""
    if value is None or isinstance(value, bool | str | float):
        return value
    if isinstance(value, int):
        return value if abs(value) < 1 << 53 else str(value)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | uuid.UUID):
        return str(value)
    return str(value)
