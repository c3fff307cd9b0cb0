"""`skerry place APP --replicas N`: choosing standbys, and beginning or ending to have them."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec

from skerry.federation import messages as m
from skerry.federation.calls import Calls
from skerry.federation.peers import Peer, Peers
from skerry.federation.replicas import messages as r
from skerry.federation.replicas.replicas import Replicas
from skerry.kernel import events
from skerry.kernel.catalogue import App
from skerry.kernel.errors import (
    CONFLICT,
    DENIED,
    INVALID,
    STORE_UNREACHABLE,
    TIMED_OUT,
    UNSUPPORTED,
    SkerryError,
)
from skerry.kernel.events import Replication
from skerry.kernel.lease import Leases
from skerry.kernel.policy import Decision, Request
from skerry.kernel.territory import is_territory, meant
from skerry.node.node import Node
from skerry.node.words import Progress

REPLICAS_MAX = 8
FOLLOW_SECONDS = 3600.0
HELLO_SECONDS = 3.0


class Replicating:
    """Carries out what the operator wants of an app's standbys."""

    def __init__(
        self, node: Node, own_id: str, calls: Calls, peers: Peers, replicas: Replicas
    ) -> None:
        self._node = node
        self._own_id = own_id
        self._calls = calls
        self._peers = peers
        self._replicas = replicas

    async def replicate(self, params: m.Place, progress: Progress) -> m.Placed:
        """Let other nodes stand by for an app; return when they do.

        Everything that can refuse it is asked before anything changes.
        """
        node = self._node
        app = node.catalogue.app(params.app)
        began = node.clock.monotonic()
        count = params.replicas or 0
        if params.survive not in ("", "node"):
            raise INVALID(f"A write cannot survive {params.survive!r}.", hint="--survive node")
        if not 0 <= count <= REPLICAS_MAX:
            raise INVALID(f"There are 0 to {REPLICAS_MAX} standbys of an app.")
        if count == 0:
            await self._end(app)
            return self._placed(params, (), "", node.clock.monotonic() - began)
        leases = self._check(app, params)
        chosen, rule = await self._choose(app, params, count)
        members = (self._own_id, *(peer.card.id for peer in chosen))
        if app.replication is None:
            await self._try_lease(app.name, leases)
        await self._begin(app, Replication(members, params.survive), leases)
        names = tuple(peer.card.name for peer in chosen)
        await self._wait(params.app, members[1:], progress)
        return self._placed(params, names, rule, node.clock.monotonic() - began)

    def _placed(
        self, params: m.Place, names: tuple[str, ...], rule: str, seconds: float
    ) -> m.Placed:
        app = self._node.catalogue.app(params.app)
        return m.Placed(
            app=params.app,
            node=self._node.name,
            branches=len(app.branches),
            seconds=round(seconds, 3),
            still_seconds=0.0,
            first_bytes=0,
            last_bytes=0,
            rule=rule,
            standbys=names,
            survive=params.survive,
        )

    def _check(self, app: App, params: m.Place) -> Leases:
        """Raise unless the app can be replicated from here at all."""
        if params.within and not is_territory(params.within):
            raise INVALID(f"{params.within!r} is no territory.", why=meant(params.within))
        leases = self._replicas.leases()
        if leases is None:
            raise UNSUPPORTED(
                "Standbys need a place for leases, which all nodes of the app reach.",
                why="Without it, two nodes could serve the app at once.",
                hint="Say bus = true under [federation] in config.toml of each of them, or name an "
                "etcd (docs/guides/standbys.md), and start them anew.",
            )
        if app.leaving is not None:
            raise CONFLICT(f"{app.name} is being moved to {app.leaving.to}.")
        self._node.abroad.check_own(app.name, "Standing by")
        for branch in app.branches.values():
            self._node.abroad.check_whole(branch, "A standby")
        self._node.tenure.check(app.name)
        unable = {}
        for branch in app.branches.values():
            for record in branch.resources.values():
                manifest = self._node.manifests[record.kind]
                if manifest.keeps_state and not manifest.replica:
                    unable[record.name] = f"{record.name} ({record.kind}): "
                    unable[record.name] += manifest.replicates.reason
        if unable:
            raise UNSUPPORTED(
                f"{app.name} cannot have standbys.",
                why=f"Not every kind can follow: {'; '.join(sorted(unable.values()))}.",
                hint=f"skerry place {app.name} --to <node>",
            )
        return leases

    async def _choose(self, app: App, params: m.Place, count: int) -> tuple[list[Peer], str]:
        """Return the nodes that are to stand by: those that do already first.

        Every candidate is asked of policy, and the answers are in the audit log.
        """
        known = set(app.replication.members) if app.replication else set()
        chosen: list[Peer] = []
        refused = []
        rule = ""
        candidates = sorted(self._peers, key=lambda p: (p.card.id not in known, p.card.name))
        for peer in candidates:
            if len(chosen) == count:
                break
            try:
                decision = self._decide(app, peer, params.within)
                await self._greet(peer, chosen)
            except SkerryError as error:
                refused.append(f"{peer.card.name}: {error.what} {error.why}".strip())
                continue
            rule = decision.rule
            chosen.append(peer)
        if len(chosen) < count:
            raise DENIED(
                f"{app.name} can have {len(chosen)} standbys, not {count}.",
                why=" ".join(refused) or f"{len(candidates)} nodes are bound to this one.",
                hint="skerry nodes",
            )
        return chosen, rule

    def _decide(self, app: App, peer: Peer, within: str) -> Decision:
        node = self._node
        request = Request("operator", "resource:replicate", where=peer.card.name, app=app.name)
        if within and not node.placement.is_within(peer.card.name, within):
            raise DENIED(f"it is not known to be in {within}.")
        decision = node.policy.decide(request)
        node.policy.record(request, decision)
        if not decision.allowed:
            raise DENIED("policy forbids it.", why=decision.reason)
        return decision

    async def _greet(self, peer: Peer, others: list[Peer]) -> None:
        """Raise unless a node answers, and is bound to all others of the group."""
        asked = r.Group(tuple(each.card.id for each in others))
        found = await self._calls.ask(peer, "/replica/group", asked, r.Group, seconds=HELLO_SECONDS)
        if found.members:
            names = ", ".join(self._peers.find(each).card.name for each in found.members)
            raise CONFLICT(f"it is not bound to {names}.")

    async def _begin(self, app: App, replication: Replication, leases: Leases) -> None:
        """Note the standbys, while nothing of the app runs, so that every write is told of."""
        epoch = app.replication.epoch if app.replication else 0
        replication = msgspec.structs.replace(replication, epoch=epoch)
        dropped = set(app.replication.members) - set(replication.members) if app.replication else ()
        await self._stand_still(app, events.AppReplicated(app.name, replication))
        await self._replicas.restart(app.name, leases)
        for member in dropped:
            await self._replicas.drop(app.name, member)

    async def _try_lease(self, app: str, leases: Leases) -> None:
        """Take the lease of an app once, and give it back: without one, nobody would serve it.

        Raises CONFLICT where another node has it, and STORE_UNREACHABLE.
        """
        try:
            lease = await leases.acquire(app, self._own_id, self._replicas.lease_seconds)
        except SkerryError as error:
            if error.problem is not STORE_UNREACHABLE:
                raise
            raise STORE_UNREACHABLE(
                f"No lease can be taken for {app}, and nothing has changed.",
                why=f"{error.what} {error.why} Each node tells how its bus is.".replace("  ", " "),
                hint="skerry doctor",
            ) from error
        await leases.release(lease)

    async def _stand_still(self, app: App, event: events.AppReplicated) -> None:
        node = self._node
        async with (
            node.deploys.held(),
            node.branches.held(app.name) as branches,
            contextlib.AsyncExitStack() as stack,
        ):
            cells = [node.supervisor.cell(app.name, each.name) for each in branches]
            for cell in cells:
                await stack.enter_async_context(cell.lock)
            for cell in cells:
                await node.supervisor.sleep_held(cell)
            await node.catalogue_log.append(events.encode(event))

    async def _wait(self, app: str, members: tuple[str, ...], progress: Progress) -> None:
        """Wait until every standby follows."""
        node = self._node
        deadline = node.clock.monotonic() + FOLLOW_SECONDS
        while True:
            following = self._replicas.followers(app)
            ready = [each for each in members if each in following]
            if len(ready) == len(members):
                return
            progress(len(ready), len(members), "copying")
            if node.clock.monotonic() > deadline:
                raise TIMED_OUT(f"Not every standby of {app} follows yet.", hint="skerry nodes")
            await asyncio.sleep(0.1)

    async def _end(self, app: App) -> None:
        """Have no standbys any more."""
        if app.replication is None:
            return
        self._node.tenure.check(app.name)
        members = set(app.replication.members) - {self._own_id}
        try:
            await self._replicas.end(app.name)
            await self._stand_still(app, events.AppReplicated(app.name, None))
        finally:
            self._replicas.ending.discard(app.name)
        for member in members:
            await self._replicas.drop(app.name, member)
