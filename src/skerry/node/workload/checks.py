"""What `skerry doctor` says of the ladder."""

from __future__ import annotations

from skerry.kernel.commands import Check
from skerry.node.sandbox import identities
from skerry.node.workload.classes import probe


def checks() -> list[Check]:
    """Return for every class whether it works here, and what would bring it."""
    users = identities()
    user = None if users is None else users.guest(0).uid
    found = []
    for info in probe(user):
        detail = info.summary if info.available else f"Class {info.name} cannot be had: {info.why}"
        found.append(Check(f"workloads: {info.name}", info.available, detail, info.hint))
    return found
