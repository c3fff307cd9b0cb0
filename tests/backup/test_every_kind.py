"""Every kind that says it is backed up comes back as it was, beside the living one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.backup.conftest import node_at

from skerry.app import kinds
from skerry.kernel.commands import Connections
from skerry.kernel.manifest import Manifest, Verb
from skerry.kernel.subject import Place, Subject
from skerry.node.node import Node
from skerry.testing.nodes import deploy, perform

KINDS = {
    name: manifest
    for name, manifest in kinds().items()
    if manifest.able(Verb.BACKUP) and manifest.keeps_state
}


async def subject_of(node: Node, manifest: Manifest, branch: str) -> Subject:
    connections = await perform(
        node, "resource.connect", name=manifest.name, app="all", branch=branch
    )
    assert isinstance(connections, Connections)
    subject: type[Subject] = manifest.load(manifest.subject)
    return subject(
        Place(
            app="all",
            branch=branch,
            name=manifest.name,
            fields=connections.fields,
            http_port=node.http_port,
            ports=node.ports,
        )
    )


async def held(node: Node, branch: str) -> dict[str, dict[str, str]]:
    found = {}
    for name, manifest in KINDS.items():
        subject = await subject_of(node, manifest, branch)
        found[name] = await subject.get()
        await subject.close()
    return found


async def put(node: Node, key: str, value: str) -> None:
    for manifest in KINDS.values():
        subject = await subject_of(node, manifest, "main")
        await subject.put(key, value)
        await subject.close()


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_every_kind_comes_back(place: Path) -> None:
    subjects = {name: each.load(each.subject) for name, each in KINDS.items()}
    tables = "\n".join(f"[{name}.{name}]\n{each.settings}" for name, each in subjects.items())
    files = {path: text for each in subjects.values() for path, text in each.files.items()}
    async with node_at(place / "h") as node:
        await deploy(node, {"skerry.toml": f'[app]\nname = "all"\n{tables}\n', **files})
        await put(node, "one", "first")
        before = await held(node, "main")
        assert all(before.values())
        await perform(node, "backup.to", url=str(place / "store"))
        saved = (await perform(node, "backup.now", app="all"))[0]
        await put(node, "two", "second")
        restored = await perform(
            node, "backup.restore", app="all", as_branch="rescue", snapshot=saved.snapshot
        )
        assert {each.resource for each in restored.sources} == set(KINDS)
        assert await held(node, "rescue") == before
        assert await held(node, "main") != before
        drill = (await perform(node, "backup.drill", app="all")).drills[0]
        assert {name for name, counts in drill.counts.items() if sum(counts.values())} == set(KINDS)
