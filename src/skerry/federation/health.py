"""What `skerry doctor` says of a node among others: who answers, whose clock differs, the bus."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from skerry.federation.messages import Greeting
from skerry.federation.peers import Peer, Peers
from skerry.kernel.clock import NANOSECONDS, Clock
from skerry.kernel.commands import Check
from skerry.kernel.errors import SkerryError

SKEW_SECONDS_MAX = 5.0
"""Clocks that differ by more are told of: tokens, invitations and certificates end by the clock."""

Greet = Callable[[Peer], Awaitable[Greeting]]


async def examine(peers: Peers, greet: Greet, clock: Clock, bus: bool | None) -> list[Check]:
    """Return the findings; every peer is asked at the same time.

    `bus` tells whether all streams of the bus are there; None that there is no bus.
    """
    known = list(peers)
    if not known:
        return [Check("federation", True, "bound to no other node")]
    asked = await asyncio.gather(*(_ask(peer, greet, clock) for peer in known))
    silent = [f"{peer.card.name}: {found}" for peer, found in asked if isinstance(found, str)]
    detail = f"{len(known) - len(silent)} of {len(known)} bound nodes answer"
    found = [Check("federation", not silent, detail, "; ".join(silent[:3]))]
    apart = {peer.card.name: skew for peer, skew in asked if isinstance(skew, float)}
    if apart:
        found.append(_clocks(apart))
    if bus is None:
        found.append(Check("bus", True, "none: standbys need one, moving apps does not"))
    else:
        hint = "" if bus else "Too few nodes of its cluster are reached: skerry nodes"
        found.append(Check("bus", bus, "its streams are there" if bus else "not ready", hint))
    return found


async def _ask(peer: Peer, greet: Greet, clock: Clock) -> tuple[Peer, float | str | None]:
    """Return by how many seconds a peer's clock is ahead, or why it does not answer.

    What the way there and back could account for is taken off; None if an older node does not say.
    """
    before = clock.now()
    try:
        found = await greet(peer)
    except SkerryError as error:
        return peer, error.what
    after = clock.now()
    if not found.time:
        return peer, None
    ahead = (found.time - (before + after) / 2) / NANOSECONDS
    way = (after - before) / 2 / NANOSECONDS
    return peer, max(0.0, abs(ahead) - way) * (1 if ahead > 0 else -1)


def _clocks(apart: dict[str, float]) -> Check:
    name, worst = max(apart.items(), key=lambda each: abs(each[1]))
    if abs(worst) <= SKEW_SECONDS_MAX:
        return Check("clocks", True, f"within {SKEW_SECONDS_MAX:g} s of {len(apart)} other nodes")
    side = "ahead of" if worst > 0 else "behind"
    detail = f"that of {name} is {abs(worst):.0f} s {side} this node's"
    return Check("clocks", False, detail, "Let both follow NTP: timedatectl set-ntp true")
