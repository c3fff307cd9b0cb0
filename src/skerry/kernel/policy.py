"""The one decision point: who may do what to which resource, and where.

Every verb of every kind asks `Policy.decide` before the first byte moves, and acts only on an
allowed decision. The policy in force fills this in; nothing else changes with it.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from skerry.kernel.errors import DENIED


class Request(msgspec.Struct, frozen=True):
    """What is about to happen.

    `action` is `<noun>:<verb>` (`branch:create`, `kv:read`); `app`, `branch`, `kind` and `resource`
    say to what, as far as it is known; `where` is the node that data, a process or a job would go
    to.
    """

    principal: str
    action: str
    where: str
    app: str | None = None
    branch: str | None = None
    kind: str | None = None
    resource: str | None = None


class Decision(msgspec.Struct, frozen=True):
    """The answer, with the rule that gave it and the reason for people."""

    allowed: bool
    rule: str
    reason: str


class Policy(Protocol):
    """Decides."""

    def decide(self, request: Request) -> Decision:
        """Decide without blocking, and without side effects."""
        ...


class HereOnly:
    """Everything may be on this node, and nowhere else."""

    def __init__(self, node: str) -> None:
        self._node = node

    def decide(self, request: Request) -> Decision:
        """See `Policy.decide`."""
        if request.where == self._node:
            return Decision(True, "here-only", f"{request.where} is this node.")
        return Decision(False, "here-only", f"{request.where} is not this node ({self._node}).")


def enforce(policy: Policy, request: Request) -> Decision:
    """Return the decision if it allows; raise DENIED with its rule and reason if not."""
    decision = policy.decide(request)
    if not decision.allowed:
        raise DENIED(
            f"Policy does not allow {request.action} at {request.where}.",
            why=f"Rule {decision.rule}: {decision.reason}",
        )
    return decision
