"""Drills with the network cut off: a copy of every app goes on, at once and 90 days later."""

from __future__ import annotations

import asyncio
import shutil
import sys

import msgspec

from skerry.node.drill.apart import Order, Result
from skerry.node.drill.copies import changing, drill_branch, export_to, unequal
from skerry.node.drill.life import apps_of, scratch
from skerry.node.drill.verdict import Outcome, shortened
from skerry.node.node import Node

RUN_SECONDS = 300.0
OUTPUT_BYTES_MAX = 64 << 20
DAYS = 90


async def disconnect(node: Node, app: str | None) -> Outcome:
    """Run a copy of each app on a node without any network, and compare what it holds."""
    found = await _apart(node, app, (0,))
    found.lack("this node itself with its lines cut: a copy of it was, with the same software")
    if not found.not_tried and all(step.ok for step in found.steps):
        found.answers["sov-1.8"] = 5
    return found


async def reconnect(node: Node, app: str | None) -> Outcome:
    """Let the copy sleep, and start it 90 days later: certificates, logs and state must hold."""
    found = await _apart(node, app, (0, DAYS))
    found.lack("installing the updates of 90 days: they are not here")
    return found


async def _apart(node: Node, app: str | None, days: tuple[int, ...]) -> Outcome:
    found = Outcome()
    tried = 0
    for name in apps_of(node, app, found):
        spec = node.catalogue.spec(node.catalogue.branch(name, "main"))
        if spec.requirements is not None:
            found.lack(f"{name}: it requires packages, which come from an index")
            continue
        tried += 1
        await _one(node, name, days, found)
        if found.not_tried:
            return found
    if not tried and not found.not_tried:
        found.not_tried = "; ".join(found.lacking)
    return found


async def _one(node: Node, app: str, days: tuple[int, ...], found: Outcome) -> None:
    version = node.catalogue.branch(app, "main").version
    with scratch() as folder:
        async with drill_branch(node, app) as branch:
            _, one = await export_to(node, branch, folder, "one")
            archive, two = await export_to(node, branch, folder, "two")
        await asyncio.to_thread(archive.rename, folder / "state.tar")
        code = node.workshop.code(app, version)
        await asyncio.to_thread(shutil.copytree, code, folder / "code")
        if node.home.facts.exists():
            (folder / "h").mkdir()
            await asyncio.to_thread(shutil.copy, node.home.facts, folder / "h")
        secrets = node.catalogue.app(app).secrets
        order = Order(
            folder=str(folder),
            node=node.name,
            country=node.config.country,
            owner=node.config.owner,
            app=app,
            kinds=tuple(each.package for each in node.manifests.values()),
            secrets={name: node.vault.open(app, name) for name in secrets},
            days=days,
        )
        result = await _ask(order)
    if not result.isolated:
        found.not_tried = "This machine lets no process have a network namespace of its own."
        return
    found.check(not result.reached, "no route leads out of the copy's network")
    if result.failure:
        found.check(False, f"{app}: {result.failure}")
        return
    moving = changing(one, two)
    for ahead, digests in zip(days, result.runs, strict=True):
        differing = set(unequal(one, digests, moving))
        renamed = {x for x in differing if digests.get(x, ("", -1))[1] == one.get(x, ("", -2))[1]}
        wrong = sorted(differing - renamed)
        when = f"{ahead} days later" if ahead else "cut off"
        text = f"{app}: {when} it started, woke, and holds the same {len(one)} files"
        found.check(not wrong, f"{text} {shortened(wrong)}".strip())
        if renamed:
            names = shortened(sorted(renamed))
            found.lack(f"equality of {names}: as long, with names derived from another node's key")


async def _ask(order: Order) -> Result:
    """Run the node apart; what it takes longer than `RUN_SECONDS` is a failure."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "skerry.node.drill.apart",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=OUTPUT_BYTES_MAX,
    )
    try:
        async with asyncio.timeout(RUN_SECONDS):
            output, errors = await child.communicate(msgspec.json.encode(order))
    except TimeoutError:
        return Result(isolated=True, failure=f"it took longer than {RUN_SECONDS:g} s")
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    try:
        return msgspec.json.decode(output.strip().rpartition(b"\n")[2], type=Result)
    except msgspec.DecodeError:
        last = errors.decode(errors="replace").strip().splitlines()[-1:]
        return Result(isolated=True, failure=f"it ended with {child.returncode}: {last}")
