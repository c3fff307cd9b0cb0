"""Drills on the life of data: it leaves whole, it goes for good, and every access is written."""

from __future__ import annotations

import asyncio
import contextlib
import io
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

from skerry.kernel.errors import KEY_DESTROYED, SkerryError
from skerry.kernel.manifest import Verb
from skerry.kernel.policy import Place, Request
from skerry.node.audit.entries import Record, decode
from skerry.node.audit.log import AuditLog
from skerry.node.audit.verify import Trust, verify_path
from skerry.node.drill.copies import changing, drill_branch, export_to, unequal
from skerry.node.drill.verdict import Outcome, shortened
from skerry.node.keys.sealing import Reader, seal
from skerry.node.node import Node


async def export(node: Node, app: str | None) -> Outcome:
    """Export every app, import it into a branch of its own, and compare what comes out again."""
    found = Outcome()
    for name in apps_of(node, app, found):
        able = [
            record.name
            for record in node.catalogue.declared(node.catalogue.branch(name, "main"))
            if node.manifests[record.kind].able(Verb.EXPORT)
        ]
        unable = [
            f"{record.name} ({record.kind})"
            for record in node.catalogue.declared(node.catalogue.branch(name, "main"))
            if not node.manifests[record.kind].able(Verb.EXPORT)
            and node.manifests[record.kind].keeps_state
        ]
        if unable:
            found.lack(f"an export of {shortened(unable)}")
        if able:
            await _round_trip(node, name, found)
    if not found.not_tried and all(step.ok for step in found.steps):
        found.answers["sov-4.1"] = 3
    return found


async def _round_trip(node: Node, app: str, found: Outcome) -> None:
    with scratch() as folder:
        async with drill_branch(node, app) as branch:
            first, one = await export_to(node, branch, folder, "one")
            _, two = await export_to(node, branch, folder, "two")
            upload = await node.archives.receive(_chunks(first))
            await node.exports.restore(branch, upload, None, lambda *_: None)
            _, three = await export_to(node, branch, folder, "three")
    size = sum(length for _, length in one.values())
    found.check(bool(one), f"{app}: {len(one)} files, {size:,} bytes in standard formats")
    moving = changing(one, two)
    wrong = unequal(one, three, moving)
    text = f"{app}: imported elsewhere and exported again, {len(one) - len(moving)} files are equal"
    found.check(not wrong, f"{text} {shortened(wrong)}".strip())
    if moving:
        found.lack(f"equality of {shortened(sorted(moving))}: each export writes them anew")


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, 1 << 20):
            yield chunk


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Yield a folder that is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="skerry-drill-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def apps_of(node: Node, app: str | None, found: Outcome) -> list[str]:
    """Return the apps to drill on; note if there is none."""
    names = [name for name, each in node.catalogue.apps.items() if "main" in each.branches]
    names = [name for name in names if app in (None, name)]
    whole = []
    for name in names:
        each = node.catalogue.app(name)
        away = each.branches["main"].away
        lies = [f"{gone} is on the node {away[gone].node}" for gone in sorted(away)]
        if each.guest is not None:
            lies.append(f"all but {each.guest.resource} is on the node {each.guest.home_name}")
        if lies:
            found.lack(f"{name}, of which {', '.join(lies)}")
        else:
            whole.append(name)
    if not whole:
        found.not_tried = "No app is here as a whole." if names else "No app is here."
    return whole


