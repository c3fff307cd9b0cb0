"""Comparing what servers hold with what policy allows: no byte or connection where it may not be.

A connection `between` two jurisdictions carries nothing of an app, because its account has nothing
to say of any. One of the account `inside` may: so each end of it must be allowed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from skerry.federation.bus.held import Held
from skerry.kernel.policy import Policy, Request


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose apps are compared: this node's, by its policy."""

    policy: Policy
    apps: tuple[str, ...]
    node: str


def breaches(found: Sequence[Held], asked: Asked) -> Iterator[str]:
    """Yield a sentence for each byte or connection of an app where it may not be."""
    for held in found:
        if held.node == asked.node:
            continue
        for app in sorted(held.apps & set(asked.apps)):
            reason = _refusal(asked, app, held.node)
            if reason:
                yield f"{held.node} holds something of {app}: {reason}"
    told = frozenset(app for held in found for app in held.apps) & set(asked.apps)
    for app in sorted(told):
        for name in sorted(_connected(found, app) - {asked.node}):
            reason = _refusal(asked, app, name)
            if reason:
                yield f"{name} is connected to where {app} is told of: {reason}"


def _connected(found: Sequence[Held], app: str) -> set[str]:
    """Return the servers that are connected, inside, to one that holds something of an app."""
    return {
        each.name
        for held in found
        if app in held.apps
        for each in held.connections
        if each.sort != "client" and each.carries == "inside"
    }


def _refusal(asked: Asked, app: str, where: str) -> str:
    """Return why an app may not be told of at a node; nothing if it may."""
    decision = asked.policy.decide(Request("node", "resource:replicate", where, app=app))
    return "" if decision.allowed else f"rule {decision.rule}: {decision.reason}"
