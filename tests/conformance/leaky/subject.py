"""The kind as the conformance suite sees it; `asks` is set by the test."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from skerry.kernel.subject import LeavingSubject, Subject, WayOut
from skerry.kinds._shared.http.request import request


class SilentSubject(Subject):
    """Drives no way out, though the kind has one."""

    async def put(self, key: str, value: str) -> None:
        """See `Subject.put`."""

    async def get(self) -> dict[str, str]:
        """See `Subject.get`."""
        return {}


class LeakySubject(SilentSubject, LeavingSubject):
    """Speaks HTTP to it."""

    asks: ClassVar[str] = "first"

    @classmethod
    def way_out(cls, action: str, address: str) -> WayOut | None:
        """Lead there."""
        return WayOut(f'to = "{address}"\nasks = "{cls.asks}"')

    async def leave(self, action: str) -> bool:
        """Have it sent."""
        answer = await asyncio.to_thread(request, self.place.fields["url"])
        assert answer.status in (200, 403), answer
        return answer.status == 200
