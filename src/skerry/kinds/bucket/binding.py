"""The binding of a bucket on this node: a function opens the state in its own process.

Nothing goes over a wire, and nothing is signed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from skerry.kernel.errors import INVALID, NOT_FOUND
from skerry.kernel.kind import Context
from skerry.kinds._shared.s3 import times
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.access import acl
from skerry.kinds.bucket.account import Account
from skerry.kinds.bucket.presigning import Presign, presign
from skerry.kinds.bucket.state import buckets, crypt, listing, objects
from skerry.kinds.bucket.state.database import Db
from skerry.kinds.bucket.state.objects import Condition, Put
from skerry.kinds.bucket.state.records import Bucket as BucketRow
from skerry.kinds.bucket.state.records import Record, Version
from skerry.kinds.bucket.state.sink import Sink
from skerry.kinds.bucket.state.source import Source
from skerry.kinds.bucket.state.store import Store
from skerry.kinds.bucket.surface import (
    CONTENT_TYPE,
    LIST_MAX,
    Bucket,
    Data,
    Listing,
    ObjectInfo,
    StoredObject,
    check_limit,
    check_object,
    check_range,
    chunks_of,
    translate,
)
from skerry.kinds.bucket.wire import encrypting, locking


class _Range:
    """A range of a content that is open."""

    def __init__(self, source: Source, start: int, length: int) -> None:
        self._source = source
        self._start = start
        self._length = length

    def chunks(self) -> AsyncIterator[bytes]:
        return self._source.chunks(self._start, self._length)

    def close(self) -> None:
        self._source.close()


class OpenBucket(Bucket):
    """A bucket whose state is open in this process."""

    def __init__(self, account: Account, name: str) -> None:
        super().__init__(name)
        self._account = account
        self._store = account.store

    def bucket(self, name: str) -> Bucket:
        """See `Bucket.bucket`."""
        return OpenBucket(self._account, name)

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
        """See `Bucket.put`."""
        check_object(key, metadata or {})
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
            async for chunk in chunks_of(data):
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
            raise translate(error.code, error.message) from error
        meter = self._account.meter
        meter.add("class_a")
        meter.add("bytes_in", version.size)
        meter.add("stored_bytes", stored)
        return _info(version)

    async def get(
        self, key: str, *, offset: int = 0, length: int | None = None
    ) -> StoredObject | None:
        """See `Bucket.get`."""
        check_range(offset, length)
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
        return StoredObject(_info(version), _Range(source, start, taken), taken)

    async def head(self, key: str) -> ObjectInfo | None:
        """See `Bucket.head`."""
        version = await self._find(key)
        return None if version is None else _info(version)

    async def list(
        self, *, prefix: str = "", delimiter: str = "", cursor: str = "", limit: int = LIST_MAX
    ) -> Listing:
        """See `Bucket.list`."""
        check_limit(limit)
        row = await self._row()
        query = listing.Query(prefix, delimiter, cursor, limit)
        page = await self._store.read(listing.objects, row.id, query)
        self._account.meter.add("class_a")
        found = [_info(version) for version in page.items]
        return Listing(found, page.prefixes, page.last if page.truncated else "")

    async def delete(self, *keys: str) -> None:
        """See `Bucket.delete`."""
        row, now = await self._row(), self._account.now()

        def write(db: Db) -> None:
            for key in keys:
                objects.delete_current(db, row, key, row.owner, now)

        await self._store.write(write)
        self._account.meter.add("class_a")

    def presigned_url(
        self, key: str, expires_seconds: int = 3600, *, method: str = "GET", endpoint: str = ""
    ) -> str:
        """See `Bucket.presigned_url`."""
        account = self._account
        owner = (account.owner.access_key, account.owner.secret)
        ask = Presign(self.name, key, method, expires_seconds, endpoint)
        return presign(account.context, account.config, owner, ask)

    async def close(self) -> None:
        """See `Bucket.close`."""
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
    return OpenBucket(account, context.ref.name)


def _info(version: Version) -> ObjectInfo:
    headers = version.record.headers
    return ObjectInfo(
        version.key,
        version.version,
        version.size,
        version.etag,
        headers.get("content-type", CONTENT_TYPE),
        times.moment(version.modified),
        version.record.metadata,
        headers,
    )
