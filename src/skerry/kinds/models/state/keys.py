"""Keys: who may call, which models, how often, and for how much."""

from __future__ import annotations

import apsw
import msgspec

from skerry.kernel.errors import ALREADY_EXISTS, CONFLICT, INVALID, NOT_FOUND
from skerry.kinds.models.claim import APP, OWNER
from skerry.kinds.models.state.limits import Limits

NAME_LENGTH_MAX = 100
KEYS_MAX = 100_000


class Key(msgspec.Struct, frozen=True):
    """A key, without its secret; times are nanoseconds since 1970."""

    number: int
    name: str
    created: int
    revoked: int | None
    limits: Limits
    note: str = ""

    @property
    def admin(self) -> bool:
        """Whether it may make and revoke others."""
        return self.number == OWNER


_limits = msgspec.json.Decoder(Limits)
_COLUMNS = "number, name, created, revoked, limits, note"


def ensure_own(connection: apsw.Connection, now: int) -> None:
    """Make the two keys that every resource has."""
    for number, name in ((OWNER, "owner"), (APP, "app")):
        connection.execute(
            "INSERT OR IGNORE INTO keys (number, name, created, limits) VALUES (?, ?, ?, '{}')",
            (number, name, now),
        )


def create(connection: apsw.Connection, name: str, limits: Limits, note: str, now: int) -> Key:
    """Make a key; raise ALREADY_EXISTS if the name is taken."""
    if not name.isprintable() or not 1 <= len(name) <= NAME_LENGTH_MAX:
        raise INVALID(f"A key's name has 1 to {NAME_LENGTH_MAX} printable characters.")
    if len(note) > 1000:
        raise INVALID("A key's note has at most 1000 characters.")
    if connection.execute("SELECT count(*) FROM keys").get >= KEYS_MAX:
        raise CONFLICT(f"There are {KEYS_MAX} keys already.", hint="skerry models key-revoke")
    text = msgspec.json.encode(limits).decode()
    try:
        connection.execute(
            "INSERT INTO keys (name, created, limits, note) VALUES (?, ?, ?, ?)",
            (name, now, text, note),
        )
    except apsw.ConstraintError as error:
        raise ALREADY_EXISTS(f"There is a key named {name!r} already.") from error
    return find(connection, name)


def limit(connection: apsw.Connection, name: str, limits: Limits) -> Key:
    """Change what a key may use."""
    key = find(connection, name)
    text = msgspec.json.encode(limits).decode()
    connection.execute("UPDATE keys SET limits = ? WHERE number = ?", (text, key.number))
    return find(connection, name)


def revoke(connection: apsw.Connection, name: str, now: int) -> Key:
    """End a key for good; raise CONFLICT for those that the resource itself uses."""
    key = find(connection, name)
    if key.number in (OWNER, APP):
        raise CONFLICT(f"The key {name} cannot be revoked.", hint="skerry models key-limit")
    if key.revoked is None:
        connection.execute("UPDATE keys SET revoked = ? WHERE number = ?", (now, key.number))
    return find(connection, name)


def find(connection: apsw.Connection, name: str) -> Key:
    """Return a key by its name; raise NOT_FOUND."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM keys WHERE name = ?", (name,)).fetchone()  # noqa: S608
    if row is None:
        raise NOT_FOUND(f"There is no key named {name!r}.", hint="skerry models key-list")
    return _key(row)


def everything(connection: apsw.Connection) -> list[Key]:
    """Return all keys by their number."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM keys ORDER BY number")  # noqa: S608
    return [_key(row) for row in rows]


def _key(row: tuple[object, ...]) -> Key:
    number, name, created, revoked, limits, note = row
    return msgspec.convert(
        (number, name, created, revoked, _limits.decode(str(limits)), note), _KeyRow
    ).key()


class _KeyRow(msgspec.Struct, array_like=True):
    number: int
    name: str
    created: int
    revoked: int | None
    limits: Limits
    note: str

    def key(self) -> Key:
        """Return it as a key."""
        return Key(self.number, self.name, self.created, self.revoked, self.limits, self.note)
