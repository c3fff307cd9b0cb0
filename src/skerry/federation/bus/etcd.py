"""Leases in an etcd of the operator, by its JSON gateway (v3), for those who run one anyway.

https://etcd.io/docs/v3.5/dev-guide/api_grpc_gateway/: keys and values go in base64, and int64
numbers as text. Compare-and-set is a transaction on the revision of the key's last change; etcd's
own leases are not used, so that both backends mean the same by one.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from skerry.kernel.errors import CONFLICT, ENGINE_FAILED, INVALID, STORE_UNREACHABLE, SkerryError
from skerry.kernel.lease import Slot

PREFIX = "skerry/leases/"
SECONDS = 2.0
LOOK_SECONDS = 0.5
ANSWER_BYTES_MAX = 16 << 20
KEYS_MAX = 65_536


class EtcdRegister:
    """Implements the kernel's `Register`; members of etcd are asked in turn until one answers."""

    def __init__(self, urls: Sequence[str]) -> None:
        for url in urls:
            if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
                raise INVALID(f"{url[:200]!r} is no address of etcd.", why="http://127.0.0.1:2379")
        self._urls = list(urls)

    async def read(self, subject: str) -> Slot | None:
        """See `Register.read`; linearizable, as etcd's reads are by default."""
        found = await self._ask("range", {"key": _text(PREFIX + subject)})
        kvs = found.get("kvs") or ()
        return _slot(kvs[0]) if kvs else None

    async def write(self, subject: str, data: bytes, revision: int) -> int:
        """See `Register.write`."""
        key = _text(PREFIX + subject)
        compare = {
            "key": key,
            "target": "MOD",
            "result": "EQUAL",
            "mod_revision": str(revision),
        }
        put = {"request_put": {"key": key, "value": base64.b64encode(data).decode()}}
        found = await self._ask("txn", {"compare": [compare], "success": [put]}, again=False)
        if not found.get("succeeded"):
            raise CONFLICT(f"{subject} has another revision than {revision}.")
        return int(found["header"]["revision"])

    async def watch(self) -> AsyncIterator[tuple[str, Slot]]:
        """See `Register.watch`: asks for what has changed, twice a second."""
        seen = 0
        while True:
            try:
                found = await self._ask("range", _changes(seen))
            except SkerryError as error:
                if not error.problem.temporary:
                    raise
            else:
                for each in found.get("kvs") or ():
                    slot = _slot(each)
                    seen = max(seen, slot.revision)
                    yield base64.b64decode(each["key"]).decode().removeprefix(PREFIX), slot
            await asyncio.sleep(LOOK_SECONDS)

    async def _ask(self, what: str, body: dict[str, Any], again: bool = True) -> dict[str, Any]:
        """Ask one member; the others too if it does not answer and asking twice does no harm."""
        data = msgspec.json.encode(body)
        failure: Exception | None = None
        for url in list(self._urls):
            try:
                return await asyncio.to_thread(_post, url, f"/v3/kv/{what}", data)
            except (OSError, http.client.HTTPException) as error:
                failure = error
                self._urls.append(self._urls.pop(self._urls.index(url)))
                if not again:
                    break
        raise STORE_UNREACHABLE(
            "etcd does not answer.", why=f"{failure!r}", hint="etcdctl endpoint health"
        ) from failure


def _changes(after: int) -> dict[str, Any]:
    """Return the question for every lease that changed after a revision, in order."""
    end = PREFIX[:-1] + chr(ord(PREFIX[-1]) + 1)
    return {
        "key": _text(PREFIX),
        "range_end": _text(end),
        "min_mod_revision": str(after + 1),
        "sort_order": "ASCEND",
        "sort_target": "MOD",
        "limit": str(KEYS_MAX),
    }


def _post(url: str, path: str, data: bytes) -> dict[str, Any]:
    parts = urlsplit(url)
    assert parts.hostname
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port or 2379, timeout=SECONDS)
    try:
        connection.request("POST", path, data, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        body = answer.read(ANSWER_BYTES_MAX)
    finally:
        connection.close()
    if answer.status == http.client.SERVICE_UNAVAILABLE:
        raise OSError(f"{url} has no leader")
    try:
        found: dict[str, Any] = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise ENGINE_FAILED(f"{url} does not answer as etcd does.") from error
    if answer.status != http.client.OK:
        raise ENGINE_FAILED(f"etcd refuses: {found.get('message', answer.status)}.")
    return found


def _slot(found: dict[str, Any]) -> Slot:
    return Slot(base64.b64decode(found.get("value", "")), int(found["mod_revision"]))


def _text(key: str) -> str:
    return base64.b64encode(key.encode()).decode()
