"""What goes wrong: a clear error, nothing lost, and the next run heals."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.backup import killed
from tests.backup.conftest import SHOP, STORE, node_at

from skerry.kernel.errors import SkerryError
from skerry.node.backup.rebuild import rebuild
from skerry.node.node import Node
from skerry.testing.faults import fault_proxy
from skerry.testing.nodes import deploy, perform

pytestmark = pytest.mark.timeout(240)

ROOT = Path(__file__).resolve().parents[2]


async def fill(node: Node, values: int = 20) -> None:
    await deploy(node, {"skerry.toml": SHOP})
    for number in range(values):
        value = os.urandom(2000).hex()
        await perform(node, "kv.put", app="shop", name="cache", key=f"k{number}", value=value)


async def proven(node: Node) -> None:
    drills = await perform(node, "backup.drill", app="shop")
    assert drills.exit_code == 0, drills
    assert drills.drills[0].counts["cache"]["keys"] == 20


def packs(store: Path) -> list[Path]:
    return sorted((store / "data").glob("*/*"), key=lambda each: each.stat().st_size)


def flip(path: Path) -> None:
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0x40
    path.write_bytes(data)


@pytest.mark.slow
async def test_killed_at_every_step_the_next_run_heals(place: Path) -> None:
    home, store = place / "h", place / "store"
    async with node_at(home) as node:
        await fill(node)
        directory = node.catalogue.branch("shop", "main").directory
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "tests.backup.killed", str(home), str(store)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    ends = json.loads(done.stdout)
    assert ends == dict.fromkeys(killed.POINTS, -9), done.stderr[-3000:]
    async with node_at(home) as node:
        assert node.volume.names() == [directory]
        await perform(node, "backup.now")
        await perform(node, "backup.check", everything=True)
        await proven(node)
        assert node.volume.names() == [directory]
        assert not (home / "services" / "backup" / "cut").exists()
        status = await perform(node, "backup.status")
        assert status.ok, status


@pytest.mark.slow
async def test_a_wrong_key_opens_nothing_and_changes_nothing(place: Path) -> None:
    async with node_at(place / "h") as node:
        await fill(node)
        await perform(node, "backup.to", url=str(place / "store"))
        await perform(node, "backup.now")
        key = (await perform(node, "backup.key")).key
    slip = key.replace(key[9], "7" if key[9] != "7" else "8", 1)
    with pytest.raises(SkerryError, match=r"damaged|no recovery key"):
        await rebuild(place / "new", slip, None, lambda *_: None)
    async with node_at(place / "two", name="other-node") as other:
        await deploy(other, {"skerry.toml": SHOP})
        with pytest.raises(SkerryError, match="does not open") as caught:
            await perform(other, "backup.to", url=str(place / "store"))
        assert caught.value.code == "UNAUTHENTICATED"
        assert "wrong password" in caught.value.why
        assert (await perform(other, "backup.status")).stores == ()
        await perform(other, "backup.to", url=str(place / "store"), key=key)
        assert len(await perform(other, "backup.list")) == 1


@pytest.mark.slow
async def test_a_flipped_byte_is_found_and_healed(place: Path) -> None:
    store = place / "store"
    async with node_at(place / "h") as node:
        await fill(node)
        await perform(node, "backup.to", url=str(store))
        await perform(node, "backup.now")
        flip(packs(store)[-1])
        drills = await perform(node, "backup.drill", app="shop")
        assert drills.exit_code == 1
        assert drills.drills[0].problem.startswith("CORRUPT")
        status = await perform(node, "backup.status")
        assert status.exit_code == 1
        assert any("CORRUPT" in each for each in status.stores[0].problems)
        assert list(node.catalogue.app("shop").branches) == ["main"]
        with pytest.raises(SkerryError, match="are damaged") as caught:
            await perform(node, "backup.check", everything=True)
        assert caught.value.hint == "skerry backup check --repair"
        with pytest.raises(SkerryError, match="are damaged"):
            await perform(node, "backup.restore", app="shop", as_branch="rescue")
        repaired = await perform(node, "backup.check", repair=True)
        assert "1 damaged packs" in repaired.what
        await proven(node)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small file system")
async def test_a_full_store_is_said_and_the_next_run_heals(place: Path) -> None:
    store = place / "full"
    store.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(store)], check=False
    )
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        async with node_at(place / "h") as node:
            await fill(node, 200)
            await perform(node, "backup.to", url=str(store / "r"))
            with pytest.raises(SkerryError, match="is full") as caught:
                await perform(node, "backup.now")
            assert caught.value.code == "DISK_FULL"
            problems = (await perform(node, "backup.status")).stores[0].problems
            assert any("is full" in each for each in problems)
            subprocess.run(["mount", "-o", "remount,size=60m", str(store)], check=True)
            await perform(node, "backup.now")
            await perform(node, "backup.check", everything=True)
    finally:
        subprocess.run(["umount", "-l", str(store)], check=True)


@pytest.mark.slow
async def test_a_dropped_connection_is_survived_and_a_dead_store_is_said(place: Path) -> None:
    async with node_at(place / "other", name="other-node") as other:
        await deploy(other, {"skerry.toml": STORE})
        door = (await perform(other, "resource.connect", app="store", name="box")).fields
        async with fault_proxy("127.0.0.1", other.http_port) as proxy:
            home = place / "h"
            async with node_at(home) as node:
                await fill(node)
                await perform(
                    node,
                    "backup.to",
                    url="s3://box/skerry",
                    endpoint=f"http://127.0.0.1:{proxy.listening}",
                    access_key=door["access_key"],
                    secret_key=door["secret_key"],
                )
                proxy.cut_after = 60_000
                cutting = asyncio.create_task(mend(proxy))
                await perform(node, "backup.now")
                await cutting
                assert proxy.cuts >= 1
                await proven(node)
        async with node_at(place / "h") as node:
            with pytest.raises(SkerryError, match="does not answer") as caught:
                await perform(node, "backup.now")
            assert caught.value.code == "STORE_UNREACHABLE"
            assert (await perform(node, "backup.status")).exit_code == 1


async def mend(proxy: object) -> None:
    while not getattr(proxy, "cuts", 0):
        await asyncio.sleep(0.01)
    proxy.cut_after = None  # type: ignore[attr-defined]
