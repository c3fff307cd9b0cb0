"""The words of the kind: what the CLI and the API can ask of a bucket resource."""

from __future__ import annotations

from typing import Any

from skerry.kernel.errors import NOT_FOUND
from skerry.kernel.kind import Address, Context, Resource
from skerry.kernel.names import check_name
from skerry.kinds._shared.s3 import times
from skerry.kinds.bucket.account import Account, owner_credential
from skerry.kinds.bucket.messages import (
    Entry,
    Key,
    KeyParams,
    Listing,
    ListParams,
    Nothing,
    PresignParams,
    UserParams,
)
from skerry.kinds.bucket.presigning import Presign, presign
from skerry.kinds.bucket.state import buckets, objects
from skerry.kinds.bucket.state import listing as listings
from skerry.kinds.bucket.state.database import Db

LIST_MAX = 1000


class Words:
    """Answers the words; mixed into the engine."""

    account: Account
    context: Context

    async def word_buckets(self, _params: Nothing) -> list[str]:
        """Return the names of the buckets."""

        def read(db: Db) -> list[str]:
            return [name for (name,) in db.execute("SELECT name FROM buckets ORDER BY name")]

        return await self.account.store.read(read)

    async def word_list(self, params: ListParams) -> Listing:
        """List objects."""
        name = params.bucket or self.context.ref.name
        query = listings.Query(params.prefix, params.delimiter, params.after, LIST_MAX)

        def read(db: Db) -> listings.Page[Any]:
            return listings.objects(db, _find(db, name), query)

        page = await self.account.store.read(read)
        entries = [
            Entry(each.key, each.size, each.etag, times.iso(each.modified)) for each in page.items
        ]
        return Listing(entries, page.prefixes, page.last if page.truncated else "")

    async def word_delete(self, params: KeyParams) -> bool:
        """Delete an object, or put a delete marker on it; return whether it was there."""
        name, account = params.bucket or self.context.ref.name, self.account

        def write(db: Db) -> bool:
            bucket = buckets.find(db, name)
            if bucket is None:
                raise NOT_FOUND(f"There is no bucket {name}.", hint="skerry bucket buckets")
            return objects.delete_current(db, bucket, params.key, bucket.owner, account.now())

        found = await account.store.write(write)
        account.store.rubbish()
        return found

    async def word_presign(self, params: PresignParams) -> str:
        """Return a URL with which anybody can GET or PUT one object until it expires."""
        owner = (self.account.owner.access_key, self.account.owner.secret)
        ask = Presign(
            params.bucket or self.context.ref.name,
            params.key,
            params.method,
            params.expires_seconds,
            params.endpoint,
        )
        return presign(self.context, self.account.config, owner, ask)

    async def word_grant(self, params: UserParams) -> Key:
        """Add a user with a key of its own."""
        check_name(params.name, "a user")
        now = self.account.now()
        await self.account.store.write(buckets.add_user, params.name, params.email, now)
        await self.account.load_users()
        return next(key for key in await self.word_keys(Nothing()) if key.name == params.name)

    async def word_revoke(self, params: UserParams) -> None:
        """Remove a user; its key is refused at once."""
        await self.account.store.write(buckets.remove_user, params.name)
        await self.account.load_users()

    async def word_keys(self, _params: Nothing) -> list[Key]:
        """Return the credentials of all users."""
        return [
            Key(each.name, each.id, each.access_key, each.secret)
            for each in self.account.identities.values()
        ]


def status(db: Db) -> dict[str, Any]:
    """Return counts and sizes in bytes."""

    def one(query: str) -> int:
        return int(db.execute(query).get or 0)

    return {
        "buckets": one("SELECT count(*) FROM buckets"),
        "objects": one("SELECT count(*) FROM versions WHERE latest = 1 AND marker = 0"),
        "versions": one("SELECT count(*) FROM versions WHERE marker = 0"),
        "stored_bytes": one(
            "SELECT coalesce((SELECT sum(size) FROM blobs), 0)"
            " + coalesce((SELECT sum(length(data)) FROM inlined), 0)"
        ),
        "uploads": one("SELECT count(*) FROM uploads"),
        "uncollected": one("SELECT count(*) FROM trash"),
    }


def connection(resource: Resource, address: Address) -> dict[str, str]:
    """Return what the lines of `skerry connect` name.

    What a browser sends may bear no access key that would choose the resource: its path does then.
    """
    ref = resource.ref
    access_key, secret = owner_credential(resource.id, resource.keys)
    return {
        "url": address.http,
        "path_url": f"{address.http.rstrip('/')}/@{ref.app}/{ref.branch}/@{ref.name}",
        "host_url": address.host_url,
        "host": address.hostname,
        "port": str(address.http_port),
        "access_key": access_key,
        "secret_key": secret,
        "bucket": ref.name,
        "name": ref.name,
        "id": resource.id,
    }


def _find(db: Db, name: str) -> int:
    bucket = buckets.find(db, name)
    if bucket is None:
        raise NOT_FOUND(f"There is no bucket {name}.")
    return bucket.id
