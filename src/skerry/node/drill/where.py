"""Drills about places: where bytes lie, what terms refuse, what has left, who can come in."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from skerry.kernel.policy import Place, Request
from skerry.kernel.terms import Outside, Residency
from skerry.node.audit.entries import decode
from skerry.node.audit.log import AuditLog
from skerry.node.drill.sockets import READABLE, sockets_of
from skerry.node.drill.verdict import Outcome, shortened
from skerry.node.node import Node

EEA = "EEA"
_LOCAL = frozenset(
    ("apfs", "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs")
)
"""File systems whose bytes lie on this machine, as far as it can tell: a disk may be remote."""


async def location(node: Node, app: str | None) -> Outcome:
    """Say where each resource's bytes lie: machine, country, file system, size."""
    found = Outcome()
    view = node.placement.view(Request("drill", "drill:location", node.name))
    country = view.attributes["country"]
    found.check(bool(country), f"the country of {node.name} is {country or 'not stated'}")
    grade = f"R{view.attributes['residency']}"
    shown = [each.name for each in view.facts.get("residency_evidence", ())]
    found.detail |= {"residency": grade, "shown_by": shown}
    found.check(True, f"that is shown as {grade}, by {', '.join(shown) or 'the word of its owner'}")
    kind = await asyncio.to_thread(_file_system, node.home.volume)
    found.check(kind in _LOCAL, f"state lies on a file system of this machine ({kind})")
    rows: list[list[Any]] = []
    for branch in node.catalogue.branches():
        if app in (None, branch.app):
            for record in branch.resources.values():
                path = node.workshop.state(branch, record)
                size = await asyncio.to_thread(_bytes_below, path)
                rows.append([branch.app, branch.name, record.kind, record.name, size])
            for name, each in sorted(branch.away.items()):
                found.lack(f"{branch.app}/{branch.name}/{name}, which is on the node {each.node}")
    found.detail["resources"] = rows[:1000]
    total = sum(row[4] for row in rows)
    found.check(True, f"{len(rows)} resources have {total:,} bytes here")
    sent = await node.audit.ask(flows)
    places = sorted({f"{each['provider']} {each['country']}".strip() for each in sent})
    found.check(True, f"allowed to leave to: {shortened(places) or 'nowhere'}")
    if view.attributes["residency"] < Residency.R2.rank:
        found.lack("a bound that others measured: skerry residency measure")
    if view.attributes["residency"] < Residency.R3.rank:
        found.lack("that a virtual disk's host is where the machine says: no hardware attests it")
    union = EEA in view.attributes["jurisdictions"]
    confined = all(_confines(node, each) for each in node.catalogue.apps)
    if union and not sent and confined and node.catalogue.apps:
        found.answers["sov-3.4"] = 5
    elif union:
        found.answers["sov-3.4"] = 4
    return found


def _confines(node: Node, app: str) -> bool:
    """Tell whether an app's terms keep everything in the EEA."""
    area: set[str] = next(set(x.members) for x in node.placement.atlas.groups if x.name == EEA)
    allowed = area | {"EU", EEA}
    return any(
        bool(terms.jurisdiction)
        and set(terms.jurisdiction) <= allowed
        and terms.outside is Outside.REFUSED
        for terms in node.placement.terms(app, "main")
    )


def _file_system(path: Path) -> str:
    """Return the type of the file system that a path is on, from the longest mount above it."""
    mounts = Path("/proc/self/mountinfo")
    if not mounts.exists():
        return "unknown"
    best, found = "", "unknown"
    for line in mounts.read_text().splitlines():
        left, _, right = line.partition(" - ")
        point = left.split()[4]
        inside = path == Path(point) or Path(point) in path.parents
        if inside and len(point) >= len(best):
            best, found = point, right.split()[0]
    return found


def _bytes_below(path: Path) -> int:
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            file = Path(folder, name)
            if file.is_file() and not file.is_symlink():
                total += file.stat().st_size
    return total


