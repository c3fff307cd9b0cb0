"""What a function can ask of a bucket, whether it is on this node or on another one.

    await env.media.put("photos/1.jpg", data, content_type="image/jpeg")
    photo = await env.media.get("photos/1.jpg")
    return Response(await photo.read()) if photo else not_found()

The functions are those of R2's binding; `env.media.bucket("other")` gives another bucket of the
resource.
"""

from __future__ import annotations

import datetime
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from skerry.kernel.errors import (
    BUSY,
    CONFLICT,
    ENGINE_FAILED,
    INVALID,
    NOT_FOUND,
    TOO_LARGE,
    UNAUTHENTICATED,
    Problem,
    SkerryError,
)
from skerry.kinds.bucket.wire.address import KEY_BYTES_MAX
from skerry.kinds.bucket.wire.writing import METADATA_BYTES_MAX

LIST_MAX = 1000
CONTENT_TYPE = "binary/octet-stream"
"""What an object is that was stored without a type."""

Data = bytes | bytearray | memoryview | str | AsyncIterable[bytes]
_PROBLEMS: dict[str, Problem] = {
    "PreconditionFailed": CONFLICT,
    "NoSuchKey": NOT_FOUND,
    "NoSuchBucket": NOT_FOUND,
    "AccessDenied": CONFLICT,
    "EntityTooLarge": TOO_LARGE,
    "SlowDown": BUSY,
    "InternalError": ENGINE_FAILED,
    "InvalidAccessKeyId": UNAUTHENTICATED,
    "SignatureDoesNotMatch": UNAUTHENTICATED,
}


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What is known of an object: sizes in bytes, `etag` without quotes."""

    key: str
    version: str
    size: int
    etag: str
    content_type: str
    uploaded: datetime.datetime
    metadata: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


class Content(Protocol):
    """The bytes of an object that was got."""

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield them, at most 1 MiB at a time; once."""
        ...

    def close(self) -> None:
        """Let go of them; calling it twice is harmless."""
        ...


class StoredObject:
    """An object that was got: `info`, and `length` bytes of its content, which can be read once."""

    def __init__(self, info: ObjectInfo, content: Content, length: int) -> None:
        self.info = info
        self._content = content
        self.length = length

    @property
    def key(self) -> str:
        """The key."""
        return self.info.key

    @property
    def size(self) -> int:
        """The size of the whole object in bytes."""
        return self.info.size

    @property
    def body(self) -> AsyncIterator[bytes]:
        """The content as a stream; see `stream`."""
        return self.stream()

    async def stream(self) -> AsyncIterator[bytes]:
        """Yield the content, at most 1 MiB at a time."""
        try:
            async for chunk in self._content.chunks():
                yield chunk
        finally:
            self._content.close()

    async def read(self) -> bytes:
        """Return the whole content."""
        return b"".join([chunk async for chunk in self.stream()])

    async def text(self) -> str:
        """Return the content as UTF-8 text."""
        return (await self.read()).decode()

    async def json(self) -> Any:
        """Return the content as JSON."""
        return msgspec.json.decode(await self.read())

    def close(self) -> None:
        """Let go of a content that is not read; it is let go of with the object in any case."""
        self._content.close()

    def __del__(self) -> None:
        self._content.close()


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of objects and common prefixes; `cursor` is '' at the end."""

    objects: list[ObjectInfo]
    prefixes: list[str]
    cursor: str


class Bucket(ABC):
    """A bucket as a function uses it. Failures are of the family of `SkerryError`."""

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def bucket(self, name: str) -> Bucket:
        """Return another bucket of the same resource."""

    @abstractmethod
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
        """Store an object, durably; raise CONFLICT if the condition does not hold.

        `headers` are those that readers over HTTP get back, such as `cache-control`.
        `if_none_match="*"` creates, and never overwrites.
        """

    @abstractmethod
    async def get(
        self, key: str, *, offset: int = 0, length: int | None = None
    ) -> StoredObject | None:
        """Return an object, or None; `offset` and `length` in bytes choose a range of it."""

    @abstractmethod
    async def head(self, key: str) -> ObjectInfo | None:
        """Return what is known of an object, or None."""

    @abstractmethod
    async def list(
        self, *, prefix: str = "", delimiter: str = "", cursor: str = "", limit: int = LIST_MAX
    ) -> Listing:
        """Return a page of objects in the order of their keys; go on with the page's `cursor`."""

    @abstractmethod
    async def delete(self, *keys: str) -> None:
        """Delete objects, durably; those that are not there are fine."""

    @abstractmethod
    def presigned_url(
        self, key: str, expires_seconds: int = 3600, *, method: str = "GET", endpoint: str = ""
    ) -> str:
        """Return a URL with which anybody can GET or PUT the object until it expires.

        `endpoint` is the URL under which clients reach the bucket, if it is not the node's.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close what this process has open of it."""


def possible(key: str) -> bool:
    """Tell whether there can be an object of that key."""
    return 0 < len(key.encode()) <= KEY_BYTES_MAX and "\x00" not in key


def check_object(key: str, metadata: dict[str, str]) -> None:
    """Raise INVALID for a key or metadata that S3 does not take."""
    if not possible(key):
        raise INVALID(f"A key has 1 to {KEY_BYTES_MAX} bytes, and no NUL.")
    if sum(len(name) + len(value) for name, value in metadata.items()) > METADATA_BYTES_MAX:
        raise INVALID(f"Metadata have at most {METADATA_BYTES_MAX} bytes.")


def check_range(offset: int, length: int | None) -> None:
    """Raise INVALID for a range that is none."""
    if offset < 0 or (length is not None and length < 0):
        raise INVALID("A range has no negative numbers.")


def check_limit(limit: int) -> None:
    """Raise INVALID for a page that is too small or too large."""
    if not 0 < limit <= LIST_MAX:
        raise INVALID(f"A page has 1 to {LIST_MAX} objects.")


async def chunks_of(data: Data) -> AsyncIterator[bytes]:
    """Yield what is to be stored."""
    if isinstance(data, str):
        yield data.encode()
    elif isinstance(data, bytes | bytearray | memoryview):
        yield bytes(data)
    else:
        async for chunk in data:
            yield chunk


def translate(code: str, message: str) -> SkerryError:
    """Return what a function sees of an error of S3."""
    return _PROBLEMS.get(code, INVALID)(message)
