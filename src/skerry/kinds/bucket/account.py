"""The account that a resource is: its users with their keys, its buckets, and its clock."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import msgspec

from skerry.kernel.keys import Keys
from skerry.kernel.kind import Context
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.claim import access_key, secret_key
from skerry.kinds.bucket.config import BucketConfig
from skerry.kinds.bucket.state import buckets
from skerry.kinds.bucket.state.database import Db
from skerry.kinds.bucket.state.store import Store


@dataclass(frozen=True, slots=True)
class Identity:
    """A user: its canonical id (64 hex digits, the same on every branch), name and secret."""

    id: str
    name: str
    email: str
    access_key: str
    secret: str = field(repr=False)


def owner_credential(resource_id: str, keys: Keys) -> tuple[str, str]:
    """Return the access key and the secret of the resource's owner."""
    return access_key(resource_id), secret_key(keys)


ANONYMOUS = Identity("", "", "", "", "")


class Account:
    """What every part of a resource shares while it is awake."""

    def __init__(self, context: Context, store: Store) -> None:
        self.context = context
        self.store = store
        self.keys = context.keys
        self.meter = context.meter
        self.config: BucketConfig = msgspec.convert(
            context.config or {}, BucketConfig, from_attributes=True
        )
        self.identities: dict[str, Identity] = {}
        self._names: dict[str, str] = {}
        self._emails: dict[str, str] = {}
        self.owner = self._identity(buckets.OWNER, "", "")

    def now(self) -> int:
        """Return the time in nanoseconds since 1970."""
        return self.context.clock.now()

    async def load_users(self) -> None:
        """Read who may sign requests."""
        users = await self.store.read(buckets.users)
        found = [
            self.owner,
            *(self._identity(each.name, each.suffix, each.email) for each in users),
        ]
        self.identities = {each.access_key: each for each in found}
        self._names = {each.id: each.name for each in found}
        self._emails = {each.email: each.id for each in found if each.email}

    async def create_default(self) -> None:
        """Create the bucket that is named like the resource, at the first start."""
        await self.store.write(self._create_default)

    def _create_default(self, db: Db) -> None:
        name = self.context.ref.name
        used = db.execute("SELECT 1 FROM sqlite_sequence WHERE name = 'buckets'").get
        if not used:
            buckets.create(db, name, self.owner.id, self.now())

    def user_id(self, name: str) -> str:
        """Return the canonical id of a user."""
        return hashlib.sha256(self.keys.shared(f"user:{name}").encode()).hexdigest()

    def name_of(self, user: str) -> str:
        """Return a user's display name; a removed user has none."""
        return self._names.get(user, "")

    def resolve(self, kind: str, value: str) -> str:
        """Return the user whom an ACL names by `id` or `emailAddress`; raise S3Error."""
        if kind == "id":
            if value not in self._names:
                raise S3Error("InvalidArgument", "Invalid id", fields={"ArgumentValue": value})
            return value
        if value not in self._emails:
            raise S3Error(
                "UnresolvableGrantByEmailAddress",
                "The e-mail address you provided does not match any account on record.",
            )
        return self._emails[value]

    def _identity(self, name: str, suffix: str, email: str) -> Identity:
        return Identity(
            self.user_id(name),
            name,
            email,
            access_key(self.context.id, suffix),
            secret_key(self.keys, suffix),
        )
