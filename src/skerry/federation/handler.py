"""Carries the federation's commands out, and answers other nodes."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from skerry import __version__
from skerry.federation import health
from skerry.federation import messages as m
from skerry.federation.calls import Calls, address_of
from skerry.federation.guests import Guests
from skerry.federation.identity import Identity, authority_key, id_of, verify
from skerry.federation.invitation import Invitations, decode
from skerry.federation.lending import Lending
from skerry.federation.listener import Listener
from skerry.federation.meeting import Meeting
from skerry.federation.peers import Card, Peer, PeerJoined, PeerRevoked, Peers, Reached, encode
from skerry.federation.placing import Placing
from skerry.federation.reaching import check_reached, is_loopback, own_url
from skerry.federation.receiving import Receiving
from skerry.federation.replicas.replicas import Replicas
from skerry.federation.replicas.replicating import Replicating
from skerry.federation.residency import Residency
from skerry.federation.tls import PORT, TUNNEL, server_context
from skerry.federation.tunnel import Tunnels
from skerry.federation.wire import Wire
from skerry.federation.witnessing import Witnessing, read_keys
from skerry.kernel.commands import Check, Done, Nothing
from skerry.kernel.errors import (
    CONFIG_INVALID,
    CONFLICT,
    EXTRA_MISSING,
    INVALID,
    UNAUTHENTICATED,
    SkerryError,
)
from skerry.kernel.lease import Leases
from skerry.kernel.policy import Fact, Request, enforce
from skerry.node.log_file import LogFile
from skerry.node.node import Node
from skerry.node.words import Progress

if TYPE_CHECKING:
    from skerry.federation.bus.node_bus import NodeBus

SETTLE_SECONDS = 5.0
RENEW_SECONDS = 12 * 3600.0
HELLO_SECONDS = 3.0
_log = logging.getLogger("skerry.federation")


class Federation:
    """A node among others. Its port is open only while it has peers or an open invitation."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.peers = Peers()
        self.wire = Wire(self._answer_join, m.Joining)
        self.wire.add("/hello", self._answer_hello, m.Hello)
        self._guests = Guests(node, self.wire, self.peers, self._give_back)
        self._receiving = Receiving(node, self.wire, self._guests)
        self.replicas = Replicas(node, self.wire, self._receiving, self.peers)
        self._meeting = Meeting(self.peers, self._meet)
        self._bus: NodeBus | None = None
        self._bus_type = _bus_type(node) if node.config.federation.bus else None

    async def start(self) -> None:
        """Open the log of peers; listen if there are any."""
        node = self.node
        key = node.home.keys / "identity.pem"
        self.identity = await asyncio.to_thread(Identity.load, key, node.name, node.clock)
        folder = node.home.service("federation")
        self._log_file = await asyncio.to_thread(LogFile, folder, node.clock, self.peers.apply)
        self.calls = Calls(self.identity)
        self._invitations = Invitations(node.clock, node.entropy)
        self._listener = Listener(
            self.wire,
            self.peers,
            lambda: server_context(
                self.identity, [each.authority for each in self.peers], node.ports
            ),
            self._leads_to,
            self._guests.lead_in,
        )
        self._tunnels = Tunnels(node.home.run, self.identity, self.peers.find)
        node.router.lead_elsewhere(self._tunnels.path)
        node.gateway.lead_elsewhere(self._tunnels.open_wire)
        self._witnessing = Witnessing(node, self.calls, self.wire)
        self._residency = Residency(node, self.identity, self.peers, self.calls, self.wire)
        await self._residency.start()
        self._placing = Placing(node, self.calls, self._tunnels.open)
        self._lending = Lending(
            node,
            self.calls,
            self.peers,
            self._placing,
            self._tunnels,
            self._receiving.give_up,
        )
        await self._guests.start()
        if self._bus_type is not None:
            self._bus = self._bus_type(
                node, self.identity, self.peers, self.calls, self.wire, self._meet
            )
            self._bus.door(self.peers.own_url)
            self.leases = self._bus.leases
        self._replicating = Replicating(
            node, self.identity.id, self.calls, self.peers, self.replicas
        )
        for name in {*node.catalogue.moved.values(), *node.catalogue.away.values()}:
            await self._lead_to(name)
        self._renewing = asyncio.create_task(self._renew_for_ever())
        self._settling = asyncio.create_task(self._settle_for_ever())
        for peer in self.peers:
            self._learn(peer)
        if list(self.peers):
            await self._listen()
        if self._bus is not None:
            await self._bus.start()
        else:
            self._meeting.begin()
        self.replicas.start(self.identity.id, self.calls, self._placing, self._tunnels.open)

    async def stop(self) -> None:
        """Close everything."""
        await self._meeting.stop()
        await self.replicas.stop()
        await self._receiving.stop()
        if self._bus is not None:
            await self._bus.stop()
        self._renewing.cancel()
        self._settling.cancel()
        self._tunnels.close()
        self._listener.stop()
        self.calls.close()
        await self._log_file.close()

    @property
    def leases(self) -> Leases | None:
        """Where leases are kept, if that is configured."""
        return self.replicas.leases()

    @leases.setter
    def leases(self, leases: Leases | None) -> None:
        self.replicas.keep_leases(leases)

    @property
    def _host(self) -> str:
        """The address that the federation's ports listen on."""
        return self.node.config.federation.host or self.node.host

    def _leads_to(self, protocol: str) -> tuple[str, int] | None:
        """Return where a tunnel of a protocol ends on this node."""
        host = self.node.host
        if protocol == TUNNEL:
            return host, self.node.http_port
        port = self.node.ports.get(protocol.removeprefix(PORT))
        return None if port is None else (host, port)

    async def _listen(self) -> None:
        """Open the port if it is not open. Raises CONFLICT if it is taken."""
        if self._listener.port:
            return
        port = self.node.wanted_port("federation")
        try:
            await self._listener.start(self._host, port)
        except OSError as error:
            raise CONFLICT(
                f"Port {port} of {self._host} cannot be opened for the federation.",
                why=f"{error.strerror or error}.",
                hint="skerry up --port federation=0",
            ) from error

    async def _renew_for_ever(self) -> None:
        """Show a new certificate before the old one ends."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await self._listener.renew()
            except OSError:
                _log.exception("the federation port could not be opened again")

    async def _lead_to(self, name: str) -> None:
        """Open the way to a node that apps went to; one that was unbound since gets nothing."""
        try:
            await self._tunnels.open(name)
        except SkerryError as error:
            _log.warning("requests for apps on %s cannot be passed on: %s", name, error)

    async def _settle_for_ever(self) -> None:
        """Ask whose an app is whose move was cut off, until that is known."""
        while True:
            for app in list(self.node.catalogue.apps.values()):
                try:
                    if app.leaving is not None:
                        await self._placing.settle(app, self.peers.find(app.leaving.to))
                    await self._lending.settle(app)
                except SkerryError as error:
                    _log.warning("whose %s is cannot be known yet: %s", app.name, error)
            await asyncio.sleep(SETTLE_SECONDS)

    def card(self) -> Card:
        """Return what this node says of itself."""
        config = self.node.config
        url = self.peers.own_url or own_url(self._host, self._listener.port)
        log_key, witness_key = self._witnessing.keys()
        return Card(
            id=self.identity.id,
            name=self.node.name,
            url=url,
            owner=config.owner,
            country=config.country,
            labels=dict(config.labels),
            at=f"{config.at[0]:g},{config.at[1]:g}" if config.at else "",
            log_key=log_key,
            witness_key=witness_key,
            bus=self._bus.door(url) if self._bus is not None else None,
        )

    async def examine(self) -> list[Check]:
        """Say for `skerry doctor` who answers, whose clock differs, and how the bus is."""
        bus = self._bus.bus.settled if self._bus is not None else None
        return await health.examine(self.peers, self._greet, self.node.clock, bus)

    # ---- commands -----------------------------------------------------------------------------

    async def do_invite(self, params: m.Invite, progress: Progress) -> m.Invited:
        """See `federation.invite`."""
        check_reached(params.url or self.peers.own_url, self._host, "invite")
        await self._listen()
        await self._take_url(params.url)
        url = self.card().url
        invitation = self._invitations.make(url, self.identity.public_key)
        where = "another node of this machine" if is_loopback(url) else "the other node"
        return m.Invited(
            invitation=invitation.encode(),
            expires=invitation.expires,
            next=f"skerry node join <invitation>, on {where}, within an hour",
        )

    async def _take_url(self, url: str) -> None:
        """Note where other nodes reach this one, and tell those that are bound if that is new."""
        if not url or url == self.peers.own_url:
            return
        await self._log_file.append(encode(Reached(url, self.node.clock.now())))
        self._meeting.begin()

    async def do_join(self, params: m.Join, progress: Progress) -> Done:
        """See `federation.join`."""
        invitation = decode(params.invitation)
        if id_of(invitation.public_key) == self.identity.id:
            raise INVALID("This node made that invitation itself.")
        said = params.url or self.peers.own_url
        check_reached(said, self._host, "join <invitation>", invitation.url)
        await self._listen()
        await self._take_url(params.url)
        asked = m.Joining(self.card(), self.identity.authority().decode(), invitation.secret, b"")
        signature = self.identity.sign(asked.signed())
        asked = m.Joining(asked.card, asked.authority, asked.secret, signature)
        found = await self.calls.join(invitation.url, invitation.public_key, asked, m.Joined)
        key = authority_key(found.authority.encode())
        if key != invitation.public_key:
            raise UNAUTHENTICATED("The node there is not the one that made the invitation.")
        await self._bind(found.card, found.authority, key)
        peer = self.peers.find(found.card.id)
        await self._greet(peer)
        return Done(f"{peer.card.name} and {self.node.name} are bound.", next="skerry nodes")

    async def do_nodes(self, params: Nothing, progress: Progress) -> list[m.NodeInfo]:
        """See `federation.nodes`."""
        own = m.Greeting(self.card(), __version__, self._holds(), self.replicas.copies())
        first = _info(own.card, own, "this node", None, None, own.copies)
        return [first, *await asyncio.gather(*(self._look_at(peer) for peer in self.peers))]

    async def do_place(self, params: m.Place, progress: Progress) -> m.Placed:
        """See `federation.place`."""
        await self._listen()
        if "/" in params.app:
            return await self._place_resource(params, progress)
        self._check_whole(params.app)
        await self._lending.collect_keys(self.node.catalogue.app(params.app))
        if params.replicas is not None:
            if params.to:
                raise INVALID("A move and standbys are two commands.", hint="skerry place --help")
            return await self._replicating.replicate(params, progress)
        if not params.to:
            raise INVALID(
                "Say where to.", hint=f"skerry place {params.app} --to <node>, or --replicas <n>"
            )
        if params.to == self.node.name:
            raise INVALID(f"{params.to} is this node.", hint="skerry nodes")
        found = self.node.catalogue.app(params.app)
        if found.replication is not None:
            raise CONFLICT(
                f"{params.app} has standbys, one of which takes over when this node stops.",
                hint=f"skerry place {params.app} --replicas 0",
            )
        return await self._placing.place(params.app, self.peers.find(params.to), progress)

    def _check_whole(self, app: str) -> None:
        """Raise CONFLICT unless all of an app is here, and it is this node's own."""
        self.node.abroad.check_own(app, "Placing it")
        for branch in self.node.catalogue.app(app).branches.values():
            self.node.abroad.check_whole(branch, "Placing an app")

    async def _place_resource(self, params: m.Place, progress: Progress) -> m.Placed:
        """Move one resource, to another node or back to this one."""
        app, _, resource = params.app.partition("/")
        if params.replicas is not None or params.within or params.survive:
            raise INVALID("Standbys are of whole apps.", hint=f"skerry place {app} --replicas <n>")
        if not params.to:
            raise INVALID("Say where to.", hint=f"skerry place {params.app} --to <node>")
        if params.to == self.node.name:
            return await self._lending.bring_back(app, resource, progress)
        peer = self.peers.find(params.to)
        return await self._lending.place(app, resource, peer, progress)

    async def _give_back(self, app: str, home: str) -> m.Placed:
        """Move a guest to the node that keeps the rest of its app."""
        return await self._placing.place(app, self.peers.find(home), lambda *_: None)

    async def do_revoke(self, params: m.NodeNamed, progress: Progress) -> Done:
        """See `federation.revoke`."""
        peer = self.peers.find(params.name)
        event = PeerRevoked(peer.card.id, self.node.clock.now())
        await self._log_file.append(encode(event))
        self.node.placement.forget(f"peer/{peer.card.id}")
        self._witnessing.forget(peer.card.id)
        await self._listener.renew()
        if self._bus is not None:
            await self._bus.bus.refresh()
        return Done(f"{peer.card.name} is bound to this node no more.")

    async def do_audit(self, params: Nothing, progress: Progress) -> m.Audited:
        """See `federation.audit`."""
        if self._bus is None:
            raise CONFLICT(
                f"{self.node.name} has no bus.",
                why="Without one, nothing of it is kept on other nodes but apps that moved.",
                hint="Say bus = true under [federation] in config.toml, and start the node anew.",
            )
        return await self._bus.audit()

    async def do_residency_show(
        self, params: m.OfNode, progress: Progress
    ) -> list[m.ResidencyInfo]:
        """See `federation.residency.show`."""
        return await self._residency.show(params)

    async def do_residency_document(
        self, params: m.Document, progress: Progress
    ) -> m.ResidencyInfo:
        """See `federation.residency.document`."""
        return await self._residency.document(params)

    async def do_residency_measure(self, params: m.OfNode, progress: Progress) -> m.Measured:
        """See `federation.residency.measure`."""
        return await self._residency.measure(params)

    async def do_residency_quote(self, params: m.OfNode, progress: Progress) -> m.ResidencyInfo:
        """See `federation.residency.quote`."""
        return await self._residency.quote(params)

    # ---- peers --------------------------------------------------------------------------------

    async def _look_at(self, peer: Peer) -> m.NodeInfo:
        clock = self.node.clock
        began = clock.monotonic()
        try:
            found = await self._greet(peer)
        except SkerryError as error:
            known = self.replicas.copies_at(peer.card.id, ())
            return _info(peer.card, self._heard_of(peer), error.what, None, peer.joined, known)
        ms = round((clock.monotonic() - began) * 1000, 1)
        copies = self.replicas.copies_at(peer.card.id, found.copies)
        return _info(found.card, found, "well", ms, peer.joined, copies)

    async def way_to(self, node: str) -> str:
        """Return the unix socket that leads to the router of a bound node, over mutual TLS.

        `node` is its name or id. Raises NOT_FOUND if it is not bound to this one, DENIED if the
        policy lets this node speak to none.
        """
        peer = self.peers.find(node)
        self._decide(peer)
        await self._tunnels.open(peer.card.id)
        return self._tunnels.path(peer.card.id)

    def _heard_of(self, peer: Peer) -> m.Greeting | None:
        """Return what is known of a peer that does not answer: what it has of this node's apps, and
        what it has told of itself on the bus.
        """
        holds = [
            m.Held(branch.app, len(app.branches), (away.record.kind,), away.record.name)
            for app in self.node.catalogue.apps.values()
            for branch in list(app.branches.values())[:1]
            for away in branch.away.values()
            if away.node == peer.card.name
        ]
        if self._bus is None and not holds:
            return None
        for told in self._bus.hearing.of(peer.card.id) if self._bus is not None else ():
            kinds = tuple(sorted({name.partition("/")[0] for name in told.resources()}))
            holds.append(m.Held(told.app, len(told.branches), kinds))
        return m.Greeting(peer.card, "", tuple(holds))

    async def _greet(self, peer: Peer) -> m.Greeting:
        self._decide(peer)
        return await self.calls.ask(
            peer, "/hello", m.Hello(self.card()), m.Greeting, seconds=HELLO_SECONDS
        )

    def _decide(self, peer: Peer) -> None:
        """Ask whether this node may speak to a peer at all; nothing of an app goes with that."""
        enforce(self.node.policy, Request("node", "federation:hello", self.node.name))
        if peer.card.id not in self.peers.by_id:
            raise UNAUTHENTICATED(f"{peer.card.name} is bound to this node no more.")

    def _learn(self, peer: Peer) -> None:
        """Let the rest of the node know what a peer says of itself."""
        self._tell_policy(peer)
        self._witnessing.learn(peer)
        if self._bus is not None:
            self._bus.bus.changed()

    def _tell_policy(self, peer: Peer) -> None:
        """Let the policy know what a peer says of itself; it counts as no more than that."""
        card = peer.card
        source, date = f"the node {card.name}", self.node.placement.today
        said = {"owner": card.owner, "country": card.country, "at": card.at}
        facts = [
            Fact(f"node/{card.name}", name, value, source=source, date=date)
            for name, value in said.items()
            if value
        ]
        self.node.placement.learn(f"peer/{card.id}", facts)

    async def _bind(self, card: Card, authority: str, key: bytes) -> None:
        self.peers.check_new(card, self.node.name)
        address_of(card.url)
        read_keys(card)
        event = PeerJoined(card, key, authority, self.node.clock.now())
        await self._log_file.append(encode(event))
        self._learn(self.peers.by_id[card.id])
        await self._listener.renew()

    def _holds(self) -> tuple[m.Held, ...]:
        apps = self.node.catalogue.apps.values()
        return tuple(
            m.Held(
                app.name,
                len(app.branches),
                tuple(
                    sorted({r.kind for b in app.branches.values() for r in b.resources.values()})
                ),
                app.guest.resource if app.guest is not None else "",
            )
            for app in apps
        )

    # ---- what other nodes ask -----------------------------------------------------------------

    async def _answer_join(self, asked: m.Joining) -> m.Joined:
        key = authority_key(asked.authority.encode())
        if id_of(key) != asked.card.id:
            raise UNAUTHENTICATED("The certificate is not that node's.")
        verify(key, asked.signature, asked.signed())
        self.peers.check_new(asked.card, self.node.name)
        self._invitations.use(asked.secret)
        await self._bind(asked.card, asked.authority, key)
        return m.Joined(self.card(), self.identity.authority().decode())

    async def _answer_hello(self, peer: str, asked: m.Hello) -> m.Greeting:
        """Answer a peer, and note what it says of itself now if that has changed."""
        await self._note(peer, asked.card)
        now = self.node.clock.now()
        return m.Greeting(self.card(), __version__, self._holds(), self.replicas.copies(), now)

    async def _meet(self, peer: Peer) -> None:
        """Greet a peer, and note what it says of itself."""
        found = await self._greet(peer)
        await self._note(peer.card.id, found.card)

    async def _note(self, peer: str, card: Card) -> None:
        """Note what a peer says of itself now, if that has changed and it is bound still."""
        known = self.peers.by_id.get(peer)
        if known is None or card == known.card or card.id != peer or not card.url:
            return
        address_of(card.url)
        read_keys(card)
        event = PeerJoined(card, known.public_key, known.authority, known.joined)
        await self._log_file.append(encode(event))
        self._learn(self.peers.by_id[peer])


