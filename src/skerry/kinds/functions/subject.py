"""Kind functions as the conformance suite sees it: a function that answers; it keeps no state."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import ClassVar

from skerry.kernel.subject import Subject
from skerry.kinds._shared.http.request import request


class FunctionSubject(Subject):
    """Speaks HTTP to a function."""

    settings = 'entry = "answer"'
    files: ClassVar[Mapping[str, str]] = {
        "answer.py": 'async def fetch(request, env):\n    return "here"\n'
    }

    async def put(self, key: str, value: str) -> None:
        """See `Subject.put`."""
        raise AssertionError("a function keeps no state")

    async def get(self) -> dict[str, str]:
        """See `Subject.get`."""
        answer = await asyncio.to_thread(request, self.place.fields["host_url"])
        assert answer.status == 200, answer.body
        return {}
