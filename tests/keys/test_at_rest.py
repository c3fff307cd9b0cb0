"""State on the disk is encrypted under its app's data key: locked, unlocked, and lost with it."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.backup.conftest import node_at

from skerry.kernel.errors import KEY_DESTROYED, STORE_UNREACHABLE, UNSUPPORTED, SkerryError
from skerry.node.keys.at_rest import AtRest
from skerry.node.node import Node
from skerry.node.volume import attach, create_image, detach, encryption, open_volume
from skerry.node.volume.image import FILESYSTEMS
from skerry.testing.nodes import deploy, open_directory, perform

APP = '[app]\nname = "shop"\n[kv.cache]\n'
VALUE = "a value that nobody else has 4711"
MIB = 1 << 20


@pytest.fixture
def home() -> Iterator[Path]:
    """Give the home of a node whose volume encrypts."""
    if os.geteuid() != 0 or not Path("/dev/loop-control").exists():
        pytest.skip("only root can mount an image")
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    if shutil.which(FILESYSTEMS["ext4"].make[0], path=path) is None:
        pytest.skip("e2fsprogs is not installed")
    with open_directory() as place:
        made = place / "h"
        made.mkdir(mode=0o711)
        create_image(made / "volume.img", 96 * MIB, "ext4")
        attach(made / "volume.img", made / "volume")
        try:
            if not encryption.is_offered(made / "volume"):
                pytest.skip("this kernel does not encrypt directories")
            yield made
        finally:
            detach(made / "volume")


def test_a_copy_has_the_key_of_its_source(home: Path) -> None:
    volume = open_volume(home / "volume")
    key = encryption.add_key(volume.directory, bytes(range(64)))
    (volume.create("main", key) / "letters").mkdir()
    (volume.path("main") / "letters/one").write_text(VALUE)
    copy = volume.clone("main", "copy")
    assert (copy / "letters/one").read_text() == VALUE
    assert encryption.protection_of(copy) == encryption.protection_of(copy / "letters") == key
    assert encryption.protection_of(volume.create("plain")) is None
    other = encryption.add_key(volume.directory, bytes(range(1, 65)))
    anew = volume.clone("main", "anew", key=other, immutable=lambda _: True)
    assert (anew / "letters/one").read_text() == VALUE
    assert encryption.protection_of(anew / "letters") == other, "no link to what another key opens"
    encryption.remove_key(volume.directory, other)
    volume.delete("anew")
    encryption.remove_key(volume.directory, key)
    assert "letters" not in [each.name for each in copy.iterdir()]
    with pytest.raises(SkerryError) as raised:
        volume.clone("main", "another")
    assert raised.value.problem is STORE_UNREACHABLE
    volume.delete("copy")
    assert volume.names() == ["main", "plain"], "what nobody can read can be deleted"
    assert encryption.add_key(volume.directory, bytes(range(64))) == key
    assert (volume.path("main") / "letters/one").read_text() == VALUE


def directories(node: Node) -> list[Path]:
    return [node.volume.path(each) for each in node.catalogue.directories()]


async def got(node: Node, branch: str = "main") -> str:
    found = await perform(node, "kv.get", app="shop", name="cache", branch=branch, key="k")
    return str(found.value)


async def problem(node: Node, branch: str) -> object:
    with pytest.raises(SkerryError) as raised:
        await got(node, branch)
    return raised.value.problem


@pytest.mark.slow
async def test_state_opens_with_its_key_and_ends_with_it(home: Path) -> None:
    stick = home.parent / "stick"
    stick.mkdir()
    async with node_at(home) as node:
        assert node.at_rest.able
        await perform(node, "keys.hold", name="stick", file=str(stick), default=True)
        await deploy(node, {"skerry.toml": APP})
        await perform(node, "kv.put", app="shop", name="cache", key="k", value=VALUE)
        await perform(node, "branch.create", app="shop", name="two")
        places = directories(node)
        assert len(node.at_rest.encrypted(places)) == len(places) == 2
    os.sync()
    assert VALUE.encode() not in (home / "volume.img").read_bytes()
    assert not any((place / "cache").exists() for place in places), "locked while nothing runs"
    away = stick.rename(stick.with_name("away"))
    async with node_at(home) as node:
        assert await problem(node, "main") is STORE_UNREACHABLE
        away.rename(stick)
        await perform(node, "keys.unlock")
        assert await got(node) == await got(node, "two") == VALUE
        before = directories(node)
        done = await perform(node, "keys.rotate", app="shop")
        assert "the state of 2 branches is encrypted anew" in done.message
        after = directories(node)
        assert not {*before} & {*after} and not any(each.exists() for each in before)
        used = await node.at_rest.key_of("shop")
        assert all(encryption.protection_of(each) == used for each in after)
        assert await got(node) == await got(node, "two") == VALUE
        assert "0 branches" in (await perform(node, "keys.encrypt")).message
        await perform(node, "branch.create", app="shop", name="three", source="two")
        assert await got(node, "three") == VALUE
        places = directories(node)
        for name in ("main", "two", "three"):
            await perform(node, "branch.sleep", app="shop", branch=name)
        await node.keyring.destroy("shop")
        assert await problem(node, "two") is KEY_DESTROYED
        assert AtRest(node.home.volume, node.keyring).encrypted(places) == places


@pytest.mark.slow
async def test_state_that_came_in_the_clear_is_encrypted_at_the_start(home: Path) -> None:
    """As a rebuilt home has it: its backup is unpacked before any key of the ring is open."""
    async with node_at(home) as node:
        await deploy(node, {"skerry.toml": APP})
        await perform(node, "kv.put", app="shop", name="cache", key="k", value=VALUE)
        await perform(node, "branch.sleep", app="shop", branch="main")
        (place,) = directories(node)
        clear = place.with_name("clear")
        shutil.copytree(place, clear)
        give_as(place, clear)
        shutil.rmtree(place)
    clear.rename(place)
    assert encryption.protection_of(place) is None
    async with node_at(home) as node:
        async with asyncio.timeout(20):
            while directories(node) == [place] or place.exists():
                await asyncio.sleep(0.05)
        (found,) = directories(node)
        assert encryption.protection_of(found) == await node.at_rest.key_of("shop")
        assert await got(node) == VALUE
        entries = await perform(node, "audit.entries")
        assert any("state encrypted" in str(each) for each in entries)


def give_as(source: Path, target: Path) -> None:
    """Give copies the owners and modes of what they were made from."""
    for each in (source, *source.rglob("*")):
        status, copy = each.lstat(), target / each.relative_to(source)
        os.lchown(copy, status.st_uid, status.st_gid)
        if not copy.is_symlink():
            copy.chmod(status.st_mode & 0o7777)


async def test_what_cannot_encrypt_says_so() -> None:
    with open_directory() as place:
        async with node_at(place / "h") as node:
            await deploy(node, {"skerry.toml": APP})
            with pytest.raises(SkerryError) as raised:
                await perform(node, "keys.encrypt", app="shop")
    assert raised.value.problem is UNSUPPORTED
