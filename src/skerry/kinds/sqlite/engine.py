"""The engine of a database: one SQLite file, its streams, and the verbs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from skerry.kernel.clock import SystemEntropy
from skerry.kernel.errors import DENIED, INVALID
from skerry.kernel.kind import Context, Engine
from skerry.kinds._shared.sqlite_state import checkpoint, connect, disk_bytes
from skerry.kinds.sqlite import transfer
from skerry.kinds.sqlite.claim import Lock
from skerry.kinds.sqlite.hrana import Answer, Statement, from_any
from skerry.kinds.sqlite.manifest import QueryParams, QueryResult, SqliteConfig
from skerry.kinds.sqlite.stream import Steps, Stream
from skerry.kinds.sqlite.streams import Streams
from skerry.kinds.sqlite.values import bytes_of, from_json

FILE = "database.sqlite"
"""The database's name in the state's directory, for the engine and for bindings."""


class SqliteEngine(Engine):
    """Serves one SQLite database."""

    streams: Streams

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.lock = Lock(context.id, context.keys)
        self.path = context.directory / FILE
        self._config: SqliteConfig = context.config

    async def start(self) -> None:
        """Open the database, making it if there is none; recover what a kill has left."""
        await asyncio.to_thread(self._create)
        context = self.context
        self.streams = Streams(
            self.path, self._config, context.meter, context.clock, SystemEntropy()
        )

    async def stop(self) -> None:
        """Stop statements, roll back open transactions, close the file."""
        await self.streams.stop()

    async def busy(self) -> str:
        """Return why the database must stay awake, or ''."""
        return await self.streams.busy()

    async def prepare(self) -> None:
        """Move the log into the file, so that little is left to copy or recover."""
        await asyncio.to_thread(self._checkpoint)

    async def freeze(self, atomic: bool) -> None:
        """Hold off writers in all processes."""
        await self.streams.freeze()

    async def thaw(self) -> None:
        """Let writers go on."""
        await self.streams.thaw()

    async def export(self, target: Path) -> None:
        """Write `database.sqlite`, an exact copy, and `database.sql`, a dump to read."""
        await asyncio.to_thread(transfer.export, self.path, target)

    async def restore(self, source: Path) -> None:
        """Replace the content by an exported `.sqlite` file or an `.sql` dump."""
        await asyncio.to_thread(transfer.restore, self.path, source, self.context.directory)

    async def status(self) -> dict[str, Any]:
        """Return sizes and counts."""
        shape = await asyncio.to_thread(self._status)
        return {**shape, "streams": len(self.streams)}

    async def count(self) -> dict[str, int]:
        """See `Engine.count`: the rows of every table."""
        return await asyncio.to_thread(self._count)

    async def word_query(self, params: QueryParams) -> QueryResult:
        """Run one statement that reads; raise DENIED for one that writes."""
        return await self._word(params, reads=True)

    async def word_execute(self, params: QueryParams) -> QueryResult:
        """Run one statement of any sort."""
        return await self._word(params, reads=False)

    async def _word(self, params: QueryParams, *, reads: bool) -> QueryResult:
        stream = await self.streams.open()
        try:
            result: QueryResult = await self.streams.run(stream, _ask(stream, params, reads=reads))
        except Exception as error:
            shape = from_any(error)
            if shape.code == DENIED.code:
                raise
            raise INVALID(shape.message, why=shape.extended or shape.code) from error
        finally:
            await self.streams.close(stream)
        return result

    def _create(self) -> None:
        connect(self.path, create=True).close()

    def _checkpoint(self) -> None:
        connection = connect(self.path)
        try:
            checkpoint(connection)
        finally:
            connection.close()

    def _status(self) -> dict[str, Any]:
        connection = connect(self.path, readonly=True)
        try:
            count = "select count(*) from sqlite_schema where type = 'table'"
            return {
                "bytes": disk_bytes(self.path),
                "tables": connection.execute(count).get,
                "user_version": connection.pragma("user_version"),
            }
        finally:
            connection.close()

    def _count(self) -> dict[str, int]:
        connection = connect(self.path, readonly=True)
        try:
            tables = (
                "select name from sqlite_schema where type = 'table' and name not like 'sqlite_%'"
            )
            names = [str(row[0]) for row in connection.execute(tables)]
            rows = 0
            for name in names:
                count = f"select count(*) from {_identifier(name)}"  # noqa: S608 (a quoted name)
                rows += int(connection.execute(count).get)
            return {"tables": len(names), "rows": rows}
        finally:
            connection.close()


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _ask(stream: Stream, params: QueryParams, *, reads: bool) -> Steps:
    """Run the statement of a word and return its result."""
    statement = Statement(sql=params.sql, args=[from_json(each) for each in params.args])
    if reads and not stream.describe(params.sql)["is_readonly"]:
        raise DENIED("The statement writes.", hint="skerry sqlite execute")
    answer = yield from stream.execute(statement)
    last = answer["last_insert_rowid"]
    return QueryResult(
        columns=tuple(column["name"] for column in answer["cols"]),
        rows=tuple(tuple(map(_readable, row)) for row in answer["rows"]),
        rows_read=answer["rows_read"],
        rows_written=answer["rows_written"],
        last_row_id=None if last is None else int(last),
    )


def _readable(item: Answer) -> Any:
    """Return a value as plain JSON; a blob as hexadecimal digits."""
    if item["type"] == "integer":
        return int(item["value"])
    return bytes_of(item).hex() if item["type"] == "blob" else item.get("value")
