"""Leases as the nodes of a jurisdiction share them: only of apps that may be known to all of them.

A lease tells which app runs where. So before one is written, policy is asked for every node whose
server could hold it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from skerry.kernel.errors import DENIED
from skerry.kernel.lease import Lease, Leases

Permit = Callable[[str, bool], bool]
"""From an app, and whether the decision is recorded, to whether this node knows the app.

Raises DENIED if the app may not be known to some node of the cluster.
"""


class PermittedLeases:
    """Implements `Leases` for apps: a subject is the app's name, or begins with it and a `/`."""

    def __init__(self, leases: Leases, permit: Permit) -> None:
        self._leases = leases
        self._permit = permit

    async def acquire(
        self,
        subject: str,
        holder: str,
        seconds: float,
        replicas: tuple[str, ...] = (),
        after: int = 0,
    ) -> Lease:
        """See `Leases.acquire`. Raises DENIED.

        A node that takes an app over may not have it yet. It writes nothing new about it, and
        nothing to where the app's own node did not write it.
        """
        known = self._permit(_app(subject), True)
        if not known and await self._leases.current(subject) is None:
            raise DENIED(
                f"This node has no app {_app(subject)}, and no other has led it.",
                hint="skerry nodes",
            )
        return await self._leases.acquire(subject, holder, seconds, replicas, after)

    async def renew(
        self, lease: Lease, seconds: float, replicas: tuple[str, ...] | None = None
    ) -> Lease:
        """See `Leases.renew`. Raises DENIED when it is not permitted any more."""
        self._permit(_app(lease.subject), False)
        return await self._leases.renew(lease, seconds, replicas)

    async def release(self, lease: Lease) -> None:
        """See `Leases.release`."""
        await self._leases.release(lease)

    async def current(self, subject: str) -> Lease | None:
        """See `Leases.current`."""
        return await self._leases.current(subject)

    def watch(self) -> AsyncIterator[Lease]:
        """See `Leases.watch`."""
        return self._leases.watch()


def _app(subject: str) -> str:
    return subject.partition("/")[0]
