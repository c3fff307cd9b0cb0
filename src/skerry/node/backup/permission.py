"""Asking policy, before the first byte, which apps may go to a store.

All that goes is encrypted here, with a key that stays here: a policy that says `outside =
"encrypted-only"` lets it go beyond the places where the app itself may be.
"""

from __future__ import annotations

from collections.abc import Iterable
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


def refused(
    node: Node, stores: Iterable[Destination], scope: Scope, principal: str
) -> dict[str, str]:
    """Ask for every resource in a scope and every store; return the apps that may not go, and why.

    Raises DENIED if an app was asked for by name and may not go, or if no app may.
    """
    found: dict[str, str] = {}
    error: SkerryError | None = None
    asked = set()
    for store in stores:
        for app in node.catalogue.apps.values():
            if app.name in found or scope.app not in ("", app.name):
                continue
            asked.add(app.name)
            try:
                _ask(node, store, scope, app.name, principal)
            except SkerryError as caught:
                if caught.problem is not DENIED:
                    raise
                found[app.name], error = f"{caught.what} {caught.why}", caught
    if error is not None and (scope.app or asked == set(found)):
        raise error
    return found


def _ask(node: Node, store: Destination, scope: Scope, app: str, principal: str) -> None:
    place = place_of(store)
    for branch in node.catalogue.app(app).branches.values():
        for record in branch.resources.values():
            if scope.holds(app, branch.name, record.name):
                request = Request(
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
                enforce(node.policy, request)
