"""Kind bucket as the conformance suite sees it: S3 by presigned URLs; a key is an object."""

from __future__ import annotations

import asyncio
import re
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from skerry.kernel.clock import SystemClock
from skerry.kernel.subject import BoundSubject, GatedSubject, Knocked
from skerry.kinds._shared.http.message import Answer
from skerry.kinds._shared.http.request import request
from skerry.kinds._shared.s3 import sigv4

_ERROR = re.compile(r"<(Code|Message)>([^<]*)<|<(\w+)>")
_KEYS = re.compile(r"<Key>([^<]*)</Key>")


_LIST = (("encoding-type", "url"), ("list-type", "2"))


class BucketSubject(BoundSubject, GatedSubject):
    """Speaks S3 to the bucket that bears the resource's name."""

    async def put(self, key: str, value: str) -> None:
        """See `Subject.put`."""
        await self._call("PUT", key, body=value.encode())

    async def get(self) -> dict[str, str]:
        """See `Subject.get`."""
        listed = await self._call("GET", "", _LIST)
        keys = [unquote(key) for key in _KEYS.findall(listed.decode())]
        values = await asyncio.gather(*(self._call("GET", key) for key in keys))
        return {key: value.decode() for key, value in zip(keys, values, strict=True)}

    async def put_by(self, binding: Any, key: str, value: str) -> None:
        """See `BoundSubject.put_by`."""
        await binding.put(key, value)

    async def get_by(self, binding: Any) -> dict[str, str]:
        """See `BoundSubject.get_by`."""
        found = (await binding.list()).objects
        return {each.key: await (await binding.get(each.key)).text() for each in found}

    async def knock(self, *, right: bool) -> Knocked:
        """See `GatedSubject.knock`; what differs each time are times and a request's id."""
        secret = self.place.fields["secret_key"] + ("" if right else "x")
        answer = await self._ask("GET", "", secret, _LIST)
        found = [] if right else _ERROR.findall(answer.body.decode())
        return Knocked(answer.status, f"{answer.headers['content-type']} {found}")

    async def _call(
        self,
        method: str,
        key: str,
        query: tuple[tuple[str, str], ...] = (),
        body: bytes | None = None,
    ) -> bytes:
        answer = await self._ask(method, key, self.place.fields["secret_key"], query, body)
        assert answer.status == 200, answer.body
        return answer.body

    async def _ask(
        self,
        method: str,
        key: str,
        secret: str,
        query: tuple[tuple[str, str], ...] = (),
        body: bytes | None = None,
    ) -> Answer:
        fields = self.place.fields
        url = urlsplit(fields["url"])
        path = f"/{fields['bucket']}/{quote(key, safe='')}"
        credential = (fields["access_key"], secret)
        now = SystemClock().now()
        target = sigv4.presign(method, url.netloc, path, credential, now, 60, query)
        return await asyncio.to_thread(
            request, f"{url.scheme}://{url.netloc}{target}", method, body
        )
