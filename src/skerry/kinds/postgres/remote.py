"""The binding of a database on another node: PostgreSQL's own protocol, through the nodes' tunnel.

The other node's port takes it for a client like any other, so the database's name says which one is
meant. No statement is sent twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from skerry.kernel.errors import NODE_UNREACHABLE, SkerryError
from skerry.kernel.kind import Context
from skerry.kernel.names import host_label
from skerry.kinds.postgres.binding import Database
from skerry.kinds.postgres.binding import bind as bind_here
from skerry.kinds.postgres.config import PostgresConfig
from skerry.kinds.postgres.roles import APPLICATION

SOCKET = ".s.PGSQL.5432"
"""What clients of PostgreSQL look for in the folder that they are given as a host."""


class RemoteDatabase(Database):
    """A Postgres database on another node, as the application's role."""

    def __init__(self, context: Context, config: PostgresConfig) -> None:
        super().__init__(context, config)
        ref = context.ref
        self._database = f"{APPLICATION}@{host_label(ref.app, ref.branch, ref.name)}"

    async def ready(self) -> str:
        """Make the way to the database and return its DSN; the first client wakes it."""
        path = Path(await self._context.host.ready(self._context.ref.name))
        await asyncio.to_thread(_link, self._context.run / SOCKET, path)
        return self.dsn

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator[Any]:
        """See `Database.acquire`; NODE_UNREACHABLE if the connection breaks meanwhile."""
        try:
            async with super().acquire() as connection:
                yield connection
        except asyncpg.PostgresConnectionError as error:
            why = f"{error}. What had been sent may have been carried out."
            raise self._unreachable(why) from error

    async def _connect(self, *_: Any, **options: Any) -> Any:
        """Open a connection of the pool."""
        await self.ready()
        try:
            return await self._open(str(self._context.run), **options)
        except (OSError, asyncpg.PostgresConnectionError) as error:
            why = str(error) or "The connection did not come about in time."
            raise self._unreachable(why) from error

    def _unreachable(self, why: str) -> SkerryError:
        name = self._context.ref.name
        what = f"The node that holds {name} does not answer."
        return NODE_UNREACHABLE(what, why=why, hint="skerry nodes")


async def bind(context: Context) -> Database:
    """Make the binding of a Postgres resource that is on another node, or of an external one."""
    config = msgspec.convert(context.config, PostgresConfig)
    if config.external:
        return await bind_here(context)
    database = RemoteDatabase(context, config)
    await database.ready()
    return database


def _link(link: Path, target: Path) -> None:
    """Give a socket the name that clients look for; many may do so at once."""
    if link.is_symlink() and link.readlink() == target:
        return
    link.unlink(missing_ok=True)
    with contextlib.suppress(FileExistsError):
        link.symlink_to(target)
