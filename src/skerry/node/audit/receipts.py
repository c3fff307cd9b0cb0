"""Receipts: entries of the audit log that say what was placed or deleted, for a third party.

A receipt is an entry like any other: `skerry audit prove` makes the file that shows it without this
node, under a head that other nodes have signed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from skerry.kernel.policy import Decision, Fact

RECEIPT = "receipt"
PLACEMENT = "placement"
DELETION = "deletion"
OF_CATALOGUE = frozenset(
    (
        "app-created",
        "app-deleted",
        "app-moved",
        "app-arrived",
        "branch-created",
        "branch-deleted",
        "guest-arrived",
        "resource-moved",
        "resource-returned",
        "keys-let-go",
    )
)
"""Events of the catalogue whose entries are receipts too: they name the resources by their ids."""


def of_placement(
    app: str,
    *,
    origin: str,
    to: str,
    branches: Iterable[str],
    decision: Decision,
    grade: str,
    shown_by: Iterable[Fact] = (),
    **more: Any,
) -> dict[str, Any]:
    """Return what a receipt says of an app that came to lie on a node.

    `grade` is how well it was shown then that the node lies where it says (R0 to R4), `shown_by`
    the facts that showed it.
    """
    return {
        RECEIPT: PLACEMENT,
        "app": app,
        "from": origin,
        "to": to,
        "branches": sorted(branches),
        "rules": list(decision.rules or (decision.rule,)),
        "policy": decision.policy,
        "residency": grade,
        "shown_by": [
            [each.name, _text(each), str(each.evidence), each.source, each.date, each.index]
            for each in shown_by
        ],
        **more,
    }


def of_deletion(app: str, how: str, **more: Any) -> dict[str, Any]:
    """Return what a receipt says of something of an app that is gone, and how it went."""
    return {RECEIPT: DELETION, "app": app, "how": how, **more}


def is_receipt(what: str, of: Mapping[str, Any]) -> bool:
    """Tell whether an entry says what was placed or deleted."""
    return what == RECEIPT or (what == "catalogue" and of.get("event") in OF_CATALOGUE)


def sentence(of: Mapping[str, Any]) -> str:
    """Return a receipt in a sentence."""
    if of.get(RECEIPT) == PLACEMENT:
        what = f"{of['app']}/{of['resource']}" if "resource" in of else of["app"]
        return (
            f"{what} was placed on {of['to']} from {of['from']}, residency {of['residency']}, "
            f"by {', '.join(of['rules'])}"
        )
    where = f"{of['app']}/{of['branch']}" if "branch" in of else str(of["app"])
    return f"{where} was deleted: {of['how']}"


def _text(fact: Fact) -> str:
    return fact.value if isinstance(fact.value, str) else ", ".join(fact.value)
