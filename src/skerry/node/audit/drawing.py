"""Entries of the audit log as sentences for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skerry.node.audit import receipts


def sentence(what: str, of: Mapping[str, Any]) -> str:
    """Return what an entry says, in a sentence."""
    return _SENTENCES.get(what, _other)(of)


def _decision(of: Mapping[str, Any]) -> str:
    state = "allowed" if of["allowed"] else "refused"
    about = "/".join(str(of[name]) for name in ("app", "branch", "resource") if name in of)
    times = f", {of['repeated']} times more" if "repeated" in of else ""
    rules = ", ".join(of["rules"])
    return f"{of['action']} of {about or 'the node'} at {of['place']} {state} by {rules}{times}"


def _catalogue(of: Mapping[str, Any]) -> str:
    where = f"{of['app']}/{of['branch']}" if "branch" in of else str(of["app"])
    what = str(of["event"]).replace("-", " ")
    resources = f" with {', '.join(of['resources'])}" if of.get("resources") else ""
    version = f" version {of['version']}" if "version" in of else ""
    return f"{what}: {where}{version}{resources}"


def _billed(of: Mapping[str, Any]) -> str:
    rows = [f"{account} {amount:,} {unit}" for account, unit, amount in of["growth"][:3]]
    more = len(of["growth"]) - len(rows)
    return "; ".join(rows) + (f"; and {more} more" if more > 0 else "")


def _login(of: Mapping[str, Any]) -> str:
    if of["event"] == "out":
        return f"{of['name']} logged out"
    if of["event"] == "refused":
        return f"{of['name']} was not let in by {of['issuer']}: in no group that may"
    return f"{of['name']} logged in by {of['issuer']}, in the group {of['group']}"


def _other(of: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in of.items() if isinstance(value, str | int))


_SENTENCES = {
    "decision": _decision,
    "catalogue": _catalogue,
    "billed": _billed,
    "login": _login,
    receipts.RECEIPT: receipts.sentence,
}
