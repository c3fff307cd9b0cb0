"""A kind's ways out, driven towards a watched place while the decision point is listened to."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from skerry.kernel.policy import Decision, Request
from skerry.testing.lab import Lab
from skerry.testing.outside import Outside

ANYWHERE = "permit(principal, action, resource);"
"""The rule that lets everything go anywhere."""


def without(action: str) -> str:
    """Return the rule that refuses an action."""
    return f'forbid(principal, action == Action::"{action}", resource);'


@dataclass
class Asked:
    """Whether something left, and what the decision point was asked for meanwhile."""

    left: bool = False
    allowed: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)


async def leave(lab: Lab, action: str, outside: Outside, rules: str) -> Asked:
    """Drive a kind's way out under rules, towards a place that is watched."""
    way = lab.subject_type.way_out(action, outside.address)
    assert way is not None, f"{lab.manifest.name} leaves by {action}; its subject has no way out"
    app = await lab.app(policy=f"cedar = {json.dumps(rules)}", way=way)
    found = Asked()
    recorder = lab.node.placement.recorder

    def record(request: Request, decision: Decision) -> None:
        if request.app == app:
            (found.allowed if decision.allowed else found.refused).add(request.action)
        recorder(request, decision)

    lab.node.placement.recorder = record
    try:
        found.left = await (await lab.subject(app)).leave(action)
    finally:
        lab.node.placement.recorder = recorder
    return found
