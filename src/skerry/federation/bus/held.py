"""What the server of a node holds and whom it is connected to, as it says itself."""

from __future__ import annotations

import msgspec


class HeldStream(msgspec.Struct, frozen=True):
    """A stream on a server: how much of it lies there, which servers have it, and of which apps."""

    name: str
    bytes: int
    messages: int
    copies: tuple[str, ...]
    apps: tuple[str, ...]


class Connection(msgspec.Struct, frozen=True):
    """A connection of a server: a `member` of its cluster, a server `abroad`, or a `client`.

    `carries` says in which account: `inside` a jurisdiction, `between` two, or the `system`'s.
    """

    sort: str
    name: str
    address: str
    carries: str
    bytes_in: int
    bytes_out: int


class Held(msgspec.Struct, frozen=True):
    """What a node's server says of itself; without streams and connections, it does not run."""

    node: str
    jurisdiction: str
    bytes: int = 0
    streams: tuple[HeldStream, ...] = ()
    connections: tuple[Connection, ...] = ()

    @property
    def apps(self) -> frozenset[str]:
        """The apps of which something lies there."""
        return frozenset(app for stream in self.streams for app in stream.apps)
