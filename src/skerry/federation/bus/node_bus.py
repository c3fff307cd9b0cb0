"""The bus as part of a node: who is a neighbour, what may be told to whom, and what lies where."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator

from skerry.federation import messages as m
from skerry.federation.bus.audit import app_of
from skerry.federation.bus.bus import Bus, BusRegister, Place
from skerry.federation.bus.catalogues import Hearing, Telling
from skerry.federation.bus.etcd import EtcdRegister
from skerry.federation.bus.held import Held
from skerry.federation.bus.leases import PermittedLeases
from skerry.federation.bus.plan import Neighbour
from skerry.federation.bus.register import STREAM as LEASES
from skerry.federation.bus.residency import Asked, breaches
from skerry.federation.calls import Calls, address_of
from skerry.federation.identity import Identity
from skerry.federation.peers import Door, Peer, Peers
from skerry.federation.wire import Wire
from skerry.kernel import policy as decisions
from skerry.kernel.clock import BootClock
from skerry.kernel.errors import SkerryError
from skerry.kernel.lease import Leases, RegisterLeases
from skerry.node.node import Node

MEET_SECONDS = 60.0
SPEAK_SECONDS = 3.0
RECONCILE_SECONDS = 60.0
AUDIT_SECONDS = 10.0
REPLICATE = "resource:replicate"

_log = logging.getLogger("skerry.federation")


class NodeBus:
    """A node's part in the bus. It runs a server only while it is bound to nodes that have one."""

    def __init__(
        self,
        node: Node,
        identity: Identity,
        peers: Peers,
        calls: Calls,
        wire: Wire,
        meet: Callable[[Peer], Awaitable[None]],
    ) -> None:
        self._node = node
        self._identity = identity
        self._peers = peers
        self._calls = calls
        self._meet = meet
        own = self._jurisdiction(node.name)
        host = self._host = node.config.federation.host or node.host
        ports = [node.wanted_port(name) or _free_port(host) for name in ("bus", "bus-abroad")]
        self._door = Door(host, *ports)
        self.bus = Bus(
            Place(node.name, own, host, self._door),
            identity,
            node.clock,
            node.entropy,
            node.home.service("federation") / "bus",
            lambda: list(self._neighbours()),
            lambda: peers.revoked_names,
        )
        self.leases = self._make_leases()
        self._telling = Telling(
            identity, node.catalogue, self.bus.settled_inside, node.clock, self._may_tell
        )
        self.hearing = Hearing(self.bus.settled_inside, self._key_of, identity.id)
        wire.add("/bus/audit", self._answer_audit, m.AskHeld)

    def _make_leases(self) -> Leases:
        """Return leases in the cluster, or in the operator's etcd if one is named."""
        clock, etcd = BootClock(), self._node.config.federation.etcd
        if etcd:
            return PermittedLeases(RegisterLeases(EtcdRegister(etcd), clock), self._permit_etcd)
        return PermittedLeases(RegisterLeases(BusRegister(self.bus), clock), self._permit)

    async def start(self) -> None:
        """Start the server if there are neighbours; meet them again and again."""
        await self.bus.start()
        work = (self._meet_for_ever(), self._speak_for_ever())
        self._tasks = [asyncio.create_task(each) for each in work]

    async def stop(self) -> None:
        """Stop the server."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.bus.stop()

    def door(self, url: str) -> Door:
        """Return where the bus is reached, on the host of the node's federation port."""
        host = address_of(url)[0] if url else self._host
        if host != self._door.host:
            self._door = Door(host, self._door.cluster, self._door.leaf)
            self.bus.move(self._door)
        return self._door

    async def _meet_for_ever(self) -> None:
        """Hear from every peer where its bus is now."""
        while True:
            for peer in list(self._peers):
                try:
                    await self._meet(peer)
                except SkerryError as error:
                    _log.debug("%s was not met: %s", peer.card.name, error)
            await asyncio.sleep(MEET_SECONDS)

    async def _speak_for_ever(self) -> None:
        """Tell what is here, and hear what is elsewhere, whenever the bus can be reached."""
        told: object = None
        told_at = 0.0
        while True:
            now = self._node.clock.monotonic()
            state = (self._node.catalogue_log.head, self.bus.members(), self.bus.settled)
            try:
                if state != told or now - told_at > RECONCILE_SECONDS:
                    await self._telling.tell()
                    await self._withdraw()
                    told, told_at = state, now
                await self.hearing.hear()
            except SkerryError as error:
                _log.debug("catalogues were not exchanged: %s", error)
            await asyncio.sleep(SPEAK_SECONDS)

    async def _withdraw(self) -> None:
        """Remove the leases of apps that may be known to the cluster no longer."""
        client = self.bus.settled_inside()
        asked = {"subjects_filter": LEASES.subjects[0]}
        info = await client.api(f"STREAM.INFO.{LEASES.name}", asked)
        for subject in info["state"].get("subjects") or {}:
            app = app_of(LEASES.name, subject)
            if app in self._node.catalogue.apps and not self._may_tell(app):
                await client.api(f"STREAM.PURGE.{LEASES.name}", {"filter": subject})

    def _may_tell(self, app: str) -> bool:
        return self.bus.settled and self.may_tell(app, record=False).allowed

    def _key_of(self, node: str) -> bytes | None:
        peer = self._peers.by_id.get(node)
        return peer.public_key if peer else None

    def _neighbours(self) -> Iterator[Neighbour]:
        """Yield the nodes that are bound, have a bus, and whose country is known."""
        for peer in self._peers:
            card = peer.card
            jurisdiction = self._jurisdiction(card.name)
            if card.bus is not None and jurisdiction:
                yield Neighbour(
                    card.id, card.name, jurisdiction, peer.public_key, peer.authority, card.bus
                )

    def _jurisdiction(self, name: str) -> str:
        """Return a node's jurisdiction as far as is known here: the EU, or its country."""
        request = decisions.Request("node", "federation:hello", name)
        found: list[str] = self._node.placement.view(request).attributes["jurisdictions"]
        return "EU" if "EU" in found else (found[0] if found else "")

    # ---- what may be told -----------------------------------------------------------------------

    def may_tell(self, app: str, *, record: bool) -> decisions.Decision:
        """Decide whether an app may be known to every node of the cluster; the first no counts."""
        decision = decisions.Decision(True, "here-only", "No other node is in the cluster.")
        for member in self.bus.members():
            if member == self._node.name:
                continue
            request = decisions.Request("node", REPLICATE, member, app=app)
            decision = self._node.policy.decide(request)
            if record:
                self._node.policy.record(request, decision)
            if not decision.allowed:
                return decision
        return decision

    def _permit(self, app: str, record: bool) -> bool:
        if app not in self._node.catalogue.apps:
            return False
        decision = self.may_tell(app, record=record)
        if not decision.allowed:
            request = decisions.Request("node", REPLICATE, "the nodes of the bus", app=app)
            raise decisions.refusal(request, decision)
        return True

    def _permit_etcd(self, app: str, record: bool) -> bool:
        """Ask the same of the places where etcd runs; what is known of them the operator says."""
        if app not in self._node.catalogue.apps:
            return False
        for url in self._node.config.federation.etcd:
            place = decisions.Place(provider=url.partition("://")[2].partition(":")[0])
            request = decisions.Request("node", REPLICATE, url, app=app, place=place)
            decision = self._node.policy.decide(request)
            if record:
                self._node.policy.record(request, decision)
            if not decision.allowed:
                raise decisions.refusal(request, decision)
        return True

    # ---- what lies where ------------------------------------------------------------------------

    async def audit(self) -> m.Audited:
        """Read back from every node's server what it holds, and compare it with policy."""
        answers = await asyncio.gather(
            self.bus.audit(),
            *(self._ask_held(peer) for peer in self._peers if peer.card.bus is not None),
        )
        found = [each for each in answers if isinstance(each, Held)]
        missing = [each for each in answers if isinstance(each, str)]
        asked = Asked(self._node.policy, tuple(self._node.catalogue.apps), self._node.name)
        return m.Audited(tuple(found), tuple(breaches(found, asked)), tuple(missing))

    async def _ask_held(self, peer: Peer) -> Held | str:
        try:
            return await self._calls.ask(
                peer, "/bus/audit", m.AskHeld(), Held, seconds=AUDIT_SECONDS
            )
        except SkerryError as error:
            return f"{peer.card.name}: {error.what}"

    async def _answer_audit(self, peer: str, asked: m.AskHeld) -> Held:
        return await self.bus.audit()


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as chosen:
        chosen.bind((host, 0))
        return int(chosen.getsockname()[1])
