"""What nodes say to each other about an app that several of them keep."""

from __future__ import annotations

import msgspec

from skerry.federation.messages import Commit, Key
from skerry.kernel.events import Replication
from skerry.kernel.replica import Change, Mark

BATCH_BYTES_MAX = 32 << 20


class Standby(msgspec.Struct, frozen=True):
    """May a copy of an app come? `members` are the ids of all nodes that are to have it.

    The state of `branches` would come, that of `kept` is there already. `data_keys` are the app's
    own, as in `federation.messages.Offer`.
    """

    app: str
    kinds: tuple[str, ...]
    branches: tuple[str, ...]
    kept: tuple[str, ...]
    members: tuple[str, ...]
    bytes: int
    data_keys: tuple[tuple[str, Key], ...]

    def __repr__(self) -> str:
        return f"Standby({self.app})"


class Follow(msgspec.Struct, frozen=True):
    """The copy is complete as of a sequence number: follow the changes from there."""

    commit: Commit
    replication: Replication
    sequence: int
    definition: bytes


class OfApp(msgspec.Struct, frozen=True):
    """An app that several nodes keep, and the epoch of who asks."""

    app: str
    epoch: int = 0


class Item(msgspec.Struct, frozen=True, array_like=True):
    """A change of one resource."""

    branch: str
    resource: str
    change: Change


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """Changes in their order, up to the sequence number `last`; `after` is the one before.

    A change of a branch that came by a snapshot since is left out, so numbers may be missing.
    """

    app: str
    epoch: int
    after: int
    last: int
    items: tuple[Item, ...]


class Position(msgspec.Struct, frozen=True):
    """How far a standby has come; everything up to `sequence` is on its disk.

    `definition` is the digest of what it was told of the app.
    """

    epoch: int
    sequence: int
    definition: bytes = b""


Marks = dict[str, dict[str, dict[str, Mark]]]
"""How far each file of a state had come: by branch, resource and path."""


class Taken(msgspec.Struct, frozen=True):
    """What a node had when it took an app over."""

    epoch: int
    marks: Marks


class Inheritance(msgspec.Struct, frozen=True):
    """Where the stream stood when this node took an app over, and the last of what came."""

    epoch: int
    sequence: int
    definition: bytes
    last: tuple[Batch, ...]


class Served(msgspec.Struct, frozen=True):
    """A node serves an app from now on; `ids` are those of its resources."""

    app: str
    epoch: int
    ids: tuple[str, ...]


class Heard(msgspec.Struct, frozen=True):
    """The answer to what needs none."""


class Group(msgspec.Struct, frozen=True):
    """Nodes that are to be bound to each other; the answer names those that are not known."""

    members: tuple[str, ...]
