"""The way to another node: over the federation's mutual TLS where it is bound to this one.

`node://north` is the node of that name. A provider tells the id of its node beside its address, so
that a market whose node is bound to it goes that way too. Whoever answers there has proved the key
of that id; what is asked is signed all the same, for a lease is a wallet's and not a node's.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import urlsplit

from skerry.kernel.errors import NODE_UNREACHABLE, NOT_FOUND, SkerryError

SCHEME = "node"
SERVICE = "federation"
_INSIDE = "http://localhost"


class Way(NamedTuple):
    """An address, and the unix socket that leads to it ('' for none: it is asked directly)."""

    url: str
    tunnel: str = ""

    @property
    def words(self) -> str:
        """How it is gone, for people."""
        return "mutual TLS" if self.tunnel else urlsplit(self.url).scheme


class Ways:
    """The ways from this node."""

    def __init__(self, node: Any) -> None:
        self._node = node

    def _federation(self) -> Any:
        """Return the federation of this node, None if it has none or is not that far yet."""
        services = self._node.services
        return services.handler(SERVICE) if SERVICE in services.running else None

    @property
    def own(self) -> str:
        """The id by which other nodes know this one, '' without a federation."""
        federation = self._federation()
        return "" if federation is None else str(federation.identity.id)

    async def to(self, url: str, node: str = "") -> Way:
        """Return the way to an address, which may be that of a bound node's.

        Raises NOT_FOUND for a `node://` that is not bound to this one.
        """
        parts = urlsplit(url)
        wanted = parts.netloc if parts.scheme == SCHEME else node
        federation = self._federation()
        if wanted and federation is not None:
            try:
                return Way(_INSIDE + parts.path, await federation.way_to(wanted))
            except SkerryError as error:
                if parts.scheme == SCHEME or error.problem is not NOT_FOUND:
                    raise
        if parts.scheme == SCHEME:
            raise NODE_UNREACHABLE(f"{url} cannot be reached.", why="This node has no federation.")
        return Way(url)
