"""Resources that lie alone on another node than the rest of their app: the side that has them.

A *guest* is an app of the same name, cut down to the resource and the policy; it is changed from
the node that keeps the rest, its *home*, and by nobody else. See `lending` for the other side.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable

import msgspec

from skerry.federation import messages as m
from skerry.federation.peers import Peers
from skerry.federation.tunnel import Pipe, lead_to
from skerry.federation.wire import Wire
from skerry.kernel import events
from skerry.kernel.catalogue import App
from skerry.kernel.errors import CONFLICT, INVALID, NOT_FOUND
from skerry.node.audit.receipts import RECEIPT, of_deletion
from skerry.node.keys.ring import OpenKey
from skerry.node.node import Node
from skerry.node.router.pinned import Pinned

GiveBack = Callable[[str, str], Awaitable[m.Placed]]
"""Moves an app, by its name, to a bound node, by its id."""

STILL_SECONDS = 60.0
"""How long an app waits for a resource that comes back, whatever becomes of the other node."""

_log = logging.getLogger("skerry.federation")


class Standing:
    """An app that stands still; it goes on when this is released, or by itself after a while."""

    def __init__(self, stack: contextlib.AsyncExitStack) -> None:
        self._stack = stack
        self._late = asyncio.create_task(self._give_up())
        self.is_over = False

    async def _give_up(self) -> None:
        await asyncio.sleep(STILL_SECONDS)
        self.is_over = True
        await self._stack.aclose()

    async def release(self) -> None:
        """Let the app go on; a second call changes nothing."""
        if not self.is_over:
            self.is_over = True
            self._late.cancel()
            await self._stack.aclose()


class Guests:
    """Has resources of other nodes' apps, and takes back those of this one's."""

    def __init__(self, node: Node, wire: Wire, peers: Peers, give_back: GiveBack) -> None:
        self._node = node
        self._peers = peers
        self._give_back = give_back
        wire.add("/guest/return", self._return, m.OfGuest)
        wire.add("/guest/let-go", self._let_go, m.LetGo)
        wire.add("/guest/key", self._take_key, m.HandedKey)

    async def start(self) -> None:
        """Let go of keys of guests that have gone: a crash may have come in between."""
        for app in list(self._node.catalogue.guests_gone):
            if app not in self._node.catalogue.apps and self._node.keyring.of(app):
                await self._node.keyring.forget(app)

    # ---- arriving ------------------------------------------------------------------------------

    def as_guest(self, arrived: events.AppArrived, home: str, resource: str) -> events.GuestArrived:
        """Return what arrived as what it is. Raises INVALID unless it is that resource alone."""
        names = {each.name for branch in arrived.branches for each in branch.resources}
        names |= {spec.name for each in arrived.versions for spec in each.spec.resources}
        if names != {resource} or arrived.secrets:
            raise INVALID(f"More came than {resource}.")
        return events.GuestArrived(
            **msgspec.structs.asdict(arrived),
            home=home,
            home_name=self._peers.find(home).card.name,
            resource=resource,
        )

    # ---- while it is here ----------------------------------------------------------------------

    async def lead_in(self, peer: str, far: Pipe, resource_id: str) -> None:
        """Connect a tunnel to a guest. Raises NOT_FOUND unless it is one of that node's apps."""
        place = self._node.catalogue.find(resource_id)
        if place is None:
            raise NOT_FOUND("There is no such resource here.")
        self._guest(peer, place[0])
        await lead_to(far, Pinned(self._node.router, *place).client())

    def _guest(self, peer: str, app: str) -> App:
        found = self._node.catalogue.apps.get(app)
        if found is None or found.guest is None or found.guest.home != peer:
            raise NOT_FOUND(f"{self._node.name} has no resource of {app} of yours.")
        return found

    async def _take_key(self, peer: str, handed: m.HandedKey) -> m.Received:
        self._guest(peer, handed.app)
        key = m.check_key(handed.id, handed.key)
        await self._node.keyring.adopt(handed.app, *key)
        await self._node.audit.add("key", {"event": "handed", "app": handed.app, "key": key.id})
        return m.Received(len(key.key))

    async def _return(self, peer: str, asked: m.OfGuest) -> m.Placed:
        self._guest(peer, asked.app)
        return await self._give_back(asked.app, peer)

    async def _let_go(self, peer: str, asked: m.LetGo) -> m.Gone:
        """Remove a guest and its data keys; what is not here is gone already."""
        node = self._node
        found = node.catalogue.apps.get(asked.app)
        said = []
        if found is not None and found.guest is not None and found.guest.home == peer:
            resource = found.guest.resource
            async with node.deploys.held(), node.branches.held(asked.app) as branches:
                for branch in branches:
                    await node.supervisor.sleep(branch.app, branch.name)
                await node.catalogue_log.append(events.encode(events.AppDeleted(asked.app)))
                for branch in branches:
                    await node.branches.discard(branch)
                await asyncio.to_thread(node.remove_code, asked.app)
            said.append(f"{resource} is deleted, with {len(branches)} branches")
        keys = [each.id for each in node.keyring.of(asked.app) if each.id in asked.keys]
        ended = await node.keyring.forget(asked.app, frozenset(keys))
        said += [f"the data key {each.id}, held by {each.holder}: {each.said}" for each in ended]
        if said:
            name = self._peers.find(peer).card.name
            receipt = of_deletion(asked.app, f"{name} had it let go", said=said)
            entry = await node.audit.add(RECEIPT, receipt)
            said.append(f"receipt {entry} of {node.name}")
        return m.Gone(tuple(said))

    # ---- coming back ---------------------------------------------------------------------------

    def comes_back(self, peer: str, offer: m.Offer) -> bool:
        """Tell whether an offer is a resource of an app of this node, from where it is."""
        found = self._node.catalogue.apps.get(offer.app)
        if found is None or found.guest is not None:
            return False
        away = self._node.catalogue.away.get(f"{offer.app}/{offer.resource}")
        return away == self._peers.find(peer).card.name

    async def make_room(self, offer: m.Offer) -> dict[str, str]:
        """Return the directories that a resource comes back to, with nothing of it in them."""
        found = self._node.catalogue.app(offer.app)
        branches = [each for each in found.branches.values() if offer.resource in each.away]
        if {each.name for each in branches} != set(offer.branches):
            raise INVALID(f"{offer.resource} is away on other branches than those.")
        for branch in branches:
            await self._node.branches.clear_away(branch)
        return {branch.name: branch.directory for branch in branches}

    async def take_back(
        self, app: str, resource: str, keys: Iterable[OpenKey], commit: m.Commit
    ) -> None:
        """Have a resource here again, whose state has come; the app stands still meanwhile."""
        node = self._node
        branches = [node.catalogue.branch(app, each.name) for each in commit.branches]
        for branch, moved in zip(branches, commit.branches, strict=True):
            known = branch.away.get(resource)
            ids = [(each.id, each.own_key, each.lineage_key) for each in moved.records]
            if known is None or ids != [(known.record.id, *node.workshop.keys(known.record))]:
                raise CONFLICT(f"What came is not {resource} of {app}/{branch.name}.")
        own = {each.id for each in node.keyring.of(app)}
        current = node.keyring.current(app)
        fresh = [each for each in keys if each.id not in own]
        for key in fresh:
            await node.keyring.adopt(app, *key)
        if fresh and current is not None:
            await node.keyring.adopt(app, *current)
        event = events.ResourceReturned(app, resource, commit.transfer)
        await node.catalogue_log.append(events.encode(event))

    async def stand_still(self, app: str) -> Standing:
        """Let an app of this node stand still, and nobody deploy it, until it is released.

        Its functions finish what they have first: they need the resource for that, which serves
        them meanwhile, so the node that has it asks for this before it lets go of it.
        """
        node = self._node
        stack = contextlib.AsyncExitStack()
        try:
            await stack.enter_async_context(node.deploys.held())
            branches = node.catalogue.app(app).branches
            cells = [node.supervisor.cell(app, name) for name in branches]
            for cell in cells:
                stack.callback(node.supervisor.forget_if_empty, cell)
                await stack.enter_async_context(cell.lock)
            for cell in cells:
                await node.supervisor.sleep_held(cell)
        except BaseException:
            await stack.aclose()
            raise
        return Standing(stack)
