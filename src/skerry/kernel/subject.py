"""How the conformance suite speaks to a resource of any kind: through its wire, as a client would.

A kind's manifest names its subject (`subject="subject:HelloSubject"`). A subject writes and reads
text under keys, whatever that means to the kind; the suite does the rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar


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
    that keeps no state, `put` is never called. For each action that its manifest says it `leaves`
    by, `way_out` and `leave` must do the very thing.
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

    async def put_by(self, binding: Any, key: str, value: str) -> None:
        """Write as `put` does, by what a function is bound to; for kinds that have `remote`."""
        raise NotImplementedError

    async def get_by(self, binding: Any) -> dict[str, str]:
        """Read as `get` does, by what a function is bound to."""
        raise NotImplementedError

    @classmethod
    def way_out(cls, action: str, address: str) -> WayOut | None:
        """Return how to declare a resource that leads to a URL by an action; None if none does."""
        return None

    async def leave(self, action: str) -> bool:
        """Have something of the resource sent out by an action; return False if it is refused."""
        raise NotImplementedError(f"{type(self).__name__} cannot {action}")

    async def close(self) -> None:
        """Let go of connections."""
        return
