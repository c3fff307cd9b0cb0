"""How the conformance suite speaks to a resource of any kind: through its wire, as a client would.

A kind's manifest names its subject (`subject="subject:HelloSubject"`). A subject writes and reads
text under keys, whatever that means to the kind; the suite does the rest. What only some kinds can
do has a class of its own: a kind that has `remote` names a `BoundSubject`, one whose wire has a
`gate` a `GatedSubject`, one that `leaves` a `LeavingSubject`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple


@dataclass(frozen=True, slots=True)
class Place:
    """Where a resource is reached: the fields of `skerry connect`, and the node's ports."""

    app: str
    branch: str
    name: str
    fields: Mapping[str, str]
    http_port: int
    ports: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class WayOut:
    """How an app is declared whose resource leads to a place outside: lines for the resource's
    table in `skerry.toml`, tables below it included, and secrets of the app.
    """

    settings: str
    secrets: Mapping[str, str] = field(default_factory=dict)


class Subject(ABC):
    """A client of one resource.

    `settings` are lines for its table in `skerry.toml`, `files` more files of the app. For a kind
    that keeps no state, `put` is never called.
    """

    settings: ClassVar[str] = ""
    files: ClassVar[Mapping[str, str]] = {}

    def __init__(self, place: Place) -> None:
        self.place = place

    @abstractmethod
    async def put(self, key: str, value: str) -> None:
        """Write; when this returns, the write was acknowledged."""

    @abstractmethod
    async def get(self) -> dict[str, str]:
        """Return everything that was written."""

    async def close(self) -> None:
        """Let go of connections."""
        return


class BoundSubject(Subject):
    """A subject that speaks to its resource by what a function is bound to as well."""

    @abstractmethod
    async def put_by(self, binding: Any, key: str, value: str) -> None:
        """Write as `put` does, by a binding."""

    @abstractmethod
    async def get_by(self, binding: Any) -> dict[str, str]:
        """Read as `get` does, by a binding."""


class Knocked(NamedTuple):
    """How a wire answered: its HTTP status, and of what it told all that is the same each time."""

    status: int
    told: str


class GatedSubject(Subject):
    """A subject of a resource whose wire has a gate."""

    @abstractmethod
    async def knock(self, *, right: bool) -> Knocked:
        """Ask for something that needs a credential, with the right one or with a wrong one."""


class LeavingSubject(Subject):
    """A subject that can have something of its resource sent to a place outside.

    For each action that the kind's manifest says it `leaves` by, both must do the very thing.
    """

    @classmethod
    @abstractmethod
    def way_out(cls, action: str, address: str) -> WayOut | None:
        """Return how to declare a resource that leads to a URL by an action; None if none does."""

    @abstractmethod
    async def leave(self, action: str) -> bool:
        """Have something of the resource sent out by an action; return False if it is refused."""
