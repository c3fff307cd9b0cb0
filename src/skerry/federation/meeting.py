"""Telling peers where this node is: since a start its port may be another than they know.

Each is greeted until it has answered once. Of two nodes that both changed their address while the
other was away neither finds the other; they are found through `skerry node join` again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from skerry.federation.peers import Peer, Peers
from skerry.kernel.errors import SkerryError

FIRST_SECONDS = 5.0
MOST_SECONDS = 300.0
"""How long it waits for a peer that did not answer: twice as long each time, up to this."""

_log = logging.getLogger("skerry.federation")


class Meeting:
    """Greets every peer of a node, each until it has answered."""

    def __init__(self, peers: Peers, meet: Callable[[Peer], Awaitable[None]]) -> None:
        self._peers = peers
        self._meet = meet
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Greet all of them, anew if it is under way."""
        if self._task is not None:
            self._task.cancel()
        self._task = asyncio.create_task(self._meet_all())

    async def stop(self) -> None:
        """Greet nobody any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _meet_all(self) -> None:
        waiting = {peer.card.id for peer in self._peers}
        pause = FIRST_SECONDS
        while True:
            asked = [peer for peer in self._peers if peer.card.id in waiting]
            met = await asyncio.gather(*map(self._is_met, asked))
            waiting = {peer.card.id for peer, well in zip(asked, met, strict=True) if not well}
            if not waiting:
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, MOST_SECONDS)

    async def _is_met(self, peer: Peer) -> bool:
        try:
            await self._meet(peer)
        except SkerryError as error:
            _log.info("%s was not told where this node is: %s", peer.card.name, error)
            return False
        return True
