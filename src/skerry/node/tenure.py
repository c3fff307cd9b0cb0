"""Whether this node may serve an app that has standbys on other nodes.

Who serves such an app is decided by a lease (see `kernel.lease`), which the federation holds. While
nobody has said that this node holds it, the app is not served here, whatever is in the catalogue:
another node may serve it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from skerry.kernel.catalogue import Catalogue
from skerry.kernel.errors import BUSY

Settle = Callable[[], Awaitable[None]]


class Tenure:
    """Answers for every app whether it may be served now."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._held: dict[str, Callable[[], bool]] = {}
        self._settling: dict[str, Settle] = {}

    def hold(self, app: str, may_serve: Callable[[], bool], settle: Settle | None = None) -> None:
        """Name what tells, at each moment, whether the lease of an app is held here.

        `settle`, if anybody has to agree, is called after each command that changes what it is.
        """
        self._held[app] = may_serve
        if settle is not None:
            self._settling[app] = settle

    def drop(self, app: str) -> None:
        """The lease of an app is not held here any more."""
        self._held.pop(app, None)
        self._settling.pop(app, None)

    async def settle(self, app: str) -> None:
        """Return once a change of what an app is may be acknowledged.

        Where it has to survive this node, that is once the standbys know of it. Raises TIMED_OUT,
        FENCED if that does not come about; the change is made here, and may be undone.
        """
        settle = self._settling.get(app)
        if settle is not None:
            await settle()

    def holds(self, app: str) -> bool:
        """Tell whether an app may be served here now."""
        found = self._catalogue.apps.get(app)
        if found is None or found.replication is None:
            return True
        may_serve = self._held.get(app)
        return may_serve is not None and may_serve()

    def check(self, app: str) -> None:
        """Raise BUSY unless an app may be served here now."""
        if not self.holds(app):
            raise BUSY(
                f"This node does not hold the lease of {app} now.",
                why="It has standbys on other nodes, and one of them may have taken over.",
                hint="skerry nodes",
            )
