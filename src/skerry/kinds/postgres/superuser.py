"""A superuser's session over the unix socket, for what Skerry itself asks the server.

Statements go as simple queries and rows come back as JSON, so that nothing has to be asked about
types first, and a session costs little more than its log-in.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from skerry.kinds._shared.pgwire import messages
from skerry.kinds._shared.pgwire.scram import Credential
from skerry.kinds.postgres.roles import SUPERUSER
from skerry.kinds.postgres.server import SOCKET
from skerry.kinds.postgres.upstream import Upstream, connect

_MAX_ANSWER_BYTES = 64 << 20


class StatementError(Exception):
    """The server refused a statement; `code` is its SQLSTATE."""

    def __init__(self, body: bytes) -> None:
        fields = messages.parse_error(body)
        super().__init__(fields.get("M", "the statement failed"))
        self.code = fields.get("C", "XX000")


class Superuser:
    """One session; one statement at a time, and closed once an answer is not waited for."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    @classmethod
    async def open(cls, run: Path, credential: Credential, database: str) -> Superuser:
        """Log in; raises OSError, RefusalError, WireError."""
        upstream = await connect(str(run / SOCKET))
        parameters = {"user": SUPERUSER, "database": database, "application_name": "skerry"}
        try:
            await upstream.log_in({**parameters, "options": "-c jit=off"}, credential)
        except BaseException:
            upstream.close()
            raise
        return cls(upstream)

    @property
    def closed(self) -> bool:
        """Whether the session has ended."""
        return self._upstream.lost

    def close(self) -> None:
        """End the session."""
        self._upstream.lost = True
        self._upstream.close()

    async def run(self, sql: str, seconds: float) -> list[str | None]:
        """Run statements in one transaction; return the first column of all their rows.

        Raises StatementError, OSError, WireError, TimeoutError.
        """
        try:
            async with asyncio.timeout(seconds):
                answer = await self._upstream.ask(messages.query(sql), _MAX_ANSWER_BYTES)
        except BaseException:
            self.close()
            raise
        for kind, body in answer:
            if kind == b"E":
                raise StatementError(body)
        return [messages.row(body)[0] for kind, body in answer if kind == b"D"]

    async def rows(self, select: str, seconds: float) -> list[dict[str, Any]]:
        """Return the rows of a SELECT by the names of its columns."""
        found = await self.run(as_json(select), seconds)
        return [msgspec.json.decode(text or "null") for text in found]


def as_json(select: str) -> str:
    """Return a SELECT that gives each row of another as one JSON object."""
    return f"SELECT row_to_json(_) FROM ({select}) AS _"  # noqa: S608
