"""Asking policy, before the first byte, whether a backup may go to a store."""

from __future__ import annotations

from skerry.kernel.policy import Decision, Policy, Request, enforce
from skerry.node.backup.destination import Destination

ACTION = "backup:send"


def ask(
    policy: Policy,
    node: str,
    destination: Destination,
    app: str | None = None,
    branch: str | None = None,
    resource: tuple[str, str] | None = None,
    principal: str = "node",
) -> Decision:
    """Return the decision that allows it; raise DENIED with rule and reason.

    `resource` is a kind and a name. All that goes is encrypted here, with a key that stays here.
    """
    request = Request(
        principal=principal,
        action=ACTION,
        where=destination.where or node,
        app=app,
        branch=branch,
        kind=resource[0] if resource else None,
        resource=resource[1] if resource else None,
    )
    return enforce(policy, request)