def _bus_type(node: Node) -> type[NodeBus]:
    """Return what runs the bus; it is imported only where there is one.

    Raises CONFIG_INVALID if the node does not say where it is, and EXTRA_MISSING.
    """
    if not node.config.country:
        raise CONFIG_INVALID(
            "A node with a bus must say in which country it is.",
            why="There is one cluster of nodes a jurisdiction.",
            hint='Say country = "SE", or which it is, in config.toml.',
        )
    try:
        from skerry.federation.bus.node_bus import NodeBus  # noqa: PLC0415 (not without a bus)
        from skerry.federation.bus.server import find_program  # noqa: PLC0415
    except ImportError as error:
        raise EXTRA_MISSING(
            "The bus between nodes needs what is not installed here.",
            why=f"{error}.",
            hint="pip install 'skerry[federation]'",
        ) from error
    find_program()
    return NodeBus


def _info(
    card: Card,
    found: m.Greeting | None,
    health: str,
    ms: float | None,
    joined: int | None,
    copies: tuple[str, ...],
) -> m.NodeInfo:
    holds = found.holds if found else ()
    return m.NodeInfo(
        name=card.name,
        owner=card.owner,
        country=card.country,
        labels=card.labels,
        health=health,
        ms=ms,
        version=found.version if found else "",
        holds=tuple(f"{_name(each)} ({', '.join(each.kinds)})" for each in holds),
        url=card.url,
        id=card.id,
        joined=joined,
        copies=copies,
    )


def _name(held: m.Held) -> str:
    return f"{held.app}/{held.resource}" if held.resource else held.app
