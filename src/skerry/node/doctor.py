"""The doctor: what this machine allows, what is weaker without it, and how the node is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from skerry.kernel.commands import Check
from skerry.kernel.errors import SkerryError
from skerry.kernel.log import Log
from skerry.kernel.manifest import Manifest
from skerry.kernel.service import Service
from skerry.node.node import Node
from skerry.node.public import HINT, is_here
from skerry.node.sandbox import abilities
from skerry.node.volume import probe

FREE_BYTES_MIN = 1024**3


def examine(node: Node) -> list[Check]:
    """Return every finding; it reads disks, so call it in a thread."""
    return [*_machine(), _http(node), *_volume(node), *_logs(node), *_declared(node)]


def _machine() -> Iterator[Check]:
    for ability in abilities():
        yield Check(ability.name, ability.ok, ability.detail, "" if ability.ok else ability.without)


def _http(node: Node) -> Check:
    if is_here(node.host):
        return Check("http", True, f"listens on {node.host}, which is this machine alone")
    detail = f"listens on {node.host} without TLS: who is on the way can read passwords and tokens"
    return Check("http", False, detail, HINT)


def _volume(node: Node) -> Iterator[Check]:
    cheap = node.volume.shares_blocks
    detail = f"{node.volume.driver} in {node.home.volume}"
    better = "" if node.at_rest.able else " As root: skerry volume create"
    hint = "" if cheap else f"Branches are plain copies here.{better}"
    yield Check("volume", cheap, detail, hint)
    for finding in probe(node.home.volume):
        yield Check(f"volume {finding.driver}", finding.ok, finding.detail)
    yield _at_rest(node)
    free = shutil.disk_usage(node.home.volume).free
    yield Check(
        "free space",
        free >= FREE_BYTES_MIN,
        f"{free // 2**20} MiB",
        "" if free >= FREE_BYTES_MIN else "Delete branches or versions, or add disk.",
    )


def _at_rest(node: Node) -> Check:
    if not node.at_rest.able:
        detail = "not encrypted by Skerry: the file system does not encrypt directories"
        hint = "As root, for a new home: skerry volume create --encrypted. Or LUKS beneath."
        return Check("state at rest", False, detail, hint)
    places = [node.volume.path(each) for each in node.catalogue.directories()]
    kept = len(node.at_rest.encrypted(places))
    ok = kept == len(places)
    hint = "" if ok else "skerry keys encrypt"
    return Check("state at rest", ok, f"{kept} of {len(places)} branches are encrypted", hint)


def _logs(node: Node) -> Iterator[Check]:
    for name, log in (("catalogue log", node.catalogue_log), ("ledger log", node.ledger_log)):
        try:
            yield Check(name, True, f"{_count(log)} entries, chain intact")
        except SkerryError as error:
            yield Check(name, False, f"{error.what} {error.why}", "skerry restore --onto-new-node")
    yield from _audit(node)
    balanced = node.ledger.balanced()
    yield Check(
        "ledger of record", balanced, "debits equal credits" if balanced else "out of balance"
    )


def _audit(node: Node) -> Iterator[Check]:
    yield Check("audit log", True, f"{node.audit.log.head.size} entries, signed by this node")
    config = node.config
    stated = bool(config.country and config.owner)
    said = f"{config.owner or 'an owner not stated'}, {config.country or 'a country not stated'}"
    missing = "" if stated else "Say owner and country in config.toml: policies ask for them."
    yield Check("place", stated, said, missing)


def _count(log: Log) -> int:
    return sum(1 for _ in log.read())


def _declared(node: Node) -> Iterator[Check]:
    declared: list[Manifest | Service] = [*node.manifests.values()]
    declared += node.services.declared.values()
    for each in declared:
        if each.checks:
            found: list[Check] = each.load(each.checks)()
            yield from found
