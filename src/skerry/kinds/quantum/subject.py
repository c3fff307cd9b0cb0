"""Kind quantum as the conformance suite sees it: jobs over HTTP, each a coin toss of one qubit."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from skerry.kernel.subject import Subject
from skerry.kinds._shared.http.request import request

_PROGRAM = 'OPENQASM 3.0; include "stdgates.inc"; qubit q; bit c; h q; c = measure q;'


class QuantumSubject(Subject):
    """Writes a value as a tag of a job, and reads it back from the list of jobs."""

    async def put(self, key: str, value: str) -> None:
        """See `Subject.put`."""
        job = {
            "device": "sim-ideal",
            "programs": [{"source": _PROGRAM}],
            "shots": 1,
            "name": key,
            "tags": {"value": value},
        }
        await self._call("/quantum/v1/jobs", "POST", 201, msgspec.json.encode(job))

    async def get(self) -> dict[str, str]:
        """See `Subject.get`."""
        found: dict[str, str] = {}
        before = ""
        while True:
            page = await self._call(f"/quantum/v1/jobs?limit=1000&before={before}", "GET", 200)
            for job in page:
                found.setdefault(job["request"]["name"], job["request"]["tags"]["value"])
            if len(page) < 1000:
                return found
            before = page[-1]["id"]

    async def _call(self, path: str, method: str, status: int, body: bytes | None = None) -> Any:
        fields = self.place.fields
        answer = await asyncio.to_thread(
            request,
            f"{fields['url']}{path}",
            method,
            body,
            {"Authorization": f"Bearer {fields['token']}"},
        )
        assert answer.status == status, answer.body
        return msgspec.json.decode(answer.body)
