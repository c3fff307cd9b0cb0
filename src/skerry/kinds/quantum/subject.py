"""Kind quantum as the conformance suite sees it: jobs over HTTP, each a coin toss of one qubit."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from skerry.kernel.subject import LeavingSubject, WayOut
from skerry.kinds._shared.http.message import Answer
from skerry.kinds._shared.http.request import request
from skerry.kinds.quantum.hardware import ACTION
from skerry.kinds.quantum.providers.iqm import TOKEN

_PROGRAM = 'OPENQASM 3.0; include "stdgates.inc"; qubit q; bit c; h q; c = measure q;'


class QuantumSubject(LeavingSubject):
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

    @classmethod
    def way_out(cls, action: str, address: str) -> WayOut | None:
        """Lead to a vendor's machine whose API is there."""
        if action != ACTION:
            return None
        settings = f'secrets = ["{TOKEN}"]\nendpoints = {{ iqm = "{address}" }}'
        return WayOut(settings, {TOKEN: "a-token"})

    async def leave(self, action: str) -> bool:
        """Submit a job for a machine; it is sent by itself, once it is kept."""
        job = {
            "device": "iqm-emerald",
            "provider": "iqm",
            "programs": [{"source": _PROGRAM}],
            "shots": 10,
            "budget": {"amount": "100", "currency": "EUR"},
        }
        body = msgspec.json.encode(job)
        answer = await self._answer("/quantum/v1/jobs", "POST", body)
        assert answer.status in (201, 403), answer.body
        return answer.status == 201

    async def _call(self, path: str, method: str, status: int, body: bytes | None = None) -> Any:
        answer = await self._answer(path, method, body)
        assert answer.status == status, answer.body
        return msgspec.json.decode(answer.body)

    async def _answer(self, path: str, method: str, body: bytes | None) -> Answer:
        fields = self.place.fields
        return await asyncio.to_thread(
            request,
            f"{fields['url']}{path}",
            method,
            body,
            {"Authorization": f"Bearer {fields['token']}"},
        )
