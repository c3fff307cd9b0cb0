"""A backup and its ways back: beside the living, onto a new machine, and tried by a drill."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from tests.backup.conftest import SHOP, STORE, backup_of, node_at

from skerry.kernel.errors import SkerryError
from skerry.node.backup import proof
from skerry.node.backup.history import Proof, Signed
from skerry.node.backup.rebuild import rebuild
from skerry.node.node import Node
from skerry.surfaces.cli import tree
from skerry.surfaces.cli.call import Call
from skerry.testing.nodes import deploy, perform

pytestmark = pytest.mark.timeout(240)


async def put(node: Node, key: str, value: str) -> None:
    await perform(node, "kv.put", app="shop", name="cache", key=key, value=value)


async def got(node: Node, key: str, branch: str = "main") -> str:
    found = await perform(node, "kv.get", app="shop", name="cache", branch=branch, key=key)
    return str(found.value)


@pytest.mark.slow
async def test_what_was_is_brought_back_beside_the_living(place: Path) -> None:
    async with node_at(place / "h") as node:
        await deploy(node, {"skerry.toml": SHOP})
        await put(node, "a", "first")
        to = await perform(node, "backup.to", url=str(place / "store"))
        assert to.store == "primary"
        first = (await perform(node, "backup.now"))[0]
        await put(node, "a", "second")
        second = (await perform(node, "backup.now", app="shop"))[0]
        assert second.scope == "app:shop"
        listed = await perform(node, "backup.list")
        assert [each.snapshot[:8] for each in listed] == [second.snapshot, first.snapshot]
        restored = await perform(
            node, "backup.restore", app="shop", as_branch="rescue", snapshot=first.snapshot
        )
        assert {each.resource for each in restored.sources} == {"cache", "db", "media"}
        assert await got(node, "a", "rescue") == "first"
        assert await got(node, "a") == "second"
        drills = await perform(node, "backup.drill", app="shop")
        assert drills.exit_code == 0
        assert drills.drills[0].counts["cache"]["keys"] == 1
        assert list(node.catalogue.app("shop").branches) == ["main", "rescue"]
        entry = await perform(node, "audit.show", entry=drills.drills[0].entry)
        assert (entry.what, entry.of["result"]) == ("backup-drill", "proven")
        stated = msgspec.convert(entry.of["proof"], Proof)
        proof.verify(Signed(stated, entry.of["key"], entry.of["signature"]))
        assert stated == backup_of(node).record.history.proofs[-1].proof
        status = await perform(node, "backup.status")
        assert status.ok, status
        await perform(node, "app.delete", app="shop")
        gone = await perform(node, "backup.restore", app="shop", as_branch="main")
        assert gone.branch == "main"
        assert await got(node, "a") == "second"
        assert status.stores[0].rpo_seconds is None
        assert status.stores[0].rto_seconds > 0
        await backup_of(node).runs.settle()
        status = await perform(node, "backup.status")
        assert status.stores[0].bytes > 0


@pytest.mark.slow
async def test_a_lost_machine_is_rebuilt_from_a_bucket_that_bounds_requests(place: Path) -> None:
    started = time.monotonic()
    async with node_at(place / "other", name="other-node") as other:
        await deploy(other, {"skerry.toml": STORE})
        door = (await perform(other, "resource.connect", app="store", name="box")).fields
        async with node_at(place / "h") as node:
            await deploy(node, {"skerry.toml": SHOP})
            await perform(node, "secret.set", app="shop", name="TOKEN", value="kept")
            await put(node, "a", "first")
            await perform(node, "branch.create", app="shop", name="pr-1")
            await perform(
                node,
                "backup.to",
                url="s3://box/skerry",
                endpoint=door["url"],
                access_key=door["access_key"],
                secret_key=door["secret_key"],
                requests_per_second=25,
            )
            await perform(node, "backup.now")
            key = (await perform(node, "backup.key")).key
            printed = (await perform(node, "backup.key", page=True)).draw(80)
            assert "<svg" in printed
            assert key[:11] in printed
            password = (await perform(node, "resource.connect", app="shop", name="media")).fields
        (place / "key.txt").write_text(key)
        words = ["restore", "--onto-new-node", "--key", str(place / "key.txt"), "--json"]
        done = await asyncio.to_thread(
            CliRunner().invoke, tree.root(), [*words, "--home", str(place / "new")], obj=Call()
        )
        assert done.exit_code == 0, done.output
        assert "home-node with 2 branches" in done.stdout
        used = await perform(other, "node.meter")
        seen = sum(each.amount for each in used if each.unit in ("class_a", "class_b"))
        assert seen > 25
        assert time.monotonic() - started >= (seen - 2) / 25, "two gates, each with a first turn"
        async with node_at(place / "new") as again:
            assert await got(again, "a") == "first"
            assert await got(again, "a", "pr-1") == "first"
            assert again.vault.open("shop", "TOKEN") == "kept"
            known = (await perform(again, "backup.status")).stores[0]
            assert known.last_backup and "no backup yet" not in " ".join(known.problems)
            same = (await perform(again, "resource.connect", app="shop", name="media")).fields
            assert same["secret_key"] == password["secret_key"]
            assert (await perform(again, "backup.now"))[0].scope == "node"
            with pytest.raises(SkerryError, match="holds something already"):
                await rebuild(place / "new", key, None, lambda *_: None)
