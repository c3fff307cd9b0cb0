"""The Postgres port of the node: one port, every app and branch.

A client is sent to its database by name, proves that it knows the password, and only then is the
database woken. From there on its bytes are relayed.
"""

from __future__ import annotations

import asyncio

from skerry.kernel.kind import Front, Gateway
from skerry.kinds.postgres.client import Client
from skerry.kinds.postgres.limits import Limits
from skerry.kinds.postgres.lobby import Lobby


class PostgresFront(Front):
    """Serves the Postgres port."""

    def __init__(self, gateway: Gateway, limits: Limits | None = None) -> None:
        super().__init__(gateway)
        self.lobby = Lobby(gateway, limits or Limits())

    def protocol(self) -> asyncio.BaseProtocol:
        """See `Front.protocol`."""
        return Client(self.lobby)
