"""What the doctor says of a node among others."""

from __future__ import annotations

from skerry.federation.health import examine
from skerry.federation.messages import Greeting
from skerry.federation.peers import Card, Peer, PeerJoined, Peers, encode
from skerry.kernel.clock import SystemClock
from skerry.kernel.errors import NODE_UNREACHABLE

CLOCK = SystemClock()
SECOND = 1_000_000_000


def bound(*names: str) -> Peers:
    peers = Peers()
    for name in names:
        card = Card(name, name, f"https://{name}.example:7880")
        peers.apply(encode(PeerJoined(card, b"", "", 0)))
    return peers


async def found(peers: Peers, bus: bool | None = None, **ahead: int) -> dict[str, tuple[bool, str]]:
    async def greet(peer: Peer) -> Greeting:
        name = peer.card.name
        if name not in ahead:
            raise NODE_UNREACHABLE(f"{name} does not answer.")
        return Greeting(peer.card, "1", (), (), CLOCK.now() + ahead[name] * SECOND)

    checks = await examine(peers, greet, CLOCK, bus)
    return {each.name: (each.ok, f"{each.detail} {each.hint}") for each in checks}


async def test_a_node_alone_lacks_nothing() -> None:
    assert await found(Peers()) == {"federation": (True, "bound to no other node ")}


async def test_silent_nodes_and_clocks_that_differ_are_named() -> None:
    peers = bound("fi-1", "no-1", "se-1")
    checks = await found(peers, False, **{"fi-1": 0, "no-1": -90})
    assert not checks["federation"][0]
    assert "2 of 3" in checks["federation"][1] and "se-1 does not answer" in checks["federation"][1]
    assert checks["clocks"][0] is False
    assert "no-1 is 90 s behind" in checks["clocks"][1]
    assert checks["bus"][0] is False
    well = await found(peers, True, **{"fi-1": 0, "no-1": 1, "se-1": -1})
    assert all(ok for ok, _ in well.values()), well
