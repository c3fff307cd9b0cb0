"""Kind postgres as the conformance suite sees it: asyncpg at the node's port, and one table."""

from __future__ import annotations

from typing import Any

import asyncpg

from skerry.kernel.subject import BoundSubject, Place


class PostgresSubject(BoundSubject):
    """Keeps one connection, and opens another where that one was lost."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._connection: asyncpg.Connection | None = None

    async def put(self, key: str, value: str) -> None:
        """See `Subject.put`."""
        await self._run(
            "insert into notes values ($1, $2) on conflict (key) do update set value = $2",
            key,
            value,
        )

    async def get(self) -> dict[str, str]:
        """See `Subject.get`."""
        rows = await self._run("select key, value from notes")
        return {row["key"]: row["value"] for row in rows}

    async def put_by(self, binding: Any, key: str, value: str) -> None:
        """See `BoundSubject.put_by`."""
        await binding.execute("insert into notes values ($1, $2)", key, value)

    async def get_by(self, binding: Any) -> dict[str, str]:
        """See `BoundSubject.get_by`."""
        return dict(await binding.fetch("select key, value from notes"))

    async def _run(self, sql: str, *values: str) -> list[asyncpg.Record]:
        """Run a statement that may run twice; again if the server died under it."""
        try:
            rows: list[asyncpg.Record] = await (await self._open()).fetch(sql, *values)
        except (asyncpg.ConnectionDoesNotExistError, asyncpg.AdminShutdownError):
            rows = await (await self._open()).fetch(sql, *values)
        return rows

    async def _open(self) -> asyncpg.Connection:
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        self._connection = await asyncpg.connect(self.place.fields["url"])
        await self._connection.execute(
            "do $do$ begin if to_regclass('notes') is null then "
            "perform pg_advisory_xact_lock(1); "
            "create table if not exists notes (key text primary key, value text); "
            "end if; end $do$"
        )
        return self._connection

    async def close(self) -> None:
        """See `Subject.close`."""
        if self._connection is not None:
            await self._connection.close(timeout=5)
