"""Kind hello as the conformance suite sees it: a guest named `key=value` holds a value."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from skerry.kernel.subject import GatedSubject, Knocked
from skerry.kinds._shared.http.message import Answer
from skerry.kinds._shared.http.request import request


class HelloSubject(GatedSubject):
    """Speaks HTTP to a guestbook."""

    async def put(self, key: str, value: str) -> None:
        """See `Subject.put`."""
        await self._call(f"/{key}={value}")

    async def get(self) -> dict[str, str]:
        """See `Subject.get`."""
        guests = await self._call("/")
        return dict(guest.split("=", 1) for guest in guests)

    async def knock(self, *, right: bool) -> Knocked:
        """See `GatedSubject.knock`."""
        answer = await self._ask("/", self.place.fields["token"] + ("" if right else "x"))
        return Knocked(answer.status, answer.body.decode())

    async def _call(self, path: str) -> Any:
        answer = await self._ask(path, self.place.fields["token"])
        assert answer.status == 200, answer.body
        return msgspec.json.decode(answer.body)

    async def _ask(self, path: str, token: str) -> Answer:
        url, headers = self.place.fields["url"] + path, {"Authorization": f"Bearer {token}"}
        return await asyncio.to_thread(request, url, headers=headers)
