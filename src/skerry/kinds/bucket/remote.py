"""The binding of a bucket on another node: S3 with signed requests, through the nodes' tunnel.

No object is ever whole in memory unless the caller's bytes are: what is got comes in pieces, and a
stream of more than one part is a multipart upload, which becomes an object at its end or not at
all. A read is sent again if its connection breaks before it is answered; a write never is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from urllib.parse import quote, urlencode

from skerry.kernel.errors import INVALID, TOO_LARGE, SkerryError
from skerry.kernel.kind import Context
from skerry.kinds._shared.http.message import Answer
from skerry.kinds._shared.http.streaming import Response
from skerry.kinds._shared.s3 import xml
from skerry.kinds.bucket.config import BucketConfig
from skerry.kinds.bucket.line import Line
from skerry.kinds.bucket.presigning import Presign, presign
from skerry.kinds.bucket.shapes import info_of, listed, record_headers
from skerry.kinds.bucket.surface import (
    LIST_MAX,
    Bucket,
    Data,
    Listing,
    ObjectInfo,
    StoredObject,
    check_limit,
    check_object,
    check_range,
    possible,
    translate,
)
from skerry.kinds.bucket.wire.writing import KEPT_HEADERS

PART_BYTES = 8 << 20
PARTS_MAX = 10_000
DELETE_MAX = 1000
CHUNK_BYTES = 1 << 20


class RemoteBucket(Bucket):
    """A bucket on another node."""

    def __init__(self, line: Line, context: Context, name: str) -> None:
        super().__init__(name)
        self._line = line
        self._context = context

    def bucket(self, name: str) -> Bucket:
        """See `Bucket.bucket`."""
        return RemoteBucket(self._line, self._context, name)

    async def put(
        self,
        key: str,
        data: Data,
        *,
        content_type: str = "",
        metadata: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        if_match: str | None = None,
        if_none_match: str | None = None,
    ) -> ObjectInfo:
        """See `Bucket.put`. A stream that breaks off, or fails itself, leaves nothing."""
        check_object(key, metadata or {})
        described = {name.lower(): value for name, value in (headers or {}).items()}
        if content_type:
            described["content-type"] = content_type
        strange = sorted(set(described) - set(KEPT_HEADERS))
        if strange:
            raise INVALID(f"S3 keeps no header {strange[0]!r}, as a bucket on another node must.")
        sent = record_headers(described, metadata or {})
        given = {"if-match": if_match, "if-none-match": if_none_match}
        condition = {name: value for name, value in given.items() if value is not None}
        path = self._path(key)
        if isinstance(data, str):
            data = data.encode()
        if isinstance(data, bytes | bytearray | memoryview):
            whole = memoryview(data).cast("B")
            answer = await self._line.ask("PUT", path, "", {**sent, **condition}, whole)
            return info_of(key, answer.headers, len(whole), described, metadata or {})
        parts = _parts(data)
        first = await anext(parts)
        if len(first) < PART_BYTES:
            answer = await self._line.ask("PUT", path, "", {**sent, **condition}, first)
            return info_of(key, answer.headers, len(first), described, metadata or {})
        size, answer = await self._put_parts(path, first, parts, sent, condition)
        return info_of(key, answer.headers, size, described, metadata or {}, answer.body)

    async def get(
        self, key: str, *, offset: int = 0, length: int | None = None
    ) -> StoredObject | None:
        """See `Bucket.get`."""
        check_range(offset, length)
        if not possible(key):
            return None
        wanted: dict[str, str] = {}
        if length == 0:
            return await self._nothing_of(key)
        if offset or length is not None:
            end = "" if length is None else str(offset + length - 1)
            wanted["range"] = f"bytes={offset}-{end}"
        response = await self._line.open("GET", self._path(key), "", wanted)
        if response.status in (200, 206):
            found = info_of(key, response.headers, _size(response))
            return StoredObject(found, _Coming(response), _length(response))
        answer = await self._line.whole(response)
        if answer.status == 416:
            return await self._nothing_of(key)
        self._check_missing(answer)
        return None

    async def head(self, key: str) -> ObjectInfo | None:
        """See `Bucket.head`. An answer to HEAD says no reason, so that of a GET is asked for."""
        if not possible(key):
            return None
        response = await self._line.open("HEAD", self._path(key), "", {})
        answer = await self._line.whole(response)
        if answer.status == 200:
            return info_of(key, answer.headers, _length(response))
        found = await self.get(key, length=1)
        return None if found is None else _closed(found)

    async def list(
        self, *, prefix: str = "", delimiter: str = "", cursor: str = "", limit: int = LIST_MAX
    ) -> Listing:
        """See `Bucket.list`."""
        check_limit(limit)
        asked = {
            "delimiter": delimiter,
            "encoding-type": "url",
            "list-type": "2",
            "max-keys": str(limit),
            "prefix": prefix,
            "skerry-record": "true",
            "start-after": cursor,
        }
        query = urlencode({name: each for name, each in asked.items() if each}, quote_via=quote)
        response = await self._line.open("GET", f"/{self.name}", query, {})
        answer = await self._line.whole(response)
        if answer.status != 200:
            self._check_missing(answer)
        return listed(self._line.parse(answer.body))

    async def delete(self, *keys: str) -> None:
        """See `Bucket.delete`; beyond 1000 keys it is more than one transaction."""
        wanted = [key for key in keys if possible(key)]
        many = [key for key in wanted if key.isprintable()] if len(wanted) > 1 else []
        for start in range(0, len(many), DELETE_MAX):
            await self._delete_many(many[start : start + DELETE_MAX])
        # XML cannot hold every key.
        for key in wanted:
            if len(wanted) == 1 or not key.isprintable():
                await self._line.ask("DELETE", self._path(key), "", {})

    def presigned_url(
        self, key: str, expires_seconds: int = 3600, *, method: str = "GET", endpoint: str = ""
    ) -> str:
        """See `Bucket.presigned_url`; this node passes on what comes to its URL."""
        config: BucketConfig = self._context.config
        ask = Presign(self.name, key, method, expires_seconds, endpoint)
        return presign(self._context, config, self._line.credential, ask)

    async def close(self) -> None:
        """See `Bucket.close`."""
        await self._line.close()

    async def _nothing_of(self, key: str) -> StoredObject | None:
        """Return an object of which no byte was asked for."""
        found = await self.head(key)
        return None if found is None else StoredObject(found, _Nothing(), 0)

    def _check_missing(self, answer: Answer) -> None:
        """Raise what was refused, unless it is for a key that is not there."""
        code, message = self._line.error(answer)
        if code != "NoSuchKey":
            raise translate(code, message)

    async def _delete_many(self, keys: Sequence[str]) -> None:
        root = xml.Element("Delete")
        root.add("Quiet", "true")
        for key in keys:
            root.add("Object").add("Key", key)
        body = xml.document(root)
        answer = await self._line.ask("POST", f"/{self.name}", "delete=", {}, body)
        for failed in self._line.parse(answer.body).all("Error"):
            raise translate(failed.get("Code"), failed.get("Message"))

    async def _put_parts(
        self,
        path: str,
        first: bytes,
        parts: AsyncIterator[bytes],
        sent: dict[str, str],
        condition: dict[str, str],
    ) -> tuple[int, Answer]:
        """Upload a stream part by part, each while the next one is read; return size and answer."""
        answer = await self._line.ask("POST", path, "uploads=", sent)
        upload = quote(self._line.parse(answer.body).get("UploadId"), safe="")
        root = xml.Element("CompleteMultipartUpload")
        sending: asyncio.Task[None] | None = None
        try:
            number, size, part = 1, 0, first
            while part:
                if number > PARTS_MAX:
                    raise TOO_LARGE(f"A stream has at most {PARTS_MAX * PART_BYTES} bytes.")
                size += len(part)
                sending = asyncio.create_task(self._put_part(path, upload, number, part, root))
                part = await anext(parts, b"")
                await sending
                number += 1
            query, body = f"uploadId={upload}", xml.document(root)
            return size, await self._line.ask("POST", path, query, condition, body)
        except BaseException:
            if sending is not None:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            # Its own error would hide the first one; the bucket's lifecycle can remove the rest.
            with contextlib.suppress(SkerryError):
                await self._line.ask("DELETE", path, f"uploadId={upload}", {})
            raise

    async def _put_part(
        self, path: str, upload: str, number: int, part: bytes, root: xml.Element
    ) -> None:
        query = f"partNumber={number}&uploadId={upload}"
        answer = await self._line.ask("PUT", path, query, {}, part)
        each = root.add("Part")
        each.add("PartNumber", number)
        each.add("ETag", answer.headers.get("etag", ""))

    def _path(self, key: str) -> str:
        return f"/{self.name}/{quote(key, safe='/-_.~')}"


class _Coming:
    """The content of an answer."""

    def __init__(self, response: Response) -> None:
        self._response = response

    async def chunks(self) -> AsyncIterator[bytes]:
        async for piece in self._response.chunks():
            for start in range(0, len(piece), CHUNK_BYTES):
                yield piece[start : start + CHUNK_BYTES]

    def close(self) -> None:
        self._response.close()


class _Nothing:
    """A content of no bytes."""

    async def chunks(self) -> AsyncIterator[bytes]:
        nothing: tuple[bytes, ...] = ()
        for piece in nothing:
            yield piece

    def close(self) -> None:
        pass


async def bind(context: Context) -> Bucket:
    """Return the bucket that is named like the resource; nothing is sent yet."""
    line = Line(context, await context.host.ready(context.ref.name))
    return RemoteBucket(line, context, context.ref.name)


async def _parts(data: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Yield a stream in parts of one size, the last one smaller: an empty one, if need be."""
    held = bytearray()
    async for chunk in data:
        held += chunk
        while len(held) >= PART_BYTES:
            yield bytes(held[:PART_BYTES])
            del held[:PART_BYTES]
    yield bytes(held)


def _length(response: Response) -> int:
    return int(response.headers.get("content-length", "0"))


def _size(response: Response) -> int:
    """Return the size of the whole object, of which a range may have been answered."""
    whole = response.headers.get("content-range", "").rpartition("/")[2]
    return int(whole) if whole.isdigit() else _length(response)


def _closed(found: StoredObject) -> ObjectInfo:
    info = found.info
    found.close()
    return info
