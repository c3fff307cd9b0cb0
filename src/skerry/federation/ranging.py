"""How far a node can be, from how long light would need: bounds that witnesses measure.

A witness sends a node a number that nobody could guess, and the node signs it with its key and
sends it back. Light in a vacuum goes 299.8 km in a millisecond, so an answer after `t` cannot have
come from farther than `t / 2` of light. The bound is on whoever holds the node's key: it says "not
farther than", and never "here".

Each witness signs what it measured. Where a witness is, is not its own word: the operator who
relies on it says so in `facts.toml` (`at`, degrees north and east). Of a node that is within `r` km
of a witness, which is `d` km from the place that the node states, it follows that the node is
within `r + d` km of the place that it states. The second-smallest of these bounds counts, so that
one witness that lies cannot make it smaller than it is.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence

import msgspec

from skerry.federation.calls import Calls
from skerry.federation.identity import Identity, id_of, verify
from skerry.federation.peers import Peer, Peers
from skerry.federation.wire import Wire
from skerry.kernel.clock import Clock, Entropy
from skerry.kernel.errors import BUSY, CONFLICT, INVALID, SkerryError
from skerry.kernel.policy import Fact

KM_PER_SECOND = 299_792.458
EARTH_KM = 6371.0088
SAMPLES = 12
WITNESSES_MIN = 3
MEASURE_SECONDS = 20.0
_ECHO = b"skerry range echo v1\n"
_STATEMENT = b"skerry range statement v1\n"


class Echo(msgspec.Struct, frozen=True):
    """A witness's question: sign this, at once."""

    nonce: bytes


class Echoed(msgspec.Struct, frozen=True):
    """The signature of the node that was asked."""

    signature: bytes


class Measure(msgspec.Struct, frozen=True):
    """A question to a witness: how far can a node be that is bound to you?"""

    subject: str


class Statement(msgspec.Struct, frozen=True):
    """What a witness measured; `best_us` is the shortest time there and back, in microseconds."""

    subject: str
    witness: str
    best_us: int
    samples: int
    time: int

    def signed(self) -> bytes:
        """Return the bytes that the witness signs."""
        return _STATEMENT + msgspec.json.encode(self, order="sorted")

    @property
    def km(self) -> int:
        """How far the subject can be from the witness, at most."""
        return math.ceil(self.best_us / 1e6 / 2 * KM_PER_SECOND)


class Stated(msgspec.Struct, frozen=True):
    """A statement, with the witness's key and signature."""

    statement: Statement
    key: bytes
    signature: bytes

    def check(self) -> None:
        """Raise UNAUTHENTICATED unless the witness that it names has signed it."""
        verify(self.key, self.signature, self.statement.signed())
        if id_of(self.key) != self.statement.witness:
            raise INVALID("The statement names another witness than the one that signed it.")


class Spot(msgspec.Struct, frozen=True):
    """A place on the Earth, in degrees."""

    north: float
    east: float

    def __str__(self) -> str:
        return f"{self.north:g},{self.east:g}"

    def km_to(self, other: Spot) -> float:
        """Return the distance along the surface (haversine)."""
        one, two = math.radians(self.north), math.radians(other.north)
        half = math.sin((two - one) / 2) ** 2
        east = math.radians(other.east - self.east)
        half += math.cos(one) * math.cos(two) * math.sin(east / 2) ** 2
        return 2 * EARTH_KM * math.asin(min(1.0, math.sqrt(half)))


def read_spot(text: str) -> Spot | None:
    """Return the place that a fact `at` names; None if it names none."""
    north, comma, east = text.partition(",")
    try:
        spot = Spot(float(north), float(east))
    except ValueError:
        return None
    right = comma and abs(spot.north) <= 90 and abs(spot.east) <= 180
    return spot if right else None


class Seen(msgspec.Struct, frozen=True):
    """A statement as whoever relies on it sees it: where the witness is, and who says so."""

    stated: Stated
    name: str
    owner: str
    at: Spot
    known_by: Fact


class Bound(msgspec.Struct, frozen=True):
    """What follows from statements: how far from the stated place, and who contradicts that."""

    km: int
    contradicted_by: tuple[str, ...]