def flows(log: AuditLog) -> list[dict[str, Any]]:
    """Return what was allowed to leave, from the audit log: who, what, where, how often."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for data in log.entries():
        record = decode(data)
        of = record.of
        if record.what != "decision" or not of["allowed"] or "provider" not in of:
            continue
        names = ("app", "action", "provider", "country", "host", "encrypted")
        key = tuple(of.get(name) for name in names)
        flow = found.setdefault(
            key, {**dict(zip(names, key, strict=True)), "times": 0, "first": record.at}
        )
        flow["times"] += max(1, int(of.get("repeated", 0)))
        flow["last"] = record.at
    return list(found.values())


async def residence(node: Node, app: str | None) -> Outcome:
    """Ask for every known site of every provider whether an app's terms keep it inside."""
    found = Outcome()
    confined = [
        name
        for name in node.catalogue.apps
        if app in (None, name) and any(t.jurisdiction for t in node.placement.terms(name, "main"))
    ]
    if not confined:
        found.not_tried = "No app states a jurisdiction."
        return found
    for name in confined:
        wanted = {each for t in node.placement.terms(name, "main") for each in t.jurisdiction}
        here = node.placement.decide(Request("drill", "resource:wake", node.name, name, "main"))
        found.check(here.allowed, f"{name} is here, where its terms allow it: {here.reason}")
        outside, leaks = _sites_outside(node, name, wanted)
        text = f"{name}: {outside} sites outside are refused {shortened(leaks)}".strip()
        found.check(not leaks, text)
    return found


def _sites_outside(node: Node, app: str, wanted: set[str]) -> tuple[int, list[str]]:
    """Return how many known sites lie outside, and those that are allowed in spite of it."""
    count, leaks = 0, []
    for provider in node.placement.atlas.providers.values():
        for country in provider.sites:
            groups = node.placement.atlas.groups_of(country, node.placement.today)
            if wanted & {country, *groups}:
                continue
            count += 1
            place = Place(provider.name, country)
            request = Request("drill", "backup:send", str(place), app, "main", place=place)
            if node.placement.decide(request).allowed:
                leaks.append(str(place))
    return count, leaks


async def exchange(node: Node, app: str | None) -> Outcome:
    """List every flow to a third party that was allowed, as a data-flow table."""
    found = Outcome()
    sent = await node.audit.ask(flows)
    sent = [each for each in sent if app in (None, each["app"])]
    found.detail["flows"] = sent[:1000]
    found.check(True, f"{len(sent)} flows to third parties are in the audit log")
    named = all(each["provider"] and (each["country"] or each["host"]) for each in sent)
    found.check(named, "each names who, what, to whom and where")
    found.lack("how many bytes went: the log has decisions, not volumes")
    found.lack("protocols and protection of each flow: whoever sends documents them")
    return found


async def services(node: Node, app: str | None) -> Outcome:
    """Compare the connections that leave this node with the flows that were allowed."""
    found = Outcome()
    if not READABLE:
        found.not_tried = "This system does not tell which connections a process has."
        return found
    open_now = await asyncio.to_thread(sockets_of, os.getpid())
    listening = {each.local_port for each in open_now if each.listens}
    leaving = [each for each in open_now if each.leaves and each.local_port not in listening]
    sent = await node.audit.ask(flows)
    found.detail["connections"] = [f"{x.remote}:{x.remote_port}" for x in leaving][:1000]
    found.check(True, f"{len(sent)} services elsewhere were used, by the audit log")
    ends = shortened([f"{each.remote}:{each.remote_port}" for each in leaving])
    text = f"{len(leaving)} connections leave this node now {ends}".strip()
    found.check(not leaving or bool(sent), text)
    if leaving:
        found.lack("which of these connections belongs to which service")
    return found


async def access(node: Node, app: str | None) -> Outcome:
    """See from where this node can be administered: what listens, and for whom."""
    found = Outcome()
    if not READABLE:
        found.not_tried = "This system does not tell on which ports a process listens."
        return found
    listening = [x for x in await asyncio.to_thread(sockets_of, os.getpid()) if x.listens]
    outside = [f"{x.local}:{x.local_port}" for x in listening if x.open_to_others]
    found.check(bool(listening), f"{len(listening)} ports listen")
    mode = (await asyncio.to_thread((node.home.keys / "token").stat)).st_mode & 0o777
    found.check(mode == 0o600, f"the operator's token is readable by its user only ({mode:o})")
    if outside:
        found.lack(f"from which countries {shortened(outside)} can be reached")
    else:
        found.check(True, "only this machine's loopback: who administers is on this machine")
    return found
