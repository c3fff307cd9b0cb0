"""Moving one resource of an app to another node, while its functions stay: the side that gives.

It goes as an app does (see `placing`), with one difference: the other node has it as a *guest*, an
app of the same name that is cut down to the resource and the policy, and gets none of its code.
Functions here use it there over a wire of its kind; clients are passed on to it.

The other node gets the app's data keys too. It is noted as their keeper before it has them for
good, until it has said that it let go; the app is deleted only once it did, or is bound no more.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from skerry.federation import messages as m
from skerry.federation.calls import Calls
from skerry.federation.peers import Peer, Peers
from skerry.federation.placing import COMMIT_SECONDS, PARCEL_SECONDS, Course, Move, Placing
from skerry.federation.tunnel import Tunnels
from skerry.kernel import events
from skerry.kernel.app import ResourceSpec
from skerry.kernel.catalogue import App, Branch, ResourceRecord
from skerry.kernel.errors import CONFLICT, NOT_FOUND, UNSUPPORTED, SkerryError
from skerry.kernel.names import MAIN
from skerry.kernel.policy import Decision, Request, enforce
from skerry.node.audit.receipts import RECEIPT, of_placement
from skerry.node.keys.ring import OpenKey
from skerry.node.node import Node
from skerry.node.words import Progress

_log = logging.getLogger("skerry.federation")


class Lending:
    """Gives single resources to other nodes, and gets them back."""

    def __init__(
        self,
        node: Node,
        calls: Calls,
        peers: Peers,
        placing: Placing,
        tunnels: Tunnels,
        give_up: Callable[[str], Awaitable[None]],
    ) -> None:
        self._node = node
        self._give_up = give_up
        self._calls = calls
        self._peers = peers
        self._placing = placing
        self._tunnels = tunnels
        node.abroad.open_way = self._open_way
        node.abroad.let_go = self.let_go
        node.abroad.hand_key = self._hand_key

    # ---- going ---------------------------------------------------------------------------------

    async def place(self, app: str, resource: str, peer: Peer, progress: Progress) -> m.Placed:
        """Move a resource. Raises what policy, the other node or the network say; then it stays."""
        node = self._node
        self._check(app, resource, peer)
        decision = self._decide(app, resource, peer.card.name)
        course = Course(node.clock.monotonic())
        async with node.deploys.held(), node.branches.held(app) as held:
            self._check(app, resource, peer)
            branches = [each for each in held if resource in each.resources]
            move = await self._offer(app, resource, branches, peer)
            for number, branch in enumerate(branches):
                progress(number, len(branches), f"sending {resource} of {branch.name}")
                async with node.branches.copied(branch, progress, resource) as copy:
                    course.first_bytes += await self._placing.send(move, branch.name, copy)
            course.first_bytes += await self._placing.send_no_code(move, app)
            course.stood = node.clock.monotonic()
            progress(0, 0, "sending what changed")
            course.last_bytes = await self._finish(move, app, branches)
        return await self._placing.moved(move, branches, decision, course)

    def _decide(self, app: str, resource: str, where: str) -> Decision:
        kind = self._node.catalogue.branch(app, MAIN).record(resource).kind
        request = Request(
            "operator", "resource:place", where=where, app=app, kind=kind, resource=resource
        )
        return enforce(self._node.policy, request)

    def _check(self, app: str, resource: str, peer: Peer) -> None:
        """Raise, before anything changes, what keeps a resource from lying on another node."""
        node = self._node
        found = node.catalogue.app(app)
        node.abroad.check_own(app, "Placing a resource")
        record = node.catalogue.record(app, MAIN, resource)
        node.abroad.check_served(app, resource)
        if found.parting is not None:
            node.abroad.check_served(app, found.parting.resource)
        if found.replication is not None:
            raise CONFLICT(
                f"{app} has standbys, which would not follow {resource}.",
                hint=f"skerry place {app} --replicas 0",
            )
        hint = f"skerry place {app} --to {peer.card.name}"
        if node.manifests[record.kind].remote is None:
            raise UNSUPPORTED(
                f"{resource} cannot lie on another node than {app}.",
                why=f"Functions use a {record.kind} on their own machine. "
                "An app moves with all that it has.",
                hint=hint,
            )
        for branch in found.branches.values():
            for spec in node.catalogue.spec(branch).resources:
                self._check_spec(app, spec, resource, hint)
        for place, name in node.catalogue.away.items():
            if name == peer.card.name and place.startswith(f"{app}/"):
                raise CONFLICT(
                    f"{name} has {place} already.",
                    why="One resource of an app lies on one other node.",
                    hint=node.abroad.bring_back(app, place.partition("/")[2]),
                )

    def _check_spec(self, app: str, spec: ResourceSpec, resource: str, hint: str) -> None:
        if spec.name == resource and (spec.bindings or spec.secrets):
            given = ", ".join((*spec.bindings, *spec.secrets))
            raise UNSUPPORTED(
                f"{resource} cannot lie on another node than {app}.",
                why=f"It is given {given}, which stay here.",
                hint=hint,
            )
        if resource in spec.bindings and not self._node.manifests[spec.kind].own_process:
            raise UNSUPPORTED(
                f"{resource} cannot lie on another node than {app}.",
                why=f"{spec.name} ({spec.kind}) uses it, on its own machine.",
                hint=hint,
            )

    async def _offer(self, app: str, resource: str, branches: list[Branch], peer: Peer) -> Move:
        node = self._node
        kinds = {branch.resources[resource].kind for branch in branches}
        names = tuple(branch.name for branch in branches)
        size = await self._placing.bytes_of(branches, resource)
        key, data_keys = await self._placing.keys_of(app)
        offer = m.Offer(app, tuple(sorted(kinds)), names, size, data_keys, resource)
        accepted = await self._calls.ask(peer, "/guest/offer", offer, m.Accepted)
        versions = sorted({branch.version for branch in branches})
        assert versions, "the resource is on main"
        specs = {
            each: node.catalogue.app(app).versions[each].spec.only(resource) for each in versions
        }
        return Move(peer, accepted.transfer, app, key, only=resource, specs=specs)

    async def _finish(self, move: Move, app: str, branches: list[Branch]) -> int:
        """Let the app stand still, send what has changed, and give the resource away."""
        node = self._node
        cells = [node.supervisor.cell(app, branch.name) for branch in branches]
        async with contextlib.AsyncExitStack() as stack:
            for cell in cells:
                await stack.enter_async_context(cell.lock)
            for cell in cells:
                await node.supervisor.sleep_held(cell)
            last = 0
            for branch in branches:
                directory = node.volume.path(branch.directory)
                last += await self._placing.send(move, branch.name, directory)
            await self._commit(move, branches)
        for cell in cells:
            node.supervisor.forget_if_empty(cell)
        await self._discard(app)
        return last

    async def _commit(self, move: Move, branches: list[Branch]) -> None:
        app, resource, to = move.app, move.only, move.peer.card.name
        commit = m.Commit(
            transfer=move.transfer,
            versions=tuple(m.MovedVersion(each, spec, "") for each, spec in move.specs.items()),
            branches=tuple(self._placing.branch(each, resource) for each in branches),
            secrets={},
        )
        leaving = events.ResourceLeaving(app, resource, to, move.transfer)
        await self._tell(leaving)
        try:
            await self._calls.ask(
                move.peer, "/place/commit", commit, m.Outcome, seconds=COMMIT_SECONDS
            )
        except SkerryError:
            if not await self._placing.is_committed(leaving, move.peer):
                await self._stays(leaving, move.peer)
                raise
        await self._note_moved(leaving)

    async def _tell(self, event: events.Event) -> None:
        await self._node.catalogue_log.append(events.encode(event))

    async def _stays(self, leaving: events.ResourceLeaving, peer: Peer) -> None:
        await self._tell(events.ResourceStays(leaving.app, leaving.resource))
        try:
            await self._have_let_go(self._node.catalogue.app(leaving.app), peer)
        except SkerryError as error:
            # It stays among the keepers, and is asked again before the app is deleted.
            _log.warning("%s may hold data keys of %s: %s", peer.card.name, leaving.app, error)

    async def _note_moved(self, leaving: events.ResourceLeaving) -> None:
        await self._tunnels.open(leaving.to)
        await self._tell(events.ResourceMoved(leaving.app, leaving.resource, leaving.to))

    async def _discard(self, app: str) -> None:
        for branch in self._node.catalogue.app(app).branches.values():
            await self._node.branches.clear_away(branch)

    async def settle(self, app: App) -> None:
        """Find out where a resource is after its move was cut off, and note it.

        Raises NODE_UNREACHABLE while that cannot be known; nobody serves it until then.
        """
        leaving = app.parting
        if leaving is None or self._node.branches.is_changing(app.name):
            return
        peer = self._peers.find(leaving.to)
        if await self._placing.is_committed(leaving, peer):
            await self._note_moved(leaving)
            await self._discard(app.name)
        else:
            await self._stays(leaving, peer)

    # ---- coming back ---------------------------------------------------------------------------

    async def bring_back(self, app: str, resource: str, progress: Progress) -> m.Placed:
        """Have the node that has a resource give it back. Raises CONFLICT if it is here."""
        node = self._node
        node.catalogue.app(app)
        name = node.catalogue.away.get(f"{app}/{resource}")
        if name is None:
            node.catalogue.record(app, MAIN, resource)
            raise CONFLICT(f"{resource} of {app} is on {node.name}, which is this node.")
        peer = self._peers.find(name)
        decision = self._decide(app, resource, node.name)
        async with node.branches.held(app) as branches:
            progress(0, 0, f"{name} sends {resource}")
            try:
                placed = await self._calls.ask(
                    peer, "/guest/return", m.OfGuest(app), m.Placed, seconds=PARCEL_SECONDS
                )
            except SkerryError:
                # Nobody waits for what is half here, unless it has come nevertheless.
                await self._give_up(app)
                raise
        for branch in branches:
            self._tunnels.close_resource(node.workshop.run(branch.record(resource)))
        said = await self._have_let_go(node.catalogue.app(app), peer)
        receipt = of_placement(
            app,
            origin=name,
            to=node.name,
            branches=[branch.name for branch in branches],
            decision=decision,
            grade=decision.residency,
            resource=resource,
            said=said,
        )
        entry = await node.audit.add(RECEIPT, receipt)
        return msgspec.structs.replace(placed, resource=resource, entry=entry)

    # ---- while it is away ----------------------------------------------------------------------

    async def _open_way(self, branch: Branch, record: ResourceRecord, name: str) -> str:
        """See `abroad.OpenWay`."""
        node = self._node
        wire = node.manifests[record.kind].remote_wire
        if wire is None:
            raise UNSUPPORTED(f"A {record.kind} is not used from another node.")
        run: Path = node.workshop.run(record)
        port = "" if wire.application else wire.name
        uid = node.workshop.uid(branch.app)
        return await self._tunnels.open_resource(name, record.id, run, port, uid)

    async def collect_keys(self, app: App) -> None:
        """Have nodes let go of the keys of an app that is here as a whole, before others serve it.

        Those would not know whom to ask. Raises NODE_UNREACHABLE; what an unbound node may have is
        in the audit log.
        """
        if app.keepers:
            said = await self.let_go(app)
            await self._node.audit.add("key", {"event": "let go", "app": app.name, "said": said})

    async def let_go(self, app: App) -> list[str]:
        """Have every node that may hold data keys of an app remove all that it has of it.

        Return what each said. One that is bound no more is passed over, and named; one that does
        not answer raises NODE_UNREACHABLE.
        """
        said = []
        for name in sorted(app.keepers):
            try:
                peer = self._peers.find(name)
            except SkerryError as error:
                if error.problem is not NOT_FOUND:
                    raise
                said.append(f"{name} is bound to this node no more, and was not told")
                continue
            said += await self._have_let_go(app, peer)
        return said

    async def _have_let_go(self, app: App, peer: Peer) -> list[str]:
        name = peer.card.name
        keys = tuple(each.id for each in self._node.keyring.of(app.name))
        gone = await self._calls.ask(
            peer, "/guest/let-go", m.LetGo(app.name, keys), m.Gone, seconds=COMMIT_SECONDS
        )
        await self._tell(events.KeysLetGo(app.name, name))
        return [f"{name}: {each}" for each in gone.said]

    async def _hand_key(self, app: App, key: OpenKey) -> None:
        """See `abroad.HandKey`."""
        away = self._node.catalogue.away.items()
        for name in sorted({node for place, node in away if place.startswith(f"{app.name}/")}):
            handed = m.HandedKey(app.name, key.id, key.key)
            await self._calls.ask(self._peers.find(name), "/guest/key", handed, m.Received)
