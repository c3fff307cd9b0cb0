"""Kind models as the conformance suite sees it: a key named `k` whose note is the value."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from skerry.kernel.subject import LeavingSubject, WayOut
from skerry.kinds._shared.http.request import request
from skerry.kinds.models.gateway.permits import ACTION


class ModelsSubject(LeavingSubject):
    """Makes and lists keys over the wire."""

    async def put(self, key: str, value: str) -> None:
        """See `Subject.put`."""
        await self._call("POST", msgspec.json.encode({"key": key, "note": value}))

    async def get(self) -> dict[str, str]:
        """See `Subject.get`."""
        found = await self._call("GET")
        own = ("owner", "app")
        return {each["key"]: each["note"] for each in found["data"] if each["key"] not in own}

    @classmethod
    def way_out(cls, action: str, address: str) -> WayOut | None:
        """Lead to a provider there."""
        table = "[models.thing.providers.far]"
        where = f'base_url = "{address}/v1"\ncountry = "US"'
        return WayOut(f"retries = 0\n{table}\n{where}") if action == ACTION else None

    async def leave(self, action: str) -> bool:
        """Send a prompt; what the provider answers does not matter."""
        body = {"model": "far/any", "messages": [{"role": "user", "content": "Hello"}]}
        answer = await asyncio.to_thread(
            request,
            f"{self.place.fields['base_url']}/chat/completions",
            "POST",
            msgspec.json.encode(body),
            {"Authorization": f"Bearer {self.place.fields['token']}"},
        )
        return answer.status != 403

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
