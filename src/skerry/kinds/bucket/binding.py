"""What a function receives as `env.<name>`: the bucket itself, opened in its own process.

    await env.media.put("photos/1.jpg", data, content_type="image/jpeg")
    photo = await env.media.get("photos/1.jpg")
    return Response(await photo.read()) if photo else not_found()

The functions are those of R2's binding; `env.media.bucket("other")` gives another bucket of the
resource. Nothing goes over a wire, and nothing is signed.
"""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from skerry.kernel.errors import CONFLICT, INVALID, NOT_FOUND, Problem, SkerryError
from skerry.kernel.kind import Context
from skerry.kinds._shared.s3 import times
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.access import acl
from skerry.kinds.bucket.account import Account
from skerry.kinds.bucket.state import buckets, crypt, listing, objects
from skerry.kinds.bucket.state.database import Db
from skerry.kinds.bucket.state.objects import Condition, Put
from skerry.kinds.bucket.state.records import Bucket as BucketRow
from skerry.kinds.bucket.state.records import Record, Version
from skerry.kinds.bucket.state.sink import Sink
from skerry.kinds.bucket.state.source import Source
from skerry.kinds.bucket.state.store import Store
from skerry.kinds.bucket.wire import encrypting, locking
from skerry.kinds.bucket.wire.address import KEY_BYTES_MAX
from skerry.kinds.bucket.wire.writing import METADATA_BYTES_MAX
from skerry.kinds.bucket.words import presign

