"""Kind kv as the conformance suite sees it: Cloudflare's REST API."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import msgspec

from skerry.kernel.subject import BoundSubject, GatedSubject, Knocked
from skerry.kinds._shared.http.message import Answer
from skerry.kinds._shared.http.request import request


class KvSubject(BoundSubject, GatedSubject):
    """Speaks REST to a namespace."""

    async def put(self, key: str, value: str) -> None:
        """See `Subject.put`."""
        await self._call(f"values/{quote(key)}", "PUT", value.encode())

    async def get(self) -> dict[str, str]:
        """See `Subject.get`."""
        listed = msgspec.json.decode((await self._call("keys?limit=1000")).body)
        names = [each["name"] for each in listed["result"]]
        values = await asyncio.gather(*(self._call(f"values/{quote(name)}") for name in names))
        return {name: each.body.decode() for name, each in zip(names, values, strict=True)}

    async def put_by(self, binding: Any, key: str, value: str) -> None:
        """See `BoundSubject.put_by`."""
        await binding.aio.put(key, value)

    async def get_by(self, binding: Any) -> dict[str, str]:
        """See `BoundSubject.get_by`."""
        keys = (await binding.aio.list()).keys
        return {each.name: await binding.aio.get(each.name) for each in keys}

    async def knock(self, *, right: bool) -> Knocked:
        """See `GatedSubject.knock`."""
        token = self.place.fields["token"] + ("" if right else "x")
        answer = await self._ask("keys?limit=1000", token)
        return Knocked(answer.status, answer.body.decode())

    async def _call(self, path: str, method: str = "GET", body: bytes | None = None) -> Answer:
        answer = await self._ask(path, self.place.fields["token"], method, body)
        assert answer.status == 200, answer.body
        return answer

    async def _ask(
        self, path: str, token: str, method: str = "GET", body: bytes | None = None
    ) -> Answer:
        fields = self.place.fields
        base = f"{fields['url']}/client/v4/accounts/{fields['app']}/storage/kv/namespaces"
        return await asyncio.to_thread(
            request,
            f"{base}/{fields['namespace_id']}/{path}",
            method,
            body,
            {"Authorization": f"Bearer {token}"},
        )
