"""How the state of a resource comes to lie on several nodes: a snapshot, and a stream of changes.

A kind names its `Replica` in its manifest, and says there if it cannot be replicated and why. The
node that serves asks one replica for the `changes` of each file that a journal named (see
`kernel.journal`); a node that stands by gives them to another one to `apply`. Neither starts an
engine, and neither reads what the bytes mean beyond where a change ends.

The first copy is the directory itself, of one instant while nobody writes. Changes may come twice:
applying one again that was applied, with all that came after it, leads to the same state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import msgspec

WRITE = "write"
LATER = "later"
REMOVE = "remove"


class Change(msgspec.Struct, frozen=True, array_like=True):
    """A change of a file; `path` is inside the resource's directory.

    `write`: `data` lies at `offset`; with `ends`, the file ends there. `remove`: the file is gone.
    `later`: as `write`, but of `size` bytes that are read when they are sent (`Replica.load`), so
    that large files do not wait in memory.
    """

    path: str
    what: str
    offset: int = 0
    data: bytes = b""
    ends: bool = False
    size: int = 0


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """How far a file had come: its size, and what identifies its beginning if it may start over."""

    size: int
    start: bytes = b""


class Replica(ABC):
    """One side of a resource's replication, over its directory; used by one thread at a time.

    `renew_bytes`: after so many bytes of changes a standby needs a new snapshot, because they only
    pile up there; 0 is never. An engine that serves a copy which is only read is started anew from
    a fresh copy, unless its kind's replica is a `FedReplica`.
    """

    renew_bytes: ClassVar[int] = 0

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @abstractmethod
    def changes(self, path: str, *, replaced: bool = False) -> Iterator[Change]:
        """Yield what was written to a file since the last call; everything at the first call.

        `replaced`: the content of the file is another one now, or it is gone.
        """

    @abstractmethod
    def load(self, change: Change) -> Change:
        """Return a change with its bytes; a removal if its file is gone meanwhile."""

    @abstractmethod
    def apply(self, change: Change) -> None:
        """Carry a change out. Raises INVALID for a path that leads out of the directory.

        Raises CONFLICT if what the change builds on is not there: a new snapshot is needed.
        """

    @abstractmethod
    def sync(self) -> None:
        """Bring to the disk what was applied since the last call."""

    @abstractmethod
    def marks(self) -> dict[str, Mark]:
        """Return how far every file has come that changes were yielded of or could be.

        Comparing the marks of two copies tells what one of them does not have.
        """


class FedReplica(Replica):
    """One whose engine goes on from what it is fed, while it serves a copy that is only read."""

    @abstractmethod
    def can_be_fed(self, copy: Path) -> bool:
        """Tell whether `feed` is enough, or a fresh copy has to be made."""

    @abstractmethod
    def feed(self, copy: Path) -> list[Path]:
        """Bring here what a copy in another directory has more; return the files that are new.

        The copy does not change meanwhile.
        """
