"""Kind ledger as the conformance suite sees it: its HTTP API.

A text under a key becomes transfers between two accounts: each carries up to 15 bytes of it in
`user_data_128`, their place in `user_data_32`, and a number of the write in `user_data_64`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from skerry.kernel.subject import BoundSubject
from skerry.kinds._shared.http.request import request

_CHUNK = 15
_ACCOUNTS = [{"id": number, "ledger": 1, "code": 1} for number in (1, 2)]


class LedgerSubject(BoundSubject):
    """Writes and reads text in the user data of linked transfers."""

    async def put(self, key: str, value: str) -> None:
        """See `Subject.put`."""
        for each in await self._call("POST", "accounts", _ACCOUNTS):
            assert each["status"] in ("created", "exists"), each
        for each in await self._call("POST", "transfers", _transfers(key, value)):
            assert each["status"] == "created", each

    async def get(self) -> dict[str, str]:
        """See `Subject.get`."""
        rows: list[tuple[int, int, int]] = []
        cursor = 0
        while found := await self._call("GET", f"transfers?timestamp_min={cursor + 1}"):
            rows += [
                (int(each["user_data_64"]), int(each["user_data_128"]), each["code"])
                for each in found
            ]
            cursor = int(found[-1]["timestamp"])
        return _texts(rows)

    async def put_by(self, binding: Any, key: str, value: str) -> None:
        """See `BoundSubject.put_by`."""
        await binding.create_accounts(_ACCOUNTS)
        results = await binding.create_transfers(_transfers(key, value))
        assert all(each.status.name == "CREATED" for each in results), results

    async def get_by(self, binding: Any) -> dict[str, str]:
        """See `BoundSubject.get_by`."""
        found = await binding.query_transfers({})
        return _texts([(each.user_data_64, each.user_data_128, each.code) for each in found])

    async def _call(self, method: str, path: str, body: Any = None) -> Any:
        fields = self.place.fields
        answer = await asyncio.to_thread(
            request,
            f"{fields['url']}/{path}",
            method,
            None if body is None else msgspec.json.encode(body),
            {"Authorization": f"Bearer {fields['token']}"},
        )
        assert answer.status == 200, answer.body
        return msgspec.json.decode(answer.body)


def _transfers(key: str, value: str) -> list[dict[str, Any]]:
    text = msgspec.json.encode([key, value])
    chunks = [text[at : at + _CHUNK] for at in range(0, len(text), _CHUNK)]
    name = hashlib.sha256(text).digest()
    return [
        {
            "id": str(int.from_bytes(name[:12], "big") << 16 | number),
            "debit_account_id": 1,
            "credit_account_id": 2,
            "amount": 1,
            "ledger": 1,
            "code": len(chunk),
            "user_data_128": str(int.from_bytes(chunk, "big")),
            "user_data_64": str(int.from_bytes(name[:8], "big")),
            "user_data_32": number,
            "flags": ["linked"] if number < len(chunks) - 1 else [],
        }
        for number, chunk in enumerate(chunks)
    ]


def _texts(rows: Iterable[tuple[int, int, int]]) -> dict[str, str]:
    """Return what was written, from the number of each write, its pieces and their lengths."""
    texts: dict[int, bytes] = {}
    for number, piece, length in rows:
        texts[number] = texts.get(number, b"") + piece.to_bytes(length, "big")
    pairs = [msgspec.json.decode(text) for text in texts.values()]
    return {str(key): str(value) for key, value in pairs}