async def deletion(node: Node, app: str | None) -> Outcome:
    """Copy an app into a branch, delete the branch, and look for what is left of it."""
    found = Outcome()
    for name in apps_of(node, app, found):
        async with drill_branch(node, name) as branch:
            directory = node.volume.path(branch.directory)
            runs = [node.workshop.run(record) for record in branch.resources.values()]
            ids = {record.id for record in branch.resources.values()}
            found.check(directory.exists(), f"{name}: a copy with {len(ids)} resources was made")
        gone = not directory.exists() and not any(run.exists() for run in runs)
        found.check(gone, f"{name}: its directory and sockets are gone")
        known = [each for each in ids if node.catalogue.find(each)]
        found.check(not known, f"{name}: the catalogue knows none of its resources")
        await node.audit.settle()
        receipt = await node.audit.ask(partial(_receipt, wanted=ids))
        found.check(receipt is not None, f"{name}: entry {receipt} of the audit log names them")
    if not found.not_tried and all(step.ok for step in found.steps):
        found.answers["sov-3.3"] = 4
    await _end_of_a_key(node, app, found)
    found.lack("that the disk overwrote the blocks: no file system shows that")
    return found


async def _end_of_a_key(node: Node, app: str | None, found: Outcome) -> None:
    """Encrypt something under a key of its own, destroy the key, and try to read it."""
    ring = node.keyring
    probe = f"drill-{node.entropy.bytes(4).hex()}"
    key = await ring.ensure(probe)
    sealed = b"".join(seal(probe, key.id, key.key, [b"what is to be lost"]))
    ended = await ring.destroy(probe)
    try:
        Reader(io.BytesIO(sealed), lambda header: ring.key(header.key)).read()
        gone = False
    except SkerryError as error:
        gone = error.problem is KEY_DESTROYED
    await ring.forget_destroyed(probe)
    found.check(
        gone, f"what was encrypted under a key of its own is lost with it ({ended[0].said})"
    )
    names = [name for name in node.catalogue.apps if app in (None, name)]
    inside = [name for name in names if not ring.is_external(name)]
    if inside:
        found.lack(f"reach beyond this node: the keys of {shortened(inside)} are wrapped here")


def _receipt(log: AuditLog, wanted: set[str]) -> int | None:
    """Return the entry that tells the deletion of these resources."""
    for data in log.entries():
        record = decode(data)
        if record.of.get("event") == "branch-deleted":
            ids = {each.rpartition("/")[2] for each in record.of.get("resources", ())}
            if wanted <= ids:
                return record.n
    return None


async def logs(node: Node, app: str | None) -> Outcome:
    """Act, find the act in the audit log with who, when and what, and verify the whole log."""
    found = Outcome()
    place = Place("drill-probe", host=f"probe-{node.entropy.bytes(4).hex()}.invalid")
    request = Request("drill", "drill:probe", str(place), app or "drill", "main", place=place)
    started = node.clock.monotonic()
    node.policy.record(request, node.policy.decide(request))
    await node.audit.settle()
    waited = node.clock.monotonic() - started
    trust = Trust(key=node.audit.log.verifier)
    verdict = await node.audit.ask(lambda log: verify_path(log.directory, trust))
    text = f"{verdict.entries} entries verify against the signed head"
    if not found.check(not verdict.findings, f"{text} {shortened(verdict.findings)}".strip()):
        return found
    record = await node.audit.ask(lambda log: _probe(log, place.host))
    found.check(record is not None, f"a refusal stood in the log after {waited:.2f} s")
    if record is not None:
        of = record.of
        named = of["principal"] == "drill" and bool(record.at) and of["action"] == "drill:probe"
        found.check(named, "it names who asked, when, for what, and the rule that refused")
    witnessed = len(node.witnesses.witnesses)
    found.check(True, "any entry can be filtered, exported and proved without this node")
    if not witnessed:
        found.lack("other nodes that vouch for the head: this node has no witness")
    found.lack("every read of data by its owner's clients: decisions and changes are logged")
    found.answers["sov-3.2"] = 4
    in_area = (
        "EEA"
        in node.placement.view(Request("drill", "drill:logs", node.name)).attributes[
            "jurisdictions"
        ]
    )
    found.answers["sov-7.4"] = 4 if in_area else 3
    return found


def _probe(log: AuditLog, host: str) -> Record | None:
    """Return the entry of the decision that was made to be found."""
    for data in log.entries(max(0, log.head.size - 500)):
        record = decode(data)
        if record.of.get("host") == host:
            return record
    return None