LIST_MAX = 1000
Data = bytes | bytearray | memoryview | str | AsyncIterable[bytes]
_PROBLEMS: dict[str, Problem] = {
    "PreconditionFailed": CONFLICT,
    "NoSuchKey": NOT_FOUND,
    "NoSuchBucket": NOT_FOUND,
    "AccessDenied": CONFLICT,
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


class StoredObject:
    """An object that was got: `info`, and its content, which can be read once."""

    def __init__(self, info: ObjectInfo, source: Source, start: int, length: int) -> None:
        self.info = info
        self._source = source
        self._start = start
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
            async for chunk in self._source.chunks(self._start, self.length):
                yield chunk
        finally:
            self._source.close()

    async def read(self) -> bytes:
        """Return the whole content."""
        return b"".join([chunk async for chunk in self.stream()])

    async def text(self) -> str:
        """Return the content as UTF-8 text."""
        return (await self.read()).decode()

    async def json(self) -> Any:
        """Return the content as JSON."""
        return msgspec.json.decode(await self.read())

    def __del__(self) -> None:
        self._source.close()


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of objects and common prefixes; `cursor` is '' at the end."""

    objects: list[ObjectInfo]
    prefixes: list[str]
    cursor: str


class Bucket:
    """A bucket as a function uses it. Failures are of the family of `SkerryError`."""

    def __init__(self, account: Account, name: str) -> None:
        self._account = account
        self._store = account.store
        self.name = name

    def bucket(self, name: str) -> Bucket:
        """Return another bucket of the same resource."""
        return Bucket(self._account, name)

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
        _check(key, metadata or {})
        row = await self._row()
        encryption = encrypting.asked({}, row)
        record = Record(
            owner=row.owner,
            headers={name.lower(): value for name, value in (headers or {}).items()},
            metadata=metadata or {},
            grants=acl.canned("", row.owner, row.owner),
            encryption=encryption,
            lock=locking.lock_of({}, row, self._account.now()),
        )
        if content_type:
            record.headers["content-type"] = content_type
        own = None if encryption is None else crypt.own_key(self._account.keys, encryption)
        sink = Sink(self._store.blobs, (), own)
        try:
            async for chunk in _chunks(data):
                await self._store.disk(sink.write, chunk)
            taken = await self._store.disk(sink.finish)
        except BaseException:
            sink.abandon()
            raise
        new = Put(
            bucket=row.id,
            versioning=row.versioning,
            key=key,
            record=record,
            size=taken.size,
            etag=taken.etag,
            pieces=taken.pieces,
            now=self._account.now(),
            data=taken.data,
            nonce=taken.nonce,
            condition=Condition(if_match, if_none_match),
        )
        try:
            version, stored = await self._store.adopt(taken, objects.put, self._store.blobs, new)
        except S3Error as error:
            raise _translate(error) from error
        meter = self._account.meter
        meter.add("class_a")
        meter.add("bytes_in", version.size)
        meter.add("stored_bytes", stored)
        return _info(version)

    async def get(
        self, key: str, *, offset: int = 0, length: int | None = None
    ) -> StoredObject | None:
        """Return an object, or None; `offset` and `length` in bytes choose a range of it."""
        if offset < 0 or (length is not None and length < 0):
            raise INVALID("A range has no negative numbers.")
        version = await self._find(key)
        if version is None:
            return None
        encryption = version.record.encryption
        own = None if encryption is None else self._key(version)
        source = Source(self._store, version, own)
        try:
            await source.open()
        except S3Error:
            return None
        start = min(offset, version.size)
        rest = version.size - start
        taken = rest if length is None else min(length, rest)
        self._account.meter.add("bytes_out", taken)
        return StoredObject(_info(version), source, start, taken)

    async def head(self, key: str) -> ObjectInfo | None:
        """Return what is known of an object, or None."""
        version = await self._find(key)
        return None if version is None else _info(version)

    async def list(
        self, *, prefix: str = "", delimiter: str = "", cursor: str = "", limit: int = LIST_MAX
    ) -> Listing:
        """Return a page of objects in the order of their keys; go on with the page's `cursor`."""
        if not 0 < limit <= LIST_MAX:
            raise INVALID(f"A page has 1 to {LIST_MAX} objects.")
        row = await self._row()
        query = listing.Query(prefix, delimiter, cursor, limit)
        page = await self._store.read(listing.objects, row.id, query)
        self._account.meter.add("class_a")
        found = [_info(version) for version in page.items]
        return Listing(found, page.prefixes, page.last if page.truncated else "")

    async def delete(self, *keys: str) -> None:
        """Delete objects, durably; those that are not there are fine."""
        row, now = await self._row(), self._account.now()

        def write(db: Db) -> None:
            for key in keys:
                objects.delete_current(db, row, key, row.owner, now)

        await self._store.write(write)
        self._account.meter.add("class_a")

    def presigned_url(
        self, key: str, expires_seconds: int = 3600, *, method: str = "GET", endpoint: str = ""
    ) -> str:
        """Return a URL with which anybody can GET or PUT the object until it expires.

        `endpoint` is the URL under which clients reach the bucket, if it is not the node's.
        """
        return presign(
            self._account,
            self.name,
            key,
            method=method,
            expires_seconds=expires_seconds,
            endpoint=endpoint,
        )

    async def close(self) -> None:
        """Close the state in this process."""
        await self._store.close()

    async def _row(self) -> BucketRow:
        row = await self._store.read(buckets.find, self.name)
        if row is None:
            raise NOT_FOUND(f"There is no bucket {self.name}.")
        return row

    async def _find(self, key: str) -> Version | None:
        row = await self._row()
        version = await self._store.read(objects.current, row.id, key)
        self._account.meter.add("class_b")
        return None if version is None or version.marker else version

    def _key(self, version: Version) -> crypt.Key:
        encryption = version.record.encryption
        assert encryption is not None, "only encrypted objects have a key"
        if encryption.mode == encrypting.CUSTOMER:
            raise INVALID(f"{version.key!r} is encrypted with a customer's key.")
        return crypt.own_key(self._account.keys, encryption)


async def bind(context: Context) -> Bucket:
    """Return the bucket that is named like the resource."""
    store = Store(context.directory, context.log)
    await store.open()
    account = Account(context, store)
    await account.create_default()
    return Bucket(account, context.ref.name)


async def _chunks(data: Data) -> AsyncIterator[bytes]:
    if isinstance(data, str):
        yield data.encode()
    elif isinstance(data, bytes | bytearray | memoryview):
        yield bytes(data)
    else:
        async for chunk in data:
            yield chunk


def _check(key: str, metadata: dict[str, str]) -> None:
    if not key or "\x00" in key or len(key.encode()) > KEY_BYTES_MAX:
        raise INVALID(f"A key has 1 to {KEY_BYTES_MAX} bytes, and no NUL.")
    if sum(len(name) + len(value) for name, value in metadata.items()) > METADATA_BYTES_MAX:
        raise INVALID(f"Metadata have at most {METADATA_BYTES_MAX} bytes.")


def _info(version: Version) -> ObjectInfo:
    headers = version.record.headers
    return ObjectInfo(
        version.key,
        version.version,
        version.size,
        version.etag,
        headers.get("content-type", "binary/octet-stream"),
        times.moment(version.modified),
        version.record.metadata,
        headers,
    )


def _translate(error: S3Error) -> SkerryError:
    return _PROBLEMS.get(error.code, INVALID)(error.message)
