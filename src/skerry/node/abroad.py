"""What lies on other nodes: resources of apps of this one, and apps here that are another's guests.

A resource may lie on another node than the rest of its app. Whatever is done to a whole branch must
not pass over it in silence: it is refused, and says by name what is not here. An app that is one
resource of another node's is changed from there alone.

The federation, which stands above the node, fills in how other nodes are reached.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from skerry.kernel.app import AppSpec
from skerry.kernel.catalogue import App, Branch, Catalogue, ResourceRecord
from skerry.kernel.errors import BUSY, CONFLICT, NODE_UNREACHABLE, NOT_FOUND
from skerry.node.keys.ring import OpenKey

OpenWay = Callable[[Branch, ResourceRecord, str], Awaitable[str]]
"""From a resource and the node that has it to a socket in the resource's own `run`."""

LetGo = Callable[[App], Awaitable[list[str]]]
"""Has other nodes remove what they have of an app, its data keys too; says what each did."""

HandKey = Callable[[App, OpenKey], Awaitable[None]]
"""Gives a new data key of an app to the nodes that have something of it."""


class Abroad:
    """Answers for what is not here, and checks that nobody takes it for something that is."""

    def __init__(self, name: str, catalogue: Catalogue) -> None:
        self.name = name
        self._catalogue = catalogue
        self.open_way: OpenWay = _no_way
        self.let_go: LetGo = _nobody
        self.hand_key: HandKey = _no_hand

    def check_whole(self, branch: Branch, doing: str) -> None:
        """Raise CONFLICT if a resource of a branch is away, or on its way, naming all of them."""
        app = self._catalogue.known(branch.app)
        parting = app.parting if app is not None else None
        if parting is not None and parting.resource in branch.resources:
            raise self._moving(branch.app, parting.resource, parting.to)
        if not branch.away:
            return
        where = ", ".join(f"{name} on {each.node}" for name, each in sorted(branch.away.items()))
        raise CONFLICT(
            f"{doing} needs all of {branch.app}/{branch.name} here, and {where} is not.",
            hint=self.bring_back(branch.app, min(branch.away)),
        )

    def bring_back(self, app: str, resource: str) -> str:
        """Return the command that brings a resource back."""
        return f"skerry place {app}/{resource} --to {self.name}"

    def check_own(self, app: str, doing: str) -> None:
        """Raise CONFLICT if an app here is another node's guest."""
        found = self._catalogue.apps.get(app)
        if found is None or found.guest is None:
            return
        guest = found.guest
        raise CONFLICT(
            f"{doing} is done on the node {guest.home_name}.",
            why=f"{self.name} has {guest.resource} of {app}; the rest is there.",
            hint=f"Ask there: skerry --node <url of {guest.home_name}> status",
        )

    def check_served(self, app: str, resource: str) -> None:
        """Raise BUSY while it is not known on which node a resource is."""
        found = self._catalogue.apps.get(app)
        if found is not None and found.parting is not None and found.parting.resource == resource:
            raise self._moving(app, resource, found.parting.to)

    def _moving(self, app: str, resource: str, to: str) -> Exception:
        return BUSY(
            f"{resource} of {app} is being moved to the node {to}.",
            why="Until that node has said whether it has it, nobody serves it.",
            hint="skerry nodes",
        )

    def check_version(self, app: str, branch: str, spec: AppSpec) -> None:
        """Raise CONFLICT if a version would change what is away on a branch: it would not hear.

        That is a resource's declaration, and the policy that says where it may be.
        """
        self.check_own(app, "A deploy")
        found = self._catalogue.apps.get(app)
        current = found.branches.get(branch) if found is not None else None
        for name, away in sorted(current.away.items()) if current is not None else ():
            assert current is not None
            served = self._catalogue.spec(current)
            # As they are kept: what was read from a file may be of other types.
            if msgspec.json.encode(spec.only(name)) != msgspec.json.encode(served.only(name)):
                policy = spec.policy != served.policy
                raise CONFLICT(
                    f"This version changes {'the policy of ' if policy else ''}{name}, which is "
                    f"on the node {away.node}.",
                    why="What is declared of it goes there with it, and not by itself.",
                    hint=self.bring_back(app, name),
                )

    def bound(self, branch: Branch, names: set[str]) -> list[ResourceRecord]:
        """Return the records of what a process is bound to, here or away.

        Raises BUSY while one is on its way, NOT_FOUND if the branch never had it.
        """
        found = []
        for name in sorted(names):
            self.check_served(branch.app, name)
            if name not in branch.resources and name not in branch.away:
                raise NOT_FOUND(
                    f"{branch.app}/{branch.name} has no resource {name}.",
                    why="It may have been restored from a backup without it.",
                    hint="skerry deploy",
                )
            found.append(branch.record(name))
        return found


async def _no_way(branch: Branch, record: ResourceRecord, node: str) -> str:
    raise NODE_UNREACHABLE(f"This node does not reach {node}.", hint="skerry nodes")


async def _nobody(app: App) -> list[str]:
    if app.keepers:
        raise NODE_UNREACHABLE(
            f"This node does not reach {', '.join(sorted(app.keepers))}.", hint="skerry nodes"
        )
    return []


async def _no_hand(app: App, key: OpenKey) -> None:
    await _nobody(app)
