"""Moving an app to another node: the side that gives.

    offer        may it come?                                     the app answers
    first parcel every branch's state, from a copy of one instant  the app answers
    last parcel  what has changed since                            requests wait
    commit       the other node has it, on its disk and in its log  requests wait
    moved        requests that come here are passed on

Before the commit is asked for, the app's leaving is in this node's log. A node that is killed
between the two does not serve the app until the other one has said whose it is: a move that the
other does not know of is off for ever. So the app is served by one node at every moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from skerry.federation import messages as m
from skerry.federation.calls import Calls
from skerry.federation.peers import Peer
from skerry.kernel import events
from skerry.kernel.app import AppSpec
from skerry.kernel.catalogue import App, Branch
from skerry.kernel.errors import CONFLICT, SkerryError
from skerry.kernel.policy import Decision, Request, enforce
from skerry.node import parcels
from skerry.node.audit.receipts import RECEIPT, of_placement
from skerry.node.keys.ring import OpenKey
from skerry.node.keys.sealing import seal
from skerry.node.node import Node
from skerry.node.parcels import Marks
from skerry.node.words import Progress

PARCEL_SECONDS = 3600.0
COMMIT_SECONDS = 600.0

_log = logging.getLogger("skerry.federation")


@dataclass
class Move:
    """A move under way: of a whole app, or `only` of one resource, with the cut down `specs`."""

    peer: Peer
    transfer: str
    app: str
    key: OpenKey
    sent: dict[str, Marks] = field(default_factory=dict)
    only: str = ""
    specs: dict[int, AppSpec] = field(default_factory=dict)


@dataclass
class Course:
    """How a move goes: by the node's clock, when it began and since when requests wait."""

    began: float
    stood: float = 0.0
    first_bytes: int = 0
    last_bytes: int = 0


