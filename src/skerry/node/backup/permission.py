"""Asking policy, before the first byte, which apps may go to a store.

All that goes is encrypted here, with a key that stays here: a policy that says `outside =
"encrypted-only"` lets it go beyond the places where the app itself may be.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from skerry.kernel.errors import DENIED, SkerryError
from skerry.kernel.policy import Place, Request, enforce
from skerry.node.backup.destination import Destination
from skerry.node.backup.index import Scope

if TYPE_CHECKING:
    from skerry.node.node import Node

ACTION = "backup:send"


def place_of(destination: Destination) -> Place | None:
    """Return the place that policy decides on; None for a path of this machine."""
    if destination.address is None:
        return None
    host = destination.address[0]
    return Place(destination.provider or host, destination.country, host)


def refused(node: Node, store: Destination, scope: Scope, principal: str) -> dict[str, str]:
    """Ask for every resource in a scope; return the apps that may not go to a store, and why.

    Raises DENIED if an app was asked for by name and may not go, or if no app may.
    """
    found: dict[str, str] = {}
    error: SkerryError | None = None
    apps = [app for app in node.catalogue.apps if scope.app in ("", app)]
    for app in apps:
        try:
            _ask(node, store, scope, app, principal)
        except SkerryError as caught:
            if caught.problem is not DENIED:
                raise
            found[app], error = f"{caught.what} {caught.why}", caught
    if error is not None and (scope.app or len(found) == len(apps)):
        raise error
    return found


def may_go(node: Node, store: Destination, app: str) -> bool:
    """Tell whether an app may go to a store, without acting on it."""
    requests = _requests(node, store, Scope(app), app, "node")
    return all(node.policy.decide(each).allowed for each in requests)


def _ask(node: Node, store: Destination, scope: Scope, app: str, principal: str) -> None:
    for request in _requests(node, store, scope, app, principal):
        enforce(node.policy, request)


def _requests(
    node: Node, store: Destination, scope: Scope, app: str, principal: str
) -> Iterator[Request]:
    place = place_of(store)
    for branch in node.catalogue.app(app).branches.values():
        for record in branch.resources.values():
            if scope.holds(app, branch.name, record.name):
                yield Request(
                    principal=principal,
                    action=ACTION,
                    where=node.name if place is None else str(place),
                    app=app,
                    branch=branch.name,
                    kind=record.kind,
                    resource=record.name,
                    place=place,
                    encrypted=True,
                )
