"""The peers of a node, as a fold over its federation log."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from skerry.kernel.errors import CONFLICT, NOT_FOUND
from skerry.kernel.names import did_you_mean


class Door(msgspec.Struct, frozen=True):
    """Where a node's bus is reached: by nodes of its jurisdiction (`cluster`) and others."""

    host: str
    cluster: int
    leaf: int


class Card(msgspec.Struct, frozen=True):
    """What a node says of itself: `url` is where its federation port is reached.

    Owner, country, labels and `at` (degrees north and east) are the operator's own word, and are
    graded as such. `log_key` and `witness_key` are those of its audit log, and of the node as a
    witness of others' logs; `bus` is where its bus is, if it has one.
    """

    id: str
    name: str
    url: str
    owner: str = ""
    country: str = ""
    labels: dict[str, str] = {}
    log_key: str = ""
    witness_key: str = ""
    bus: Door | None = None
    at: str = ""


class PeerJoined(msgspec.Struct, frozen=True, tag_field="event", tag="peer-joined"):
    """A node was bound to this one; `authority` is the certificate that vouches for its own."""

    card: Card
    public_key: bytes
    authority: str
    time: int


class PeerRevoked(msgspec.Struct, frozen=True, tag_field="event", tag="peer-revoked"):
    """A node is bound to this one no more; its key stays refused."""

    id: str
    time: int


class Reached(msgspec.Struct, frozen=True, tag_field="event", tag="reached"):
    """The operator said where other nodes reach this one."""

    url: str
    time: int


class Peer(msgspec.Struct, frozen=True):
    """A peer as it stands."""

    card: Card
    public_key: bytes
    authority: str
    joined: int


class Peers:
    """All peers of a node, and the keys that were revoked.

    `own_url` is where they reach this node, empty unless its operator said so.
    """

    def __init__(self) -> None:
        self.by_id: dict[str, Peer] = {}
        self.revoked: set[str] = set()
        self.revoked_names: set[str] = set()
        self.own_url = ""
        self._decoder = msgspec.json.Decoder(PeerJoined | PeerRevoked | Reached)

    def apply(self, body: bytes) -> None:
        """Fold one entry of the log."""
        event = self._decoder.decode(body)
        if isinstance(event, Reached):
            self.own_url = event.url
            return
        if isinstance(event, PeerRevoked):
            gone = self.by_id.pop(event.id, None)
            self.revoked.add(event.id)
            self.revoked_names |= {gone.card.name} if gone else set()
            return
        if event.card.id not in self.revoked:
            peer = Peer(event.card, event.public_key, event.authority, event.time)
            self.by_id[event.card.id] = peer

    def check_new(self, card: Card, own_name: str) -> None:
        """Raise CONFLICT if a node cannot join: its key was revoked, or its name is taken."""
        if card.id in self.revoked:
            raise CONFLICT(
                f"The key of {card.name} was revoked here.",
                hint="It needs a new identity before it can join again.",
            )
        names = {each.card.name: each.card.id for each in self.by_id.values()}
        if card.name == own_name or names.get(card.name, card.id) != card.id:
            raise CONFLICT(
                f"A node named {card.name} is there already.", hint="skerry up --name <name>"
            )

    def find(self, name: str) -> Peer:
        """Return a peer by its name or id; raise NOT_FOUND with the nearest name."""
        for peer in self.by_id.values():
            if name in (peer.card.name, peer.card.id):
                return peer
        known = [peer.card.name for peer in self.by_id.values()]
        raise NOT_FOUND(
            f"There is no node {name} here.", why=did_you_mean(name, known), hint="skerry nodes"
        )

    def __iter__(self) -> Iterator[Peer]:
        return iter(sorted(self.by_id.values(), key=lambda each: each.card.name))


def encode(event: PeerJoined | PeerRevoked | Reached) -> bytes:
    """Return the log entry's body for an event."""
    return msgspec.json.encode(event)
