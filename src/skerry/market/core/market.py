"""The market: a fold over its log of messages.

The fold itself checks every message, as a chain would: what is refused changes nothing, in every
replay. So messages need no lock between their check and their entry, and a batch of them is durable
with one sync. Nothing here knows the time but from entries.
"""

from __future__ import annotations

from skerry.kernel.errors import SkerryError
from skerry.market.core import checks, saved, transitions
from skerry.market.core.messages import AnyMessage, Entry, decode
from skerry.market.core.state import State


class Market:
    """The state of a market, and what leads from one state to the next.

    `replaying` is true while the log is read: then a refusal was told to its sender long ago.
    """

    def __init__(self, operator: str) -> None:
        self.state = State(operator)
        self.replaying = True

    @classmethod
    def restored(cls, body: bytes, operator: str) -> Market:
        """Return the market that was saved; raise ValueError if it is none of this version."""
        market = cls(operator)
        market.state = saved.restore(body, operator)
        return market

    def save(self) -> bytes:
        """Return its whole state, to go on from later."""
        return saved.save(self.state)

    def check(self, message: AnyMessage, signer: str, at: int) -> None:
        """Raise the first reason why a message is refused now, in Akash's order of checks."""
        checks.check(self.state, message, signer, max(at, self.state.now))

    def apply(self, body: bytes) -> None:
        """Fold one entry of the log; raise why its first refused message was refused."""
        refused = [each for each in self.fold(decode(body)) if each is not None]
        if refused and not self.replaying:
            raise refused[0]

    def fold(self, entry: Entry) -> list[SkerryError | None]:
        """Fold an entry; return for each message why it was refused, or None."""
        state = self.state
        state.now = max(state.now, entry.at)
        found: list[SkerryError | None] = []
        for signed in entry.messages:
            try:
                checks.check(state, signed.message, signed.signer, state.now)
                transitions.apply(state, signed.message, state.now)
            except SkerryError as error:
                found.append(error)
            else:
                found.append(None)
            state.sequence += 1
        return found