class Placing:
    """Gives apps to other nodes."""

    def __init__(
        self, node: Node, calls: Calls, open_way: Callable[[str], Awaitable[None]]
    ) -> None:
        self._node = node
        self._calls = calls
        self._open_way = open_way

    async def place(self, app: str, peer: Peer, progress: Progress) -> m.Placed:
        """Move an app. Raises what policy, the other node or the network say; then it stays."""
        node = self._node
        node.catalogue.app(app)
        decision = enforce(
            node.policy, Request("operator", "app:place", where=peer.card.name, app=app)
        )
        course = Course(node.clock.monotonic())
        async with node.deploys.held(), node.branches.held(app) as branches:
            move = await self._offer(app, branches, peer)
            for number, branch in enumerate(branches):
                progress(number, len(branches), f"sending {branch.name}")
                async with node.branches.copied(branch, progress) as copy:
                    course.first_bytes += await self.send(move, branch.name, copy)
            course.first_bytes += await self.send_code(move, app)
            course.stood = node.clock.monotonic()
            progress(0, 0, "sending what changed")
            course.last_bytes = await self._finish(move, app, branches)
        return await self.moved(move, branches, decision, course)

    async def moved(
        self, move: Move, branches: list[Branch], decision: Decision, course: Course
    ) -> m.Placed:
        """Write the receipt of a move that is done, and return what there is to say of it."""
        node, peer = self._node, move.peer
        size = course.first_bytes + course.last_bytes
        one = {"action": "resource:place", "resource": move.only} if move.only else {}
        receipt = self.receipt(move.app, branches, peer, decision, **one, bytes=size)
        entry = await node.audit.add(RECEIPT, receipt)
        now = node.clock.monotonic()
        return m.Placed(
            app=move.app,
            resource=move.only,
            node=peer.card.name,
            branches=len(branches),
            seconds=round(now - course.began, 3),
            still_seconds=round(now - course.stood, 3),
            first_bytes=course.first_bytes,
            last_bytes=course.last_bytes,
            rule=decision.rule,
            residency=decision.residency,
            entry=entry,
        )

    def receipt(
        self,
        app: str,
        branches: list[Branch],
        peer: Peer,
        decision: Decision,
        action: str = "app:place",
        **more: object,
    ) -> dict[str, object]:
        """Return what the audit log says of an app, or a copy of it, that came to lie on a node."""
        view = self._node.placement.view(Request("operator", action, peer.card.name))
        return of_placement(
            app,
            origin=self._node.name,
            to=peer.card.name,
            branches=[branch.name for branch in branches],
            decision=decision,
            grade=decision.residency,
            shown_by=view.facts.get("residency_evidence", ()),
            node=peer.card.id,
            **more,
        )

    async def _offer(self, app: str, branches: list[Branch], peer: Peer) -> Move:
        kinds = {record.kind for branch in branches for record in branch.resources.values()}
        size = await self.bytes_of(branches)
        names = tuple(branch.name for branch in branches)
        key, data_keys = await self.keys_of(app)
        guest = self._node.catalogue.app(app).guest
        only = guest.resource if guest is not None else ""
        offer = m.Offer(app, tuple(sorted(kinds)), names, size, data_keys, only)
        path = "/guest/offer" if only else "/place/offer"
        accepted = await self._calls.ask(peer, path, offer, m.Accepted)
        return Move(peer, accepted.transfer, app, key)

    async def keys_of(self, app: str) -> tuple[OpenKey, tuple[tuple[str, bytes], ...]]:
        """Return the data key of an app that is in use, and all of them by their ids."""
        ring = self._node.keyring
        key = await ring.ensure(app)
        return key, tuple((each.id, ring.key(each.id)) for each in ring.of(app))

    async def bytes_of(self, branches: list[Branch], only: str = "") -> int:
        """Return how many bytes the state of branches has, or that of one resource on them."""
        paths = [self._node.volume.path(branch.directory) / only for branch in branches]
        return await asyncio.to_thread(lambda: sum(map(_bytes, paths)))

    async def send(self, move: Move, branch: str, directory: Path) -> int:
        """Send what a directory holds that was not sent before; return how many bytes."""
        now = await asyncio.to_thread(parcels.survey, directory, move.only)
        changed, gone = parcels.differences(move.sent.get(branch, {}), now)
        move.sent[branch] = now
        head = m.ParcelHead(move.transfer, branch=branch, gone=tuple(gone))
        return await self._send_parcel(move, head, directory, changed)

    async def send_code(self, move: Move, app: str) -> int:
        """Send the code of the versions that are served; return how many bytes."""
        total = 0
        for version in self._served(app):
            code = self._node.workshop.code(app, version)
            paths = list(await asyncio.to_thread(parcels.survey, code))
            head = m.ParcelHead(move.transfer, version=version)
            total += await self._send_parcel(move, head, code, paths)
        return total

    async def send_no_code(self, move: Move, app: str) -> int:
        """Send the versions of a single resource without their code; return how many bytes."""
        total = 0
        for version in move.specs:
            head = m.ParcelHead(move.transfer, version=version)
            total += await self._send_parcel(move, head, self._node.home.apps, [])
        return total

    async def _send_parcel(
        self, move: Move, head: m.ParcelHead, directory: Path, paths: list[str]
    ) -> int:
        def chunks() -> Iterator[bytes]:
            yield msgspec.json.encode(head) + b"\n"
            packed = parcels.pack(directory, paths)
            yield from seal(move.app, move.key.id, move.key.key, packed)

        received = await self._calls.send(
            move.peer, "/place/parcel", chunks(), PARCEL_SECONDS, m.Received
        )
        return received.bytes

    async def _finish(self, move: Move, app: str, branches: list[Branch]) -> int:
        """Let the app stand still, send what has changed, and give it away."""
        node = self._node
        if node.catalogue.app(app).guest is not None:
            still = m.Transfer(move.transfer, app)
            await self._calls.ask(
                move.peer, "/guest/still", still, m.Outcome, seconds=COMMIT_SECONDS
            )
        cells = [node.supervisor.cell(app, branch.name) for branch in branches]
        async with contextlib.AsyncExitStack() as stack:
            for cell in cells:
                await stack.enter_async_context(cell.lock)
            for cell in cells:
                await node.supervisor.sleep_held(cell)
            last = 0
            for branch in branches:
                last += await self.send(move, branch.name, node.volume.path(branch.directory))
            await self._commit(move, node.catalogue.app(app))
        await self._discard(app, branches)
        return last

    async def _commit(self, move: Move, app: App) -> None:
        commit = self.everything(move.transfer, app)
        leaving = events.AppLeaving(app.name, move.peer.card.name, move.transfer)
        await self._node.catalogue_log.append(events.encode(leaving))
        try:
            await self._calls.ask(
                move.peer, "/place/commit", commit, m.Outcome, seconds=COMMIT_SECONDS
            )
        except SkerryError:
            if not await self.is_committed(leaving, move.peer):
                await self._node.catalogue_log.append(events.encode(events.AppStays(app.name)))
                raise
        await self._note_moved(app.name, move.peer)

    async def settle(self, app: App, peer: Peer) -> None:
        """Find out whose an app is after a move was cut off, and note it.

        Raises NODE_UNREACHABLE while that cannot be known; nobody serves the app until then.
        """
        if app.leaving is None or self._node.branches.is_changing(app.name):
            return
        if await self.is_committed(app.leaving, peer):
            branches = list(app.branches.values())
            await self._note_moved(app.name, peer)
            await self._discard(app.name, branches)
        else:
            await self._node.catalogue_log.append(events.encode(events.AppStays(app.name)))

    async def is_committed(
        self, leaving: events.AppLeaving | events.ResourceLeaving, peer: Peer
    ) -> bool:
        """Ask whether what was leaving has arrived; if not, it never will."""
        question = m.Transfer(leaving.transfer, leaving.app)
        outcome = await self._calls.ask(peer, "/place/outcome", question, m.Outcome)
        return outcome.committed

    async def _note_moved(self, app: str, peer: Peer) -> None:
        await self._open_way(peer.card.name)
        await self._node.catalogue_log.append(events.encode(events.AppMoved(app, peer.card.name)))

    async def _discard(self, app: str, branches: list[Branch]) -> None:
        """Remove what an app that was moved has left here; its data key went with it."""
        await self._node.keyring.forget(app)
        for branch in branches:
            await self._node.branches.discard(branch)
        await asyncio.to_thread(self._node.remove_code, app)

    def _served(self, app: str) -> list[int]:
        branches = self._node.catalogue.app(app).branches.values()
        return sorted({branch.version for branch in branches})

    def everything(self, transfer: str, app: App) -> m.Commit:
        """Return all that another node's catalogue needs to serve an app."""
        node = self._node
        return m.Commit(
            transfer=transfer,
            versions=tuple(
                m.MovedVersion(version, app.versions[version].spec, app.versions[version].digest)
                for version in self._served(app.name)
            ),
            branches=tuple(map(self.branch, app.branches.values())),
            secrets=node.vault.open_named(app.name, app.secrets),
        )

    def branch(self, branch: Branch, only: str = "") -> m.MovedBranch:
        """Return a branch as it moves, with all its resources or only one."""
        records = []
        for each in branch.resources.values():
            if only and each.name != only:
                continue
            own, lineage = self._node.workshop.keys(each)
            records.append(m.Record(each.id, each.lineage, each.kind, each.name, own, lineage))
        return m.MovedBranch(
            branch.name, branch.parent, branch.version, branch.created, tuple(records)
        )


def check_free(node: Node, app: str) -> None:
    """Raise CONFLICT if a node has an app of that name."""
    if app in node.catalogue.apps:
        raise CONFLICT(f"{node.name} has an app {app} already.", hint="skerry app list")


def _bytes(directory: Path) -> int:
    return sum(mark.size for mark in parcels.survey(directory).values())
