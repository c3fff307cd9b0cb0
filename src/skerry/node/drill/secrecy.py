"""Drills on keys and identities: who holds them, and whether any lies in the open."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from skerry.kernel.errors import SkerryError
from skerry.node.drill.sockets import descendants
from skerry.node.drill.verdict import Outcome, shortened
from skerry.node.node import Node

SECRET_LENGTH_MIN = 8
LOG_BYTES_MAX = 256 << 20


async def keys(node: Node, app: str | None) -> Outcome:
    """Check where keys are, who can read them, and that no secret lies or runs in the open."""
    found = Outcome()
    status = await asyncio.to_thread((node.home.keys / "node.key").stat)
    mine = status.st_uid == os.geteuid() and status.st_mode & 0o077 == 0
    found.check(mine, "the node's key is readable by the node's user only")
    folder = await asyncio.to_thread(node.home.keys.stat)
    found.check(folder.st_mode & 0o077 == 0, "so is the folder of keys")
    secrets = _secrets(node, app)
    logs = await asyncio.to_thread(_found_in_logs, node, secrets)
    found.check(not logs, f"none of {len(secrets)} secrets stands in a log of the node")
    lines = await asyncio.to_thread(_found_in_arguments, [*secrets, node.home.token().encode()])
    found.check(not lines, "none stands in the arguments of a process")
    await _outside(node, app, found)
    return found


async def _outside(node: Node, app: str | None, found: Outcome) -> None:
    """Check that keys are held outside, and that each holder gives back and destroys for good."""
    ring = node.keyring
    names = [name for name in node.catalogue.apps if app in (None, name)]
    outside = [name for name in names if ring.is_external(name)]
    rest = [name for name in names if name not in outside]
    holders = sorted({each.holder for each in ring.keys if each.app in outside})
    found.detail |= {"held_outside": outside, "held_here": rest, "holders": holders}
    for name in holders:
        try:
            await asyncio.to_thread(ring.probe, ring.holder(name))
            found.check(True, f"{name} wraps, gives back, and destroys a key for good")
        except SkerryError as error:
            found.check(False, f"{name}: {error.what}")
    text = f"keys of {len(outside)} of {len(names)} apps are wrapped outside the node"
    found.check(bool(outside) and not rest, f"{text}; not so {shortened(rest)}" if rest else text)
    await _at_rest(node, names, found)
    if outside and not rest:
        found.lack("who can reach the holder: that it is the customer's alone is a document")
    found.answers["sov-3.1"] = 3 if outside and not rest else 1


async def _at_rest(node: Node, apps: list[str], found: Outcome) -> None:
    """Check that state on this disk is encrypted under the apps' keys, where it can be."""
    if not apps:
        return
    if not node.at_rest.able:
        found.lack("state on this disk: its file system does not encrypt it under apps' keys")
        return
    branches = [each for app in apps for each in node.catalogue.app(app).branches.values()]
    places = [node.volume.path(each.directory) for each in branches]
    kept = len(await asyncio.to_thread(node.at_rest.encrypted, places))
    text = f"state of {kept} of {len(branches)} branches is encrypted under its app's data key"
    found.check(kept == len(branches), text)


def _secrets(node: Node, app: str | None) -> list[bytes]:
    """Return the values of secrets that are long enough to be told from chance."""
    values = []
    for name, each in node.catalogue.apps.items():
        if app in (None, name):
            values += [node.vault.open(name, secret).encode() for secret in each.secrets]
    return [value for value in values if len(value) >= SECRET_LENGTH_MIN]


def _found_in_logs(node: Node, secrets: list[bytes]) -> list[str]:
    found = []
    folders = (node.home.catalogue, node.home.ledger, node.home.service("audit"))
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and path.stat().st_size <= LOG_BYTES_MAX:
                data = path.read_bytes()
                found += [path.name for secret in secrets if secret in data]
    return found


def _found_in_arguments(secrets: list[bytes]) -> list[int]:
    found = []
    for pid in (os.getpid(), *descendants(os.getpid())):
        try:
            data = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        found += [pid for secret in secrets if secret in data]
    return found


async def identity(node: Node, app: str | None) -> Outcome:
    """Check who can be known here, and by whose word."""
    found = Outcome()
    found.check(node.home.token().startswith("skn_"), "operators present a token of this node")
    found.check(True, "others present tokens that are narrowed offline, and revoked here")
    provider = node.services.known("identity")
    if provider is None or not provider.issuer:
        text = "the customer's identity provider can be used: none is configured"
        found.check(False, f"{text} (skerry docs identity)")
        return found
    problem = await provider.problem()
    text = f"the customer's identity provider can be used: {provider.issuer}"
    found.check(not problem, f"{text} ({problem})" if problem else text)
    return found