def bound(stated_at: Spot, seen: Sequence[Seen]) -> Bound:
    """Return what follows; raise CONFLICT unless three witnesses of different owners measured."""
    owners = {each.owner or each.name for each in seen}
    if len(seen) < WITNESSES_MIN or len(owners) < WITNESSES_MIN:
        raise CONFLICT(
            f"{len(owners)} owners' witnesses measured, and {WITNESSES_MIN} are needed.",
            why="A witness counts if facts.toml says where it is (at).",
            hint="skerry nodes",
        )
    around = sorted(math.ceil(x.stated.statement.km + x.at.km_to(stated_at)) for x in seen)
    wrong = [x.name for x in seen if x.at.km_to(stated_at) > x.stated.statement.km]
    return Bound(around[1], tuple(wrong))


class Ranging:
    """Answers as a node whose distance is measured, and measures that of others."""

    def __init__(
        self, identity: Identity, peers: Peers, calls: Calls, clock: Clock, entropy: Entropy
    ) -> None:
        self._identity = identity
        self._peers = peers
        self._calls = calls
        self._clock = clock
        self._entropy = entropy
        self._measuring = asyncio.Lock()

    def answer(self, wire: Wire) -> None:
        """Answer other nodes."""
        wire.add("/range/echo", self._echo, Echo)
        wire.add("/range/measure", self._measure_for, Measure)

    async def _echo(self, peer: str, asked: Echo) -> Echoed:
        return Echoed(self._identity.sign(_ECHO + peer.encode() + b"\n" + asked.nonce[:64]))

    async def _measure_for(self, peer: str, asked: Measure) -> Stated:
        subject = self._peers.by_id.get(asked.subject)
        if subject is None:
            raise CONFLICT(f"{asked.subject[:40]} is not bound to this witness.")
        return await self.measure(subject)

    async def measure(self, subject: Peer) -> Stated:
        """Measure how far a peer can be; raise BUSY while another is measured."""
        if self._measuring.locked():
            raise BUSY("Another node's distance is being measured.")
        async with self._measuring:
            nonces = [self._entropy.bytes(32) for _ in range(SAMPLES)]
            found = await self._calls.timed(
                subject,
                "/range/echo",
                [Echo(nonce) for nonce in nonces],
                self._clock.monotonic,
                MEASURE_SECONDS,
            )
        for nonce, (_, data) in zip(nonces, found, strict=True):
            echoed = msgspec.json.decode(data, type=Echoed)
            said = _ECHO + self._identity.id.encode() + b"\n" + nonce
            verify(subject.public_key, echoed.signature, said)
        best = math.ceil(min(seconds for seconds, _ in found) * 1e6)
        statement = Statement(
            subject.card.id, self._identity.id, best, len(found), self._clock.now()
        )
        return Stated(statement, self._identity.public_key, self._identity.sign(statement.signed()))

    async def ask(self, witness: Peer, subject: str) -> Stated:
        """Ask another node to measure; raise if what it says is not its own."""
        found = await self._calls.ask(
            witness, "/range/measure", Measure(subject), Stated, seconds=2 * MEASURE_SECONDS
        )
        found.check()
        said = found.statement
        age = abs(self._clock.now() - said.time) / 1e9
        if (said.subject, said.witness) != (subject, witness.card.id) or age > 3600:
            raise INVALID(f"{witness.card.name} states something else than what was asked.")
        return found

    async def everybody(self, subject: Peer | None, own_id: str) -> dict[str, Stated | str]:
        """Return what every peer (and this node, of another) measured, or why it did not."""
        target = own_id if subject is None else subject.card.id
        witnesses = [peer for peer in self._peers if peer.card.id != target]
        found: dict[str, Stated | str] = {}
        results = await asyncio.gather(
            *(self.ask(each, target) for each in witnesses), return_exceptions=True
        )
        for peer, result in zip(witnesses, results, strict=True):
            if isinstance(result, Stated):
                found[peer.card.name] = result
            elif isinstance(result, SkerryError):
                found[peer.card.name] = result.what
            else:
                raise result
        return found


def spots(facts: Mapping[str, Sequence[Fact]]) -> dict[str, tuple[Spot, Fact]]:
    """Return where nodes are, of those of which a fact `at` says so, by name."""
    found = {}
    for name, said in facts.items():
        for fact in said:
            text = fact.value if fact.name == "at" and isinstance(fact.value, str) else ""
            spot = read_spot(text)
            if spot is not None:
                found[name] = (spot, fact)
    return found
