"""Kind sqlite as the conformance suite sees it: Hrana over HTTP, and one table."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from skerry.kernel.subject import BoundSubject, GatedSubject, Knocked
from skerry.kinds._shared.http.message import Answer
from skerry.kinds._shared.http.request import request

_TABLE = "create table if not exists notes (key text primary key, value text)"


class SqliteSubject(BoundSubject, GatedSubject):
    """Speaks Hrana to a database."""

    async def put(self, key: str, value: str) -> None:
        """See `Subject.put`."""
        await self._run("insert or replace into notes values (?, ?)", key, value)

    async def get(self) -> dict[str, str]:
        """See `Subject.get`."""
        result = await self._run("select key, value from notes")
        return {row[0]["value"]: row[1]["value"] for row in result["rows"]}

    async def put_by(self, binding: Any, key: str, value: str) -> None:
        """See `BoundSubject.put_by`."""
        await binding.aio.batch(
            [_TABLE, ("insert or replace into notes values (?, ?)", [key, value])]
        )

    async def get_by(self, binding: Any) -> dict[str, str]:
        """See `BoundSubject.get_by`."""
        return dict(await binding.aio.query("select key, value from notes"))

    async def knock(self, *, right: bool) -> Knocked:
        """See `GatedSubject.knock`."""
        token = self.place.fields["token"] + ("" if right else "x")
        answer = await self._pipeline([{"type": "close"}], token)
        return Knocked(answer.status, answer.body.decode())

    async def _run(self, sql: str, *arguments: str) -> Any:
        values = [{"type": "text", "value": each} for each in arguments]
        requests = [
            {"type": "execute", "stmt": {"sql": _TABLE}},
            {"type": "execute", "stmt": {"sql": sql, "args": values}},
            {"type": "close"},
        ]
        answer = await self._pipeline(requests, self.place.fields["token"])
        assert answer.status == 200, answer.body
        results = msgspec.json.decode(answer.body)["results"]
        assert all(each["type"] == "ok" for each in results), results
        return results[1]["response"]["result"]

    async def _pipeline(self, requests: Sequence[object], token: str) -> Answer:
        return await asyncio.to_thread(
            request,
            f"{self.place.fields['url']}/v2/pipeline",
            "POST",
            msgspec.json.encode({"requests": requests}),
            {"Authorization": f"Bearer {token}"},
        )
