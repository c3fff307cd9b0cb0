"""The engine's own connection: what it asks and tells the server as superuser."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg

from skerry.kernel.errors import CONFIG_INVALID
from skerry.kernel.keys import Keys
from skerry.kinds.postgres.roles import (
    APPLICATION,
    SUPERUSER,
    application_verifier,
    superuser_password,
)

CONNECTION_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)
"""What asking a server that is ill may raise."""

_SECONDS = 60.0
_GRANTS = (
    "pg_monitor",
    "pg_signal_backend",
    "pg_checkpoint",
    "pg_maintain",
    "pg_create_subscription",
)

_BUSY = """
SELECT CASE
    WHEN backend_type = 'walsender' THEN 'a replica or subscriber follows'
    WHEN backend_type = 'autovacuum worker' THEN 'autovacuum is running'
    WHEN state LIKE 'idle in transaction%' THEN 'a transaction is open'
    WHEN state <> 'idle' THEN 'a query is running'
    WHEN query ~* '^\\s*listen\\s' THEN 'a session listens'
    ELSE 'a session holds an advisory lock' END
FROM pg_stat_activity AS activity
WHERE pid <> pg_backend_pid() AND (
    backend_type IN ('walsender', 'autovacuum worker')
    OR backend_type IN ('client backend', 'parallel worker') AND (
        state <> 'idle' OR query ~* '^\\s*listen\\s'
        OR EXISTS (SELECT FROM pg_locks
                   WHERE pg_locks.pid = activity.pid AND locktype = 'advisory')))
LIMIT 1"""

_USAGE = """
SELECT coalesce(sum(active_time), 0)::bigint AS active_ms,
       coalesce(sum(tup_inserted + tup_updated + tup_deleted), 0)::bigint AS rows_written
FROM pg_stat_database WHERE datname NOT IN ('postgres', 'template0', 'template1')"""

_FLUSH = "SELECT pg_stat_force_next_flush()"

_STATUS = """
SELECT (SELECT sum(pg_database_size(oid)) FROM pg_database)::bigint AS bytes,
       (SELECT count(*) FROM pg_stat_activity
        WHERE backend_type = 'client backend') - 1 AS sessions,
       pg_current_wal_lsn()::text AS wal_position"""

_VERIFIERS = """
SELECT rolname::text, rolpassword FROM pg_authid
WHERE rolcanlogin AND rolpassword LIKE 'SCRAM-SHA-256$%' AND rolname <> $1"""

_ROLES = """
SELECT rolname::text AS name, rolcanlogin AS login, rolsuper AS superuser,
       rolcreatedb AS create_database, rolcreaterole AS create_role,
       array(SELECT g.rolname::text FROM pg_auth_members AS m
             JOIN pg_roles AS g ON g.oid = m.roleid WHERE m.member = r.oid ORDER BY 1) AS member_of
FROM pg_roles AS r WHERE rolname NOT LIKE 'pg\\_%' ORDER BY 1"""

_EXTENSIONS = """
SELECT a.name::text, a.default_version::text AS available,
       e.extversion::text AS installed, a.comment AS summary
FROM pg_available_extensions AS a LEFT JOIN pg_extension AS e ON e.extname = a.name ORDER BY 1"""

_SETTINGS = """
SELECT name, current_setting(name) AS value, boot_val AS default, short_desc AS summary
FROM pg_settings WHERE source NOT IN ('default', 'client', 'override', 'session')
  AND name NOT LIKE '%directory' AND name NOT LIKE '%\\_file' ORDER BY 1"""


async def connect(run: Path, keys: Keys, database: str = "postgres") -> Any:
    """Open a connection as superuser over the unix socket."""
    return await asyncpg.connect(
        host=str(run),
        user=SUPERUSER,
        password=superuser_password(keys),
        database=database,
        timeout=_SECONDS,
        command_timeout=_SECONDS,
        statement_cache_size=20,
        server_settings={"application_name": "skerry", "jit": "off"},
    )


class Control:
    """One superuser connection, opened when it is first used; one statement at a time."""

    def __init__(self, run: Path, keys: Keys) -> None:
        self._run = run
        self._keys = keys
        self._connection: Any = None
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def fetch(self, sql: str, *values: Any, seconds: float = _SECONDS) -> list[Any]:
        """Run one statement and return its rows."""
        async with self._lock:
            if self._connection is None or self._connection.is_closed():
                self._connection = await connect(self._run, self._keys)
            rows: list[Any] = await self._connection.fetch(sql, *values, timeout=seconds)
            return rows

    async def checkpoint(self) -> None:
        """Write all changes to the data files, so that a copy has next to nothing to redo."""
        await self.fetch("CHECKPOINT", seconds=600.0)

    async def busy(self) -> str:
        """Return why the server must stay awake, or ''."""
        rows = await self.fetch(_BUSY)
        return str(rows[0][0]) if rows else ""

    async def usage(self) -> dict[str, int]:
        """Return the totals since the server's statistics began."""
        return dict((await self.fetch(_USAGE))[0])

    async def status(self) -> dict[str, Any]:
        """Return size, sessions and WAL position."""
        return dict((await self.fetch(_STATUS))[0])

    async def verifiers(self) -> dict[str, str]:
        """Return the verifier of each role that can log in, but for the superuser."""
        return dict(await self.fetch(_VERIFIERS, SUPERUSER))

    async def own_application_role(self) -> None:
        """Make the application role and its database, or give the role this branch's password."""
        verifier = str(await asyncio.to_thread(application_verifier, self._keys))
        exists = await self.fetch("SELECT FROM pg_roles WHERE rolname = $1", APPLICATION)
        verb = "ALTER" if exists else "CREATE"
        await self.fetch(
            f"{verb} ROLE {APPLICATION} LOGIN CREATEDB CREATEROLE PASSWORD '{verifier}'"
        )
        for role in _GRANTS:
            if await self.fetch("SELECT FROM pg_roles WHERE rolname = $1", role):
                await self.fetch(f"GRANT {role} TO {APPLICATION}")
        if not await self.fetch("SELECT FROM pg_database WHERE datname = $1", APPLICATION):
            await self.fetch(f"CREATE DATABASE {APPLICATION} OWNER {APPLICATION}")

    async def create_extensions(self, names: Sequence[str]) -> None:
        """Create extensions for the application; raise CONFIG_INVALID for an unknown one."""
        connection = await connect(self._run, self._keys, APPLICATION)
        try:
            for name in names:
                known = await connection.fetchval(
                    "SELECT format('%I', name) FROM pg_available_extensions WHERE name = $1", name
                )
                if known is None:
                    raise CONFIG_INVALID(
                        f"This PostgreSQL has no extension {name!r}.",
                        hint="skerry postgres extensions <resource>",
                    )
                await connection.execute(f"CREATE EXTENSION IF NOT EXISTS {known} CASCADE")
            await connection.fetch(_FLUSH)
        finally:
            await connection.close()

    async def roles(self) -> list[dict[str, Any]]:
        """Return the roles, without PostgreSQL's own."""
        return [dict(row) for row in await self.fetch(_ROLES)]

    async def settings(self) -> list[dict[str, Any]]:
        """Return the settings that differ from PostgreSQL's defaults."""
        return [dict(row) for row in await self.fetch(_SETTINGS)]

    async def extensions(self) -> list[dict[str, Any]]:
        """Return the extensions there are, and which of them the application's database has."""
        connection = await connect(self._run, self._keys, APPLICATION)
        try:
            return [dict(row) for row in await connection.fetch(_EXTENSIONS)]
        finally:
            await connection.close()
