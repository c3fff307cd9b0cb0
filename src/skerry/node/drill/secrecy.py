"""Drills on keys and identities: who holds them, and whether any lies in the open."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from skerry.node.drill.sockets import descendants
from skerry.node.drill.verdict import Outcome
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
    found.check(
        False, "keys can be kept in a store outside the node: not offered, so the node holds them"
    )
    found.answers["sov-3.1"] = 1
    return found


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
    found.check(False, "the customer's identity provider can be used: not offered")
    return found
