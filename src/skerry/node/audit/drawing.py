"""The audit log as text for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from skerry.node.audit.service import Shown, Verified


def draw_said(text: str) -> str:
    """Return text without the line end that whoever writes it adds."""
    return text.removesuffix("\n")


def draw_entry(entry: Shown) -> str:
    """Return an entry with all that it says."""
    said = msgspec.json.format(msgspec.json.encode(entry.of), indent=2).decode()
    return f"entry {entry.entry}, {entry.at}: {entry.what}\n{said}"


def draw_verdict(found: Verified) -> str:
    """Return what verifying found."""
    good = "NOT INTACT" if found.findings else "intact"
    key = found.key if found.trusted else f"{found.key} (as the file itself says: compare it)"
    lines = [f"{found.what} of {found.origin}: {good}", f"signed by   {key}"]
    if found.entries:
        lines.append(f"entries     {found.entries}, {found.since} to {found.until}")
    lines.append(f"witnesses   {', '.join(found.cosigned) or 'none'}")
    if found.record is not None:
        said = msgspec.json.format(msgspec.json.encode(found.record), indent=2)
        lines.append(said.decode())
    return "\n".join([*lines, *(f"found       {each}" for each in found.findings)])


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


def _other(of: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in of.items() if isinstance(value, str | int))


_SENTENCES = {"decision": _decision, "catalogue": _catalogue, "billed": _billed}
