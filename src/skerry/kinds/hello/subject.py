"""Kind hello as the conformance suite sees it: a guest named `key=value` holds a value."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from skerry.kernel.subject import Subject
from skerry.kinds._shared.http.request import request


class HelloSubject(Subject):
    """Speaks HTTP to a guestbook."""

    async def put(self, key: str, value: str) -> None:
        """See `Subject.put`."""
        await self._call(f"/{key}={value}")

    async def get(self) -> dict[str, str]:
        """See `Subject.get`."""
        guests = await self._call("/")
        return dict(guest.split("=", 1) for guest in guests)

    async def _call(self, path: str) -> Any:
        answer = await asyncio.to_thread(
            request,
            self.place.fields["url"] + path,
            headers={"Authorization": f"Bearer {self.place.fields['token']}"},
        )
        assert answer.status == 200, answer.body
        return msgspec.json.decode(answer.body)
