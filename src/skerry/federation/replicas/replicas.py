"""All apps of a node that several nodes keep: those it serves, and those it stands by for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from skerry.federation.calls import Calls
from skerry.federation.peers import Peers
from skerry.federation.placing import Placing
from skerry.federation.receiving import Receiving
from skerry.federation.replicas import messages as r
from skerry.federation.replicas.fencing import keep_aside, tail
from skerry.federation.replicas.following import Following
from skerry.federation.replicas.holding import LEASE_SECONDS, Holding, Tools
from skerry.federation.replicas.reading import Reading
from skerry.federation.wire import Wire
from skerry.kernel import events
from skerry.kernel.clock import BootClock, Clock
from skerry.kernel.errors import CONFLICT, NOT_FOUND, TIMED_OUT, SkerryError
from skerry.kernel.events import AppFollowed
from skerry.kernel.lease import Lease, Leases
from skerry.node.node import Node

WATCH_SECONDS = 0.5
COURTESY_SECONDS = 1.0
"""How long a standby waits, after a lease has ended, for one that has more."""
ASK_SECONDS = 1.0
RETRY_SECONDS = 2.0
SERVE_SECONDS = 30.0

_log = logging.getLogger("skerry.federation")


class Replicas:
    """Holds, follows, takes over and gives up."""

    def __init__(self, node: Node, wire: Wire, receiving: Receiving, peers: Peers) -> None:
        self._node = node
        self._peers = peers
        folder = node.home.service("federation") / "copies"
        self.following = Following(node, wire, receiving, peers, folder, self._check_holds)
        self.holdings: dict[str, Holding] = {}
        self.clock: Clock = BootClock()
        self.lease_seconds = LEASE_SECONDS
        self.ending: set[str] = set()
        """The apps whose standbys are being taken away."""
        self._leases: Leases | None = None
        self._kept = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._watching: asyncio.Task[None] | None = None
        self.reading = Reading(node, self.following, self._ask_head)
        wire.add("/replica/head", self._answer_head, r.OfApp)
        wire.add("/replica/taken", self._answer_taken, r.OfApp)
        wire.add("/replica/epoch", self._answer_epoch, r.OfApp)
        wire.add("/replica/group", self._answer_group, r.Group)
        wire.add("/replica/served", self._answer_served, r.Served)

    def start(
        self,
        own_id: str,
        calls: Calls,
        placing: Placing,
        open_way: Callable[[str], Awaitable[None]],
    ) -> None:
        """Take up what the catalogue knows."""
        self._own_id = own_id
        self._calls = calls
        self._placing = placing
        self._open_way = open_way
        self.following.start()
        self.reading.start()
        self._watching = asyncio.create_task(self._watch_for_ever())

    async def stop(self) -> None:
        """Give up every lease, so that standbys take over at once."""
        await self.reading.stop()
        tasks = [*([self._watching] if self._watching else []), *self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def leases(self) -> Leases | None:
        """Return where leases are kept, if that is configured."""
        return self._leases

    def keep_leases(self, leases: Leases | None) -> None:
        """Say where leases are kept; without such a place nothing is held or followed."""
        self._leases = leases
        if leases is not None:
            self._kept.set()

    async def _watch_for_ever(self) -> None:
        """Look at every app that several nodes keep."""
        while True:
            await self._kept.wait()
            leases = self._leases
            if leases is not None:
                for app in list(self._node.catalogue.apps.values()):
                    if app.replication is not None and app.name not in self.ending:
                        self.hold(app.name, leases)
                for followed in list(self._node.catalogue.standbys.values()):
                    self._spawn(followed.app, self._watch(followed, leases))
            await asyncio.sleep(WATCH_SECONDS)

    def hold(
        self,
        app: str,
        leases: Leases,
        inheritance: r.Inheritance | None = None,
        lease: Lease | None = None,
    ) -> Holding:
        """Serve an app, as soon as and as long as its lease can be had; it may be held already."""
        if app not in self.holdings:
            tools = Tools(
                node=self._node,
                own_id=self._own_id,
                calls=self._calls,
                peers=self._peers,
                placing=self._placing,
                leases=leases,
                clock=self.clock,
                lease_seconds=self.lease_seconds,
                announce=self._announce,
            )
            self.holdings[app] = Holding(app, tools, inheritance, lease)
        holding = self.holdings[app]
        self._spawn(app, self._run(holding))
        return holding

    async def restart(self, app: str, leases: Leases) -> None:
        """Serve an app anew, with the members that the catalogue names now."""
        await self._halt(app, keeps_lease=True)
        holding = self.hold(app, leases)
        try:
            async with asyncio.timeout(SERVE_SECONDS):
                await holding.serving.wait()
        except TimeoutError as error:
            raise TIMED_OUT(
                f"{app} has no lease after {SERVE_SECONDS:.0f} s, and is not served until it has.",
                why="Where leases are kept does not answer, or another node holds it.",
                hint="skerry doctor",
            ) from error

    async def end(self, app: str) -> None:
        """Let nobody stand by for an app any more."""
        self.ending.add(app)
        holding = self.holdings.get(app)
        if holding is not None:
            holding.is_ending = True
        await self._halt(app, keeps_lease=False)

    async def _halt(self, app: str, *, keeps_lease: bool) -> None:
        task, holding = self._tasks.pop(app, None), self.holdings.get(app)
        if holding is not None:
            holding.keeps_lease = keeps_lease
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def drop(self, app: str, member: str) -> None:
        """Let a node forget its copy; one that does not answer keeps it, and cannot use it."""
        found = self._node.catalogue.apps.get(app)
        known = found.replication.epoch if found and found.replication else 0
        epoch = max(known, self.following.fences.get(app, 0))
        try:
            peer = self._peers.find(member)
            await self._calls.ask(peer, "/replica/drop", r.OfApp(app, epoch), r.Heard)
        except SkerryError as error:
            _log.warning("%s was not told to drop its copy of %s: %s", member, app, error)

    def followers(self, app: str) -> set[str]:
        """Return the nodes that follow an app which is served here, and may take it over."""
        holding = self.holdings.get(app)
        return holding.listed() if holding is not None else set()

    def copies(self) -> tuple[str, ...]:
        """Say which apps this node stands by for."""
        return tuple(
            f"{app} of {copy.holder}{self._said_age(app)}"
            for app, copy in sorted(self.following.copies.items())
        )

    def _said_age(self, app: str) -> str:
        """Say how old what is read here of an app is, if anybody reads it."""
        age = self.reading.age_of(app)
        return "" if age is None else f", read as of {age:.1f} s ago"

    def copies_at(self, member: str, said: tuple[str, ...]) -> tuple[str, ...]:
        """Say which apps a node stands by for, and what is known here of those that we serve."""
        found = {each.partition(" ")[0]: each for each in said}
        for app, holding in self.holdings.items():
            follower = holding.stream.followers.get(member)
            if follower is not None and holding.serving.is_set():
                found[app] = f"{app} ({follower.describe()})"
        return tuple(found[app] for app in sorted(found))

    def _spawn(self, app: str, work: Awaitable[None]) -> None:
        """Let one task at a time look after an app."""
        task = self._tasks.get(app)
        if task is not None and not task.done():
            if asyncio.iscoroutine(work):
                work.close()
            return
        self._tasks[app] = asyncio.ensure_future(work)

    async def _run(self, holding: Holding) -> None:
        app = holding.app
        try:
            await holding.run()
            if holding.fenced is not None:
                await self._give_way(app, holding.fenced)
                return
            for member in holding.stream.followers:
                await self.drop(app, member)
        except SkerryError as error:
            _log.warning("%s is not served here: %s", app, error)
            await asyncio.sleep(RETRY_SECONDS)
        except Exception:
            _log.exception("%s is not served here", app)
            await asyncio.sleep(RETRY_SECONDS)
        finally:
            self.holdings.pop(app, None)
            # The task may be ending with the node: then a standby need not wait.
            await asyncio.shield(holding.release())

    # ---- standing by --------------------------------------------------------------------------

    async def _watch(self, followed: AppFollowed, leases: Leases) -> None:
        """Take an app over if its lease has ended and nobody has more of it."""
        app = followed.app
        try:
            lease = await leases.current(app)
        except SkerryError as error:
            _log.info("who serves %s cannot be known: %s", app, error)
            return
        if lease is None:
            return
        self.following.fence(app, lease.epoch if lease.holder != self._own_id else 0)
        ended = self.clock.monotonic() * 1e9 - lease.expires_ns
        if ended < 0 or self._own_id not in lease.replicas:
            return
        if ended < COURTESY_SECONDS * 1e9 and await self._somebody_has_more(followed, lease):
            return
        try:
            after = self.following.fences.get(app, 0)
            taken = await leases.acquire(
                app, self._own_id, self.lease_seconds, lease.replicas, after=after
            )
        except SkerryError as error:
            _log.info("%s was not taken over: %s", app, error)
            return
        if taken.epoch != max(lease.epoch, after) + 1:
            await leases.release(taken)
            return
        await self._take(app, taken, leases)

    async def _somebody_has_more(self, followed: AppFollowed, lease: Lease) -> bool:
        """Tell whether another standby that may take over has come farther, or as far and first."""
        copy = self.following.copies[followed.app]
        own = (copy.epoch, copy.sequence, self._own_id)
        others = [each for each in lease.replicas if each != self._own_id]
        found = await asyncio.gather(*(self._ask_position(each, followed.app) for each in others))
        return any(each is not None and each > own for each in found)

    async def _ask_position(self, member: str, app: str) -> tuple[int, int, str] | None:
        try:
            found = await self._calls.ask(
                self._peers.find(member),
                "/replica/position",
                r.OfApp(app),
                r.Position,
                seconds=ASK_SECONDS,
            )
        except SkerryError as error:
            _log.info("how far %s has come cannot be known: %s", member, error)
            return None
        return found.epoch, found.sequence, member

    async def _take(self, app: str, lease: Lease, leases: Leases) -> None:
        began = self.clock.monotonic()
        taken, inheritance = await self.following.take(app, lease.epoch)
        await asyncio.to_thread(self._keep_taken, app, taken)
        self._tasks.pop(app, None)
        self.hold(app, leases, inheritance, lease)
        await self._node.audit.add(
            "app-taken-over",
            {
                "app": app,
                "epoch": lease.epoch,
                "by": self._node.name,
                "seconds": round(self.clock.monotonic() - began, 3),
            },
        )
        _log.warning("%s is taken over, epoch %d", app, lease.epoch)

    def _taken_file(self, app: str) -> Path:
        return self._node.home.service("federation") / f"taken-{app}.json"

    def _keep_taken(self, app: str, taken: r.Taken) -> None:
        self._taken_file(app).write_bytes(msgspec.json.encode(taken))

    async def _answer_taken(self, peer: str, asked: r.OfApp) -> r.Taken:
        """Tell the node that served an app before what this one had when it took over."""
        app = self._node.catalogue.apps.get(asked.app)
        file = self._taken_file(asked.app)
        if app is None or app.replication is None or peer not in app.replication.members:
            raise NOT_FOUND(f"{self._node.name} has not taken {asked.app} over from there.")
        if not await asyncio.to_thread(file.exists):
            raise NOT_FOUND(f"{self._node.name} has not taken {asked.app} over.")
        return msgspec.json.decode(await asyncio.to_thread(file.read_bytes), type=r.Taken)

    # ---- giving way ---------------------------------------------------------------------------

    async def _give_way(self, app: str, lease: Lease) -> None:
        """Become a standby of the node that has taken an app over; keep aside what it lacks."""
        node = self._node
        peer = self._peers.find(lease.holder)
        taken = await self._calls.ask(peer, "/replica/taken", r.OfApp(app), r.Taken)
        found = node.catalogue.app(app)
        for branch in found.branches.values():
            await node.supervisor.sleep(app, branch.name)
        beyond = await asyncio.to_thread(tail, node, found, taken.marks)
        said = {"app": app, "epoch": lease.epoch, "by": peer.card.name}
        if beyond:
            path = await keep_aside(node, found, lease.epoch)
            said |= {"kept": path.name, "files": beyond[:100]}
            _log.warning(
                "%s was taken over by %s, which did not have the last writes of this node: "
                "they are kept in %s",
                app,
                peer.card.name,
                path,
            )
        branches = list(found.branches.values())
        await self._open_way(peer.card.name)
        await node.catalogue_log.append(events.encode(events.AppMoved(app, peer.card.name)))
        await node.audit.add("app-fenced", said)
        await node.keyring.forget(app)
        for branch in branches:
            await node.branches.discard(branch)
        await asyncio.to_thread(node.remove_code, app)

    # ---- telling everybody --------------------------------------------------------------------

    async def _announce(self, app: str, epoch: int) -> None:
        """Tell every peer that this node serves an app, until each has heard it."""
        found = self._node.catalogue.app(app)
        ids = tuple(each.id for b in found.branches.values() for each in b.resources.values())
        served = r.Served(app, epoch, ids)
        left = {peer.card.id for peer in self._peers}
        while left:
            heard = await asyncio.gather(*(self._tell(each, served) for each in left))
            left = {each for each, done in zip(left, heard, strict=True) if not done}
            await asyncio.sleep(RETRY_SECONDS if left else 0)

    async def _tell(self, member: str, served: r.Served) -> bool:
        try:
            peer = self._peers.find(member)
        except SkerryError:
            # It is bound no more, so it is told nothing.
            return True
        try:
            await self._calls.ask(peer, "/replica/served", served, r.Heard, seconds=ASK_SECONDS)
        except SkerryError as error:
            _log.info("%s has not heard that %s is served here: %s", member, served.app, error)
            return False
        return True

    async def _check_holds(self, peer: str, app: str, epoch: int) -> None:
        """Raise CONFLICT unless a node holds the lease of an app, with this epoch."""
        leases = self._leases
        lease = await leases.current(app) if leases is not None else None
        if lease is None or lease.holder != peer or lease.epoch != epoch:
            name = self._peers.find(peer).card.name
            raise CONFLICT(f"{name} does not hold the lease of {app}, as far as this node sees.")

    async def _answer_served(self, peer: str, served: r.Served) -> r.Heard:
        """Send clients of an app to the node that serves it from now on."""
        node = self._node
        name = self._peers.find(peer).card.name
        await self._check_holds(peer, served.app, served.epoch)
        self.following.fence(served.app, served.epoch)
        await self._open_way(name)
        if served.app in node.catalogue.apps or node.catalogue.moved.get(served.app) == name:
            return r.Heard()
        event = events.AppElsewhere(served.app, name, served.ids)
        await node.catalogue_log.append(events.encode(event))
        return r.Heard()

    async def _answer_epoch(self, peer: str, asked: r.OfApp) -> r.Position:
        """Tell the newest epoch of an app that this node knows."""
        app = self._node.catalogue.apps.get(asked.app)
        own = app.replication.epoch if app is not None and app.replication is not None else 0
        return r.Position(max(own, self.following.fences.get(asked.app, 0)), 0)

    async def _ask_head(self, app: str) -> r.Position:
        """Ask the node that serves an app how far it is."""
        peer = self._peers.find(self.following.copies[app].holder)
        asked = r.OfApp(app)
        return await self._calls.ask(peer, "/replica/head", asked, r.Position, seconds=ASK_SECONDS)

    async def _answer_head(self, peer: str, asked: r.OfApp) -> r.Position:
        """Tell a standby how far the changes of an app go which this node serves."""
        holding = self.holdings.get(asked.app)
        if holding is None or not holding.may_serve() or peer not in holding.stream.followers:
            raise NOT_FOUND(f"{self._node.name} does not serve {asked.app} now.")
        return r.Position(holding.stream.epoch, holding.stream.sequence)

    async def _answer_group(self, peer: str, asked: r.Group) -> r.Group:
        """Return the nodes that this one is not bound to."""
        return r.Group(tuple(each for each in asked.members if each not in self._peers.by_id))
