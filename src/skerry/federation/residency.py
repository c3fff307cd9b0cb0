"""Residency: documents, latency bounds and quotes that show where nodes are, and what they make.

What is measured or documented is an entry of the audit log first, and then a fact that counts until
it expires. It is kept beside the peers, so that it counts after a restart.
"""

from __future__ import annotations

import asyncio
import datetime
import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from skerry.federation import messages as m
from skerry.federation import quoting
from skerry.federation.calls import Calls
from skerry.federation.identity import Identity
from skerry.federation.peers import Peer, Peers
from skerry.federation.ranging import Bound, Ranging, Seen, Spot, Stated, bound, spots
from skerry.federation.wire import Wire
from skerry.kernel.errors import CONFLICT, INVALID
from skerry.kernel.policy import Evidence, Fact, Request
from skerry.kernel.territory import COUNTRIES, meant
from skerry.node.home import write_secret
from skerry.node.node import Node
from skerry.node.policy.facts import counted
from skerry.node.policy.residency import FACILITY, QUOTE, RANGE, RANGE_KM_MAX

COUNTS_DAYS = 30
"""How long a measurement counts."""

DOCUMENT_BYTES_MAX = 64 << 20
_RAISED_BY = (
    "R1: skerry residency document <contract> --country …",
    "R2: skerry residency measure, with three witnesses of different owners in known places",
    "R3: skerry residency quote, with a TPM key that is registered",
    "R4: an auditor's statement (a fact `residency`, attested) in facts.toml",
    "nothing: an auditor has signed",
)


