"""Kind models as the conformance suite sees it: a key named `k` whose note is the value."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from skerry.kernel.subject import Subject
from skerry.kinds._shared.http.request import request


class ModelsSubject(Subject):
    """Makes and lists keys over the wire."""

    async def put(self, key: str, value: str) -> None:
        """See `Subject.put`."""
        await self._call("POST", msgspec.json.encode({"key": key, "note": value}))

    async def get(self) -> dict[str, str]:
        """See `Subject.get`."""
        found = await self._call("GET")
        own = ("owner", "app")
        return {each["key"]: each["note"] for each in found["data"] if each["key"] not in own}

    async def _call(self, method: str, body: bytes | None = None) -> Any:
        answer = await asyncio.to_thread(
            request,
            f"{self.place.fields['base_url']}/keys",
            method,
            body,
            {"Authorization": f"Bearer {self.place.fields['token']}"},
        )
        assert answer.status in (200, 201), answer.body
        return msgspec.json.decode(answer.body)
