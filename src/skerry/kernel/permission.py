"""`permit`: code of users asks the node whether something may go to a place outside it.

    from skerry import permit

    await permit("archive:send", provider="hetzner", country="DE", encrypted=True)

What code sends over its own connections is not stopped by anybody else: an app that asks keeps to
its own policy, and has each of its sendings in the audit log. A process runs the code of one
resource only, so there is one permit in a process.
"""

from __future__ import annotations

from skerry.kernel.kind import Permit
from skerry.kernel.policy import Decision, Place


class CurrentPermit:
    """The way to the node from this process, once its code is about to be started."""

    __slots__ = ("_installed",)

    def __init__(self) -> None:
        self._installed: Permit | None = None

    def install(self, permit: Permit) -> None:
        """Make `permit` the one that is asked."""
        self._installed = permit

    def remove(self, permit: Permit) -> None:
        """Take `permit` away again; harmless if another one took its place."""
        if self._installed == permit:
            self._installed = None

    async def __call__(
        self,
        action: str,
        *,
        provider: str,
        country: str = "",
        host: str = "",
        encrypted: bool = False,
    ) -> Decision:
        """Return the decision that allows it; raise DENIED with its rule if none does.

        `provider` is whose place it is, as the node's policy knows it; `encrypted` says that only
        bytes which were encrypted here would go, and no key with them.
        """
        if self._installed is None:
            raise RuntimeError("permit exists only in code that a node runs: try `skerry dev`.")
        return await self._installed(action, Place(provider, country, host), encrypted=encrypted)


permit = CurrentPermit()