class Residency:
    """What shows where this node and its peers are."""

    def __init__(
        self, node: Node, identity: Identity, peers: Peers, calls: Calls, wire: Wire
    ) -> None:
        self._node = node
        self._identity = identity
        self._peers = peers
        self._calls = calls
        self._ranging = Ranging(identity, peers, calls, node.clock, node.entropy)
        self._ranging.answer(wire)
        wire.add("/range/quote", self._answer_quote, quoting.Challenge)
        self._path = node.home.service("federation") / "residency.json"
        self._facts: list[Fact] = []

    async def start(self) -> None:
        """Let what was shown before count again."""
        if self._path.exists():
            data = await asyncio.to_thread(self._path.read_bytes)
            self._facts = msgspec.json.decode(data, type=list[Fact])
        self._learn()

    def _learn(self) -> None:
        at = self._node.config.at
        own = [
            Fact(
                f"node/{self._node.name}",
                "at",
                f"{at[0]:g},{at[1]:g}",
                source="config.toml of the node",
                date=self._node.placement.today,
            )
            for at in ([at] if at else [])
        ]
        self._node.placement.learn("residency", [*self._facts, *own])

    async def _keep(self, *facts: Fact) -> None:
        """Take facts in place of those of the same subjects and names."""
        new = {(each.subject, each.name) for each in facts}
        rest = [each for each in self._facts if (each.subject, each.name) not in new]
        self._facts = [*rest, *facts]
        data = msgspec.json.encode(self._facts)
        await asyncio.to_thread(write_secret, self._path, data)
        self._learn()

    # ---- commands -----------------------------------------------------------------------------

    async def show(self, params: m.OfNode) -> list[m.ResidencyInfo]:
        """Return the grade of every node, or of one, and what would raise it."""
        engine = self._node.placement
        names = [self._name(params.name)] if params.name else engine.nodes()
        return [self._info(name) for name in names]

    def _name(self, name: str) -> str:
        return (
            self._node.name if name in ("", self._node.name) else self._peers.find(name).card.name
        )

    def _info(self, name: str) -> m.ResidencyInfo:
        view = self._node.placement.view(Request("operator", "residency:show", name))
        rank = int(view.attributes["residency"])
        shown = [
            f"{each.name} {each.value} ({each.evidence}, {each.date}, until {each.expires})"
            for each in view.facts.get("residency_evidence", ())
        ]
        return m.ResidencyInfo(
            node=name,
            country=str(view.attributes["country"]),
            grade=f"R{rank}",
            shown_by="; ".join(shown) or "the operator's word",
            raised_by=_RAISED_BY[rank],
        )

    async def document(self, params: m.Document) -> m.ResidencyInfo:
        """Hash a facility's document, keep it, and let it count."""
        name, today = self._name(params.name), self._node.placement.today
        if params.country not in COUNTRIES:
            raise INVALID(f"{params.country[:40]!r} is no country code.", why=meant(params.country))
        try:
            until = datetime.date.fromisoformat(params.until).isoformat()
        except ValueError as error:
            raise INVALID(f"{params.until[:40]!r} is no date.", why="Write 2027-06-30.") from error
        if until <= today:
            raise INVALID(f"The document counted until {until} and counts no more.")
        path = Path(params.file)
        digest = await asyncio.to_thread(self._keep_document, path)
        said = {"event": "document", "node": name, "country": params.country, "sha256": digest,
                "file": path.name, "until": until}  # fmt: skip
        entry = await self._node.audit.add("residency", said)
        await self._keep(
            Fact(
                subject=f"node/{name}",
                name=FACILITY,
                value=params.country,
                evidence=Evidence.DOCUMENTED,
                source=f"{path.name}, kept by {self._node.name}",
                date=today,
                expires=until,
                sha256=digest,
                index=entry,
            )
        )
        return self._info(name)

    def _keep_document(self, path: Path) -> str:
        try:
            with path.open("rb") as file:
                data = file.read(DOCUMENT_BYTES_MAX + 1)
        except OSError as error:
            raise INVALID(f"{path} cannot be read.", why=str(error)) from error
        if not data or len(data) > DOCUMENT_BYTES_MAX:
            raise INVALID(f"{path} is empty, or has more than {DOCUMENT_BYTES_MAX} bytes.")
        digest = hashlib.sha256(data).hexdigest()
        folder = self._path.parent / "documents"
        folder.mkdir(mode=0o700, exist_ok=True)
        write_secret(folder / digest, data)
        return digest

    async def measure(self, params: m.OfNode) -> m.Measured:
        """Let every witness measure how far a node can be from where it says."""
        node, name = self._node, self._name(params.name)
        subject = None if name == node.name else self._peers.find(name)
        stated_at, _ = self._place(name)
        found = await self._ranging.everybody(subject, self._identity.id)
        if subject is not None:
            found[node.name] = await self._ranging.measure(subject)
        seen, left_out = self._seen(found, subject)
        result = bound(stated_at, seen)
        entry = await node.audit.add("residency", _entry(name, stated_at, seen, result))
        await self._keep(*self._ranged(name, stated_at, seen, result, entry))
        return m.Measured(
            node=name,
            at=str(stated_at),
            km=result.km,
            witnesses=tuple(f"{x.name}: {x.stated.statement.km} km of {x.at}" for x in seen),
            contradicted_by=result.contradicted_by,
            left_out=tuple(left_out),
            grade=self._info(name).grade,
            entry=entry,
        )

    def _place(self, name: str) -> tuple[Spot, Fact]:
        """Return where a node is, as this node's operator or the node says; raise CONFLICT."""
        known = spots({name: self._node.placement.known(f"node/{name}")}).get(name)
        if known is None:
            raise CONFLICT(
                f"It is not stated where {name} is.",
                why="Its config.toml says so (at = [59.3, 18.1]), or facts.toml does.",
                hint="skerry docs config",
            )
        return known

    def _seen(
        self, found: Mapping[str, Stated | str], subject: Peer | None
    ) -> tuple[list[Seen], list[str]]:
        """Return statements of witnesses in known places, and why others do not count."""
        owner = self._owner(self._node.name if subject is None else subject.card.name)
        seen, left_out = [], []
        for name, stated in sorted(found.items()):
            if isinstance(stated, str):
                left_out.append(f"{name}: {stated}")
                continue
            facts = self._node.placement.known(f"node/{name}")
            own = [x for x in facts if name == self._node.name or not _is_own_word(x, name)]
            known = spots({name: own}).get(name)
            if known is None:
                left_out.append(f"{name}: facts.toml does not say where it is (at)")
            elif owner and self._owner(name) == owner:
                left_out.append(f"{name}: it belongs to {owner}, as the node itself does")
            else:
                seen.append(Seen(stated, name, self._owner(name), *known))
        return seen, left_out

    def _owner(self, name: str) -> str:
        view = self._node.placement.view(Request("operator", "residency:show", name))
        return str(view.attributes["owner"])

    def _ranged(
        self, name: str, at: Spot, seen: list[Seen], result: Bound, entry: int
    ) -> list[Fact]:
        """Return the fact that a bound makes; two that contradict each other if light does."""
        today = datetime.date.fromisoformat(self._node.placement.today)
        until = (today + datetime.timedelta(days=COUNTS_DAYS)).isoformat()
        values = [f"{result.km} km of {at}"]
        if result.contradicted_by:
            values.append(f"not at {at}, by {', '.join(result.contradicted_by)}")
        source = f"witnesses {', '.join(each.name for each in seen)}"
        return [
            Fact(
                subject=f"node/{name}",
                name=RANGE,
                value=value,
                evidence=Evidence.MEASURED,
                source=source,
                date=today.isoformat(),
                expires=until,
                index=entry,
                note="" if result.km <= RANGE_KM_MAX else "too wide to count",
            )
            for value in values
        ]

    async def quote(self, params: m.OfNode) -> m.ResidencyInfo:
        """Ask a node's TPM for a quote, verify it, and let it count."""
        node, name = self._node, self._name(params.name)
        registered = self._registered(name)
        nonce = node.entropy.bytes(32)
        if name == node.name:
            key = self._identity.public_key
            found = await quoting.quote(node.config.tpm_handle, nonce, key)
        else:
            peer = self._peers.find(name)
            key = peer.public_key
            challenge = quoting.Challenge(nonce)
            found = await self._calls.ask(
                peer, "/range/quote", challenge, quoting.Quote, seconds=2 * quoting.SECONDS
            )
        await quoting.check(
            found, nonce, key, registered.value if isinstance(registered.value, str) else ""
        )
        said = {"event": "quote", "node": name, "registers": found.digest, "key": registered.value,
                "nonce": nonce.hex(), "message": found.message.hex()}  # fmt: skip
        entry = await node.audit.add("residency", said)
        today = datetime.date.fromisoformat(node.placement.today)
        until = (today + datetime.timedelta(days=COUNTS_DAYS)).isoformat()
        await self._keep(
            Fact(
                subject=f"node/{name}",
                name=QUOTE,
                value=found.digest,
                evidence=Evidence.MEASURED,
                source="tpm2_checkquote",
                date=today.isoformat(),
                expires=until,
                index=entry,
            )
        )
        return self._info(name)

    def _registered(self, name: str) -> Fact:
        """Return the fact that registers a host's TPM key; raise CONFLICT without a good one."""
        engine = self._node.placement
        for fact in engine.known(f"node/{name}"):
            good = counted(fact, engine.today).evidence.rank >= Evidence.DOCUMENTED.rank
            if fact.name == "tpm_key" and good:
                return fact
        raise CONFLICT(
            f"No TPM key is registered for {name}.",
            why="A fact `tpm_key` with a document or an attestation says so in facts.toml.",
            hint="skerry docs evidence",
        )

    async def _answer_quote(self, peer: str, asked: quoting.Challenge) -> quoting.Quote:
        handle = self._node.config.tpm_handle
        return await quoting.quote(handle, asked.nonce[:64], self._identity.public_key)


def _is_own_word(fact: Fact, name: str) -> bool:
    """Tell whether a fact is what a node says of itself."""
    return fact.source == f"the node {name}"


def _entry(name: str, at: Spot, seen: list[Seen], result: Bound) -> dict[str, object]:
    return {
        "event": "range",
        "node": name,
        "at": str(at),
        "km": result.km,
        "contradicted_by": list(result.contradicted_by),
        "statements": [
            {
                "witness": each.name,
                "at": str(each.at),
                "known_by": [str(each.known_by.evidence), each.known_by.source],
                "km": each.stated.statement.km,
                "stated": msgspec.to_builtins(each.stated),
            }
            for each in seen
        ],
    }
