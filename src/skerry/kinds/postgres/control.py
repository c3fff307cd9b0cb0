"""The engine's own connection: what it asks and tells the server as superuser."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from skerry.kernel.errors import CONFIG_INVALID
from skerry.kernel.keys import Keys
from skerry.kinds._shared.pgwire import messages
from skerry.kinds._shared.pgwire.messages import WireError
from skerry.kinds._shared.pgwire.scram import Credential, ScramError, Verifier
from skerry.kinds.postgres.roles import (
    APPLICATION,
    SUPERUSER,
    application_verifier,
    superuser_credential,
    superuser_password,
)
from skerry.kinds.postgres.superuser import StatementError, Superuser, as_json
from skerry.kinds.postgres.upstream import RefusalError

CONNECTION_ERRORS = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    TimeoutError,
    RefusalError,
    ScramError,
    StatementError,
    WireError,
)
"""What asking a server that is ill may raise."""

_SECONDS = 60.0
_GRANTS = """'{pg_monitor,pg_signal_backend,pg_checkpoint,pg_maintain,pg_create_subscription}'"""

_MAKE_ROLE = """
DO $do$ DECLARE granted name;
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
    CREATE ROLE app;
  END IF;
  ALTER ROLE app LOGIN CREATEDB CREATEROLE PASSWORD '{verifier}';
  FOR granted IN SELECT rolname FROM pg_roles WHERE rolname = ANY ({grants}) LOOP
    EXECUTE format('GRANT %I TO app', granted);
  END LOOP;
END $do$"""

_BUSY = """
SELECT CASE
    WHEN backend_type = 'walsender' THEN 'a replica or subscriber follows'
    WHEN backend_type = 'autovacuum worker' THEN 'autovacuum is running'
    WHEN state LIKE 'idle in transaction%' THEN 'a transaction is open'
    WHEN state <> 'idle' THEN 'a query is running'
    WHEN query ~* '^\\s*listen\\s' THEN 'a session listens'
    ELSE 'a session holds an advisory lock' END
FROM pg_stat_activity AS activity
WHERE pid <> pg_backend_pid() AND application_name <> 'skerry_stream' AND (
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
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
            ELSE pg_current_wal_lsn() END::text AS wal_position,
       pg_is_in_recovery() AS read_only"""

_REPLAYED = """
SELECT pg_wal_lsn_diff(coalesce(pg_last_wal_replay_lsn(), '0/0'), '0/0')::bigint AS at"""

_VERIFIERS = """
SELECT rolname AS name, rolpassword AS verifier FROM pg_authid
WHERE rolcanlogin AND rolpassword LIKE 'SCRAM-SHA-256$%' AND rolname <> 'skerry'"""

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
    """Open a connection of asyncpg as superuser over the unix socket."""
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
    """One superuser session, opened when it is first used; one statement at a time."""

    def __init__(self, run: Path, keys: Keys) -> None:
        self._run = run
        self._keys = keys
        self._credential: Credential | None = None
        self._verifier: Verifier | None = None
        self._session: Superuser | None = None
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        """Close the session."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    async def learn(self) -> None:
        """Derive what a set-up needs, which takes some milliseconds, while the server starts."""
        await asyncio.gather(self._superuser(), self._application())

    async def fetch(self, select: str) -> list[dict[str, Any]]:
        """Run one SELECT and return its rows."""
        async with self._lock:
            return await (await self._open()).rows(select, _SECONDS)

    async def run(self, sql: str, seconds: float = _SECONDS) -> list[str | None]:
        """Run statements in one transaction and return the first column of all their rows."""
        async with self._lock:
            return await (await self._open()).run(sql, seconds)

    async def checkpoint(self) -> None:
        """Write all changes to the data files, so that a copy has next to nothing to redo."""
        await self.run("CHECKPOINT", seconds=600.0)

    async def busy(self) -> str:
        """Return why the server must stay awake, or ''."""
        rows = await self.run(_BUSY)
        return str(rows[0]) if rows else ""

    async def usage(self) -> dict[str, int]:
        """Return the totals since the server's statistics began."""
        return (await self.fetch(_USAGE))[0]

    async def status(self) -> dict[str, Any]:
        """Return size, sessions and WAL position."""
        return (await self.fetch(_STATUS))[0]

    async def replayed(self) -> int:
        """Return the position in the log up to which a standby has come."""
        return int((await self.fetch(_REPLAYED))[0]["at"])

    async def verifiers(self) -> dict[str, str]:
        """Return the verifier of each role that can log in, but for the superuser."""
        return {row["name"]: row["verifier"] for row in await self.fetch(_VERIFIERS)}

    async def make_application(self) -> None:
        """Make the application's role and database."""
        verifier = await self._application()
        await self.run(_MAKE_ROLE.format(verifier=verifier, grants=_GRANTS))
        if not await self.run("SELECT 1 FROM pg_database WHERE datname = 'app'"):
            await self.run(f"CREATE DATABASE {APPLICATION} OWNER {APPLICATION}")

    async def take_over(self) -> dict[str, int]:
        """Give the application's role in a copy this branch's password; return the totals.

        It is on disk once a later transaction is, such as `flush`.
        """
        verifier = await self._application()
        alter = f"ALTER ROLE {APPLICATION} PASSWORD '{verifier}'"
        rows = await self.run(f"SET LOCAL synchronous_commit = off; {alter}; {as_json(_USAGE)}")
        totals: dict[str, int] = msgspec.json.decode(rows[0] or "")
        return totals

    async def create_extensions(self, names: Sequence[str]) -> None:
        """Create extensions for the application; raise CONFIG_INVALID if one cannot be."""
        session = await self._log_in(APPLICATION)
        try:
            for name in names:
                sql = f"CREATE EXTENSION IF NOT EXISTS {messages.identifier(name)} CASCADE"
                await session.run(sql, _SECONDS)
            await session.run(_FLUSH, _SECONDS)
        except StatementError as error:
            raise CONFIG_INVALID(
                f"The extension {name!r} cannot be created.",
                why=f"{error}.",
                hint="skerry postgres extensions <resource>",
            ) from error
        finally:
            session.close()

    async def flush(self) -> None:
        """Return when everything that was committed before is on disk."""
        await self.run("SELECT pg_logical_emit_message(true, 'skerry', '')")

    async def roles(self) -> list[dict[str, Any]]:
        """Return the roles, without PostgreSQL's own."""
        return await self.fetch(_ROLES)

    async def settings(self) -> list[dict[str, Any]]:
        """Return the settings that differ from PostgreSQL's defaults."""
        return await self.fetch(_SETTINGS)

    async def extensions(self) -> list[dict[str, Any]]:
        """Return the extensions there are, and which of them the application's database has."""
        session = await self._log_in(APPLICATION)
        try:
            return await session.rows(_EXTENSIONS, _SECONDS)
        finally:
            session.close()

    async def _open(self) -> Superuser:
        if self._session is None or self._session.closed:
            self._session = await self._log_in("postgres")
        return self._session

    async def _log_in(self, database: str) -> Superuser:
        credential = await self._superuser()
        async with asyncio.timeout(_SECONDS):
            return await Superuser.open(self._run, credential, database)

    async def _superuser(self) -> Credential:
        if self._credential is None:
            self._credential = await asyncio.to_thread(superuser_credential, self._keys)
        return self._credential

    async def _application(self) -> Verifier:
        if self._verifier is None:
            self._verifier = await asyncio.to_thread(application_verifier, self._keys)
        return self._verifier
