"""A disk that is full is told as such; nothing acknowledged is lost, and room heals everything."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from skerry.app import kinds
from skerry.kernel.errors import SkerryError
from skerry.kernel.subject import Place, Subject
from skerry.node.node import Node
from skerry.node.volume import detach
from skerry.testing.nodes import deploy, open_directory, pack, perform, running_node

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
NAMES = ("kv", "sqlite", "bucket")
KINDS = {name: kinds()[name] for name in NAMES}
TOML = '[app]\nname = "news"\n' + "".join(f"[{name}.r{name}]\n" for name in NAMES)


@contextlib.contextmanager
def small_disk() -> Iterator[Path]:
    with open_directory() as place:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=711", "x", place], check=True)
        try:
            yield place
        finally:
            detach(place)


def fill(disk: Path) -> None:
    descriptor = os.open(disk / "fill", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        while True:
            os.write(descriptor, bytes(4096))
    except OSError:
        os.close(descriptor)


async def subject(node: Node, kind: str) -> Subject:
    found = await perform(node, "resource.connect", name=f"r{kind}", app="news", branch="main")
    place = Place("news", "main", f"r{kind}", found.fields, node.http_port, node.ports)
    made: Subject = KINDS[kind].load(KINDS[kind].subject)(place)
    return made


async def refused(node: Node, command: str, **params: Any) -> None:
    fill(node.home.root.parent)
    with pytest.raises(SkerryError) as caught:
        await perform(node, command, **params)
    assert caught.value.code == "DISK_FULL", caught.value


async def test_a_full_disk_is_told_and_room_heals_everything() -> None:
    with small_disk() as disk:
        async with running_node(KINDS, disk / "h") as node:
            await deploy(node, {"skerry.toml": TOML, "large": "x" * 100_000})
            subjects = {name: await subject(node, name) for name in NAMES}
            kept = {name: {"a": "1"} for name in NAMES}
            for each in subjects.values():
                await each.put("a", "1")
            upload = await node.archives.receive(
                pieces(pack({"skerry.toml": TOML, "large": "y" * 200_000}))
            )
            await refused(node, "branch.create", app="news", name="pr")
            await refused(node, "app.deploy", upload=upload, branch="main")
            await refused(node, "secret.set", app="news", name="KEY", value="x")
            refusals: dict[str, str] = {}
            for name, each in subjects.items():
                try:
                    await each.put("b", "2" * 20_000)
                    kept[name]["b"] = "2" * 20_000
                except Exception as error:
                    refusals[name] = str(error)
            assert "bucket" in refusals, "there was no room for it"
            assert all("full" in said.lower() for said in refusals.values()), refusals
            assert await perform(node, "node.status")
            assert any(not each.ok for each in await perform(node, "node.doctor"))
            await perform(node, "branch.sleep", app="news", branch="main")
            fill(disk)
            place = {"app": "news", "branch": "main", "name": "rkv"}
            found = (await perform(node, "resource.connect", **place)).fields
            assert await asyncio.to_thread(status_of, found["url"], found["token"]) == 507
            (disk / "fill").unlink()
            for name, each in subjects.items():
                assert await each.get() == kept[name]
                await each.put("c", "3")
            assert list(node.catalogue.app("news").branches) == ["main"]
            assert len(node.volume.names()) == 1
            await perform(node, "branch.create", app="news", name="pr")
            assert await node.logbook.tail("news", "main", None, 100) is not None
            assert node.ledger.balanced()


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    yield data


def status_of(url: str, token: str) -> int:
    """Return what the wire of a key-value resource answers to whom it lets in."""
    keys = f"{url}/client/v4/accounts/news/storage/kv/namespaces"
    asked = urllib.request.Request(keys, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(asked) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
