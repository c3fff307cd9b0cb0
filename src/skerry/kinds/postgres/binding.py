"""What a function receives as `env.<name>`: a pool of connections that survives the server's sleep.

articles = await env.db.fetch("SELECT title FROM article WHERE section = $1", "sport")
async with env.db.transaction() as connection:
    await connection.execute("UPDATE …")
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import msgspec

from skerry.kernel.kind import Context
from skerry.kinds.postgres.config import PostgresConfig
from skerry.kinds.postgres.external import external_dsn
from skerry.kinds.postgres.roles import APPLICATION, password

_IDLE_SECONDS = 60.0
_STATEMENT_SECONDS = 60.0
_CONNECT_SECONDS = 60.0


class Database:
    """A Postgres database, as the application's role."""

    def __init__(self, context: Context, config: PostgresConfig) -> None:
        self._context = context
        self._size = config.pool_size
        self._database = APPLICATION
        self._external = context.secrets.get(config.dsn_secret, "") if config.external else ""
        self._pool: Any = None
        self._making = asyncio.Lock()

    @property
    def dsn(self) -> str:
        """The DSN for psycopg, SQLAlchemy and others; `ready` must have been awaited before."""
        if self._external:
            return self._external
        secret = quote(password(self._context.keys))
        folder = quote(str(self._context.run), safe="")
        database = quote(self._database, safe="")
        return f"postgresql://{APPLICATION}:{secret}@/{database}?host={folder}"

    async def ready(self) -> str:
        """Wake the database and return its DSN."""
        if not self._external:
            await self._context.host.ready(self._context.ref.name)
        return self.dsn

    async def fetch(self, sql: str, *values: Any) -> list[Any]:
        """Return all rows; a row is read by column name or number."""
        async with self.acquire() as connection:
            rows: list[Any] = await connection.fetch(sql, *values)
            return rows

    async def fetchrow(self, sql: str, *values: Any) -> Any:
        """Return the first row, or None."""
        async with self.acquire() as connection:
            return await connection.fetchrow(sql, *values)

    async def fetchval(self, sql: str, *values: Any) -> Any:
        """Return the first value of the first row, or None."""
        async with self.acquire() as connection:
            return await connection.fetchval(sql, *values)

    async def execute(self, sql: str, *values: Any) -> str:
        """Run a statement, or several without values; return the last one's status."""
        async with self.acquire() as connection:
            return str(await connection.execute(sql, *values))

    async def executemany(self, sql: str, values: Iterable[Sequence[Any]]) -> None:
        """Run a statement once for each sequence of values, all or nothing."""
        async with self.acquire() as connection:
            await connection.executemany(sql, values)

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator[Any]:
        """Hold one `asyncpg.Connection`, for LISTEN, COPY, cursors and the like."""
        pool = await self._connections()
        async with pool.acquire(timeout=_CONNECT_SECONDS) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def transaction(self, isolation: str = "read_committed") -> AsyncIterator[Any]:
        """Hold one connection in a transaction: committed at the end, rolled back on an error."""
        async with self.acquire() as connection, connection.transaction(isolation=isolation):
            yield connection

    async def close(self) -> None:
        """Close all connections; the next use opens new ones."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    async def _connections(self) -> Any:
        async with self._making:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    min_size=0,
                    max_size=self._size,
                    max_inactive_connection_lifetime=_IDLE_SECONDS,
                    command_timeout=_STATEMENT_SECONDS,
                    connect=self._connect,
                )
            return self._pool

    async def _connect(self, *_: Any, **options: Any) -> Any:
        """Open a connection of the pool, waking the server first."""
        if self._external:
            return await asyncpg.connect(self._external, **options)
        socket = await self._context.host.ready(self._context.ref.name)
        return await self._open(str(Path(socket).parent), **options)

    async def _open(self, folder: str, **options: Any) -> Any:
        """Open a connection by the socket in a folder."""
        return await asyncpg.connect(
            host=folder,
            user=APPLICATION,
            password=password(self._context.keys),
            database=self._database,
            timeout=_CONNECT_SECONDS,
            **options,
        )


async def bind(context: Context) -> Database:
    """Make the binding of a Postgres resource; raise what `external_dsn` raises."""
    config = msgspec.convert(context.config, PostgresConfig)
    if config.external:
        external_dsn(context, config)
    return Database(context, config)
