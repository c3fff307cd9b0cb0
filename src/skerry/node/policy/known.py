"""What a node knows by itself: its own facts, and every action that can be asked for."""

from __future__ import annotations

from collections.abc import Iterable

from skerry.kernel.commands import commands
from skerry.kernel.manifest import Manifest
from skerry.kernel.policy import Fact
from skerry.kernel.service import Service
from skerry.node.home import NodeConfig

LEAVING = (
    "app:place",
    "app:receive",
    "backup:send",
    "market:bid",
    "resource:place",
    "resource:replicate",
    "resource:wake",
)
"""Actions that no command is named after: what the node asks when something goes to a place."""


def known_actions(manifests: Iterable[Manifest], services: Iterable[Service]) -> frozenset[str]:
    """Return every action that a rule may name: each is asked for somewhere, or it would be a door
    that looks shut.
    """
    kinds = list(manifests)
    found = {command.action for command in commands(kinds, services).values()}
    found |= {action for manifest in kinds for action in manifest.leaves}
    return frozenset(found | set(LEAVING))


def reading_actions(manifests: Iterable[Manifest], services: Iterable[Service]) -> frozenset[str]:
    """Return the actions of commands that change nothing."""
    found = commands(list(manifests), services).values()
    return frozenset(command.action for command in found if not command.mutates)


def own_facts(node: str, config: NodeConfig, today: str) -> list[Fact]:
    """Return what the operator's `config.toml` says of the node itself."""
    said = {"country": config.country, "owner": config.owner}
    return [
        Fact(f"node/{node}", name, value, source="config.toml of the node", date=today)
        for name, value in said.items()
        if value
    ]
