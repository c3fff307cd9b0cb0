"""Peers as witnesses: each signs the heads of the others' audit logs, if they only ever grew."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

import msgspec

from skerry.federation.calls import Calls
from skerry.federation.peers import Card, Peer
from skerry.federation.wire import Wire
from skerry.kernel.errors import DENIED, INVALID
from skerry.node.audit.note import COSIGNATURE, LOG, Verifier
from skerry.node.node import Node


class Seen(msgspec.Struct, frozen=True):
    """A question: how much of the caller's log was signed last?"""

    origin: str


class SeenAnswer(msgspec.Struct, frozen=True):
    """The size of the head that was signed last."""

    size: int


class Cosign(msgspec.Struct, frozen=True):
    """A head to be signed, with the proof that it extends the one of size `old`."""

    old: int
    proof: tuple[bytes, ...]
    checkpoint: str


class Cosigned(msgspec.Struct, frozen=True):
    """The signature line."""

    line: str


class PeerWitness:
    """A peer, as this node's witness."""

    def __init__(self, calls: Calls, peer: Peer, verifier: Verifier) -> None:
        self._calls = calls
        self._peer = peer
        self._verifier = verifier

    @property
    def verifier(self) -> Verifier:
        """See `Witness.verifier`."""
        return self._verifier

    async def seen(self, origin: str) -> int:
        """See `Witness.seen`."""
        found = await self._calls.ask(self._peer, "/witness/seen", Seen(origin), SeenAnswer)
        return found.size

    async def cosign(self, old: int, proof: Sequence[bytes], checkpoint: str) -> str:
        """See `Witness.cosign`."""
        asked = Cosign(old, tuple(proof), checkpoint)
        found = await self._calls.ask(self._peer, "/witness/cosign", asked, Cosigned)
        return found.line


class Witnessing:
    """Trusts the logs of peers, and asks peers to sign this node's."""

    def __init__(self, node: Node, calls: Calls, wire: Wire) -> None:
        self._node = node
        self._calls = calls
        self._origins: dict[str, str] = {}
        self._names: dict[str, str] = {}
        wire.add("/witness/seen", self._seen, Seen)
        wire.add("/witness/cosign", self._cosign, Cosign)

    def keys(self) -> tuple[str, str]:
        """Return the keys of this node's log and of this node as a witness."""
        return str(self._node.audit.log.verifier), str(self._node.witness_desk.verifier)

    def learn(self, peer: Peer) -> None:
        """Take a peer's keys from its card; an older node has none there."""
        card = peer.card
        if not (card.log_key and card.witness_key):
            return
        log, witness = read_keys(card)
        self._node.witness_desk.trust(log)
        self._origins[card.id] = log.name
        self.forget(card.id)
        self._names[card.id] = witness.name
        self._node.witnesses.witnesses[witness.name] = PeerWitness(self._calls, peer, witness)

    def forget(self, peer: str) -> None:
        """Ask a node no more that is bound no more; its own heads are not signed either."""
        name = self._names.pop(peer, "")
        self._node.witnesses.witnesses.pop(name, None)

    async def _seen(self, peer: str, asked: Seen) -> SeenAnswer:
        self._check(peer, asked.origin)
        return SeenAnswer(self._node.witness_desk.seen(asked.origin))

    async def _cosign(self, peer: str, asked: Cosign) -> Cosigned:
        origin = asked.checkpoint.partition("\n")[0]
        self._check(peer, origin)
        return Cosigned(
            await asyncio.to_thread(
                self._node.witness_desk.cosign, asked.old, asked.proof, asked.checkpoint
            )
        )

    def _check(self, peer: str, origin: str) -> None:
        """Let a peer speak of no log but its own."""
        if self._origins.get(peer) != origin:
            raise DENIED(f"{origin[:80]} is not the log of the node that asks.")


def read_keys(card: Card) -> tuple[Verifier, Verifier]:
    """Return the keys of a peer's log and of the peer as a witness; raise INVALID.

    The name of a log holds the digest of its key, so that no node can take another's name.
    """
    log, witness = Verifier.parse(card.log_key), Verifier.parse(card.witness_key)
    digest = hashlib.sha256(log.public).hexdigest()[:12]
    if log.kind != LOG or witness.kind != COSIGNATURE or not log.name.endswith(f"/{digest}"):
        raise INVALID(f"The keys of {card.name} are not those of a log and a witness.")
    if witness.name != f"{log.name}/witness":
        raise INVALID(f"The witness's key of {card.name} has another name than its log.")
    return log, witness
