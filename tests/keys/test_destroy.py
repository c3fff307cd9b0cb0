"""The end of a key: backups, sealed exports, parcels and secrets of the app open no more."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.backup.conftest import node_at
from tests.keys.transit_server import Transit, serving

from skerry.kernel import events
from skerry.kernel.errors import CONFLICT, KEY_DESTROYED, SkerryError
from skerry.node.audit.offline import verify
from skerry.node.audit.service import Verify
from skerry.node.log_file import LogFile
from skerry.node.node import Node
from skerry.testing.nodes import deploy, open_directory, perform

APP = '[app]\nname = "shop"\n[policy]\noutside = "encrypted-only"\n[kv.cache]\n'
VALUE = "a value that nobody else has 4711"


@pytest.fixture
def place() -> Iterator[Path]:
    with open_directory() as made:
        yield made


async def whole(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def received(node: Node, data: bytes) -> str:
    async def chunks() -> AsyncIterator[bytes]:
        yield data

    return await node.archives.receive(chunks())


async def sealed_export(node: Node) -> bytes:
    found = await perform(node, "resource.export", app="shop", sealed=True)
    return await whole(node.archives.send(found.download))


async def got(node: Node, branch: str = "main") -> str:
    return str(
        (await perform(node, "kv.get", app="shop", name="cache", branch=branch, key="k")).value
    )


async def fill(node: Node) -> None:
    await deploy(node, {"skerry.toml": APP})
    await perform(node, "kv.put", app="shop", name="cache", key="k", value=VALUE)
    await perform(node, "secret.set", app="shop", name="DOOR", value=VALUE)


async def refused(node: Node, command: str, **params: Any) -> SkerryError:
    with pytest.raises(SkerryError) as raised:
        await perform(node, command, **params)
    return raised.value


async def old_secrets(node: Node) -> list[bytes]:
    """Return every ciphertext of the secret that the catalogue's log ever held."""
    found: list[bytes] = []

    def take(body: bytes) -> None:
        event = events.event_of(body)
        if isinstance(event, events.SecretSet):
            found.append(event.sealed)

    copy = node.home.root / "copied-log"
    shutil.copytree(node.home.catalogue, copy)
    await LogFile(copy, node.clock, take).close()
    return found


@contextlib.asynccontextmanager
async def with_transit(place: Path) -> AsyncIterator[tuple[Node, Transit]]:
    with serving(place) as (transit, url, token):
        async with node_at(place / "h") as node:
            await perform(node, "keys.hold", name="bao", transit=url, token_file=str(token))
            yield node, transit


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("restic") is None, reason="restic is not installed")
async def test_after_the_key_is_destroyed_nothing_can_be_read(place: Path) -> None:
    async with with_transit(place) as (node, transit):
        await fill(node)
        await perform(node, "keys.wrap", app="shop", holder="bao")
        await perform(node, "secret.set", app="shop", name="DOOR", value=VALUE + "!")
        await perform(node, "backup.to", url=str(place / "store"))
        saved = await perform(node, "backup.now")
        assert [each.scope for each in saved] == ["node", "app:shop"]
        assert any("held outside" in each for each in saved[0].left_out)
        own = {each.scope for each in await perform(node, "backup.list", app="shop")}
        assert own == {"app:shop"}
        export = await sealed_export(node)
        assert VALUE.encode() not in export
        store = shutil.copytree(place / "store", place / "store-copied")
        ring = (node.home.service("keys") / "keys.json").read_bytes()
        assert (await refused(node, "keys.destroy", app="shop")).problem is CONFLICT
        await perform(node, "app.delete", app="shop")
        await perform(node, "backup.restore", app="shop", as_branch="main")
        assert await got(node) == VALUE, "deleting an app leaves its backups readable"
        assert node.vault.open("shop", "DOOR") == VALUE + "!"
        secrets = await old_secrets(node)
        await perform(node, "app.delete", app="shop")
        passwords = node.home.service("backup") / "cache"
        assert list(passwords.glob("*.password"))
        receipt = await perform(node, "keys.destroy", app="shop")
        assert not list(passwords.glob("*.password")), "what was derived from the key is gone"
        assert len(receipt.keys) == 1 and "every copy" in receipt.reach
        assert not transit.keys

        await everything_is_closed(node, export, secrets)
        shutil.rmtree(place / "store")
        store.rename(place / "store")
        (node.home.service("keys") / "keys.json").write_bytes(ring)
        proof = await perform(node, "audit.prove", entry=receipt.entry)
    async with node_at(place / "h") as node:
        error = await refused(node, "backup.restore", app="shop", as_branch="main")
        assert "gone" in error.why or "locked" in error.what or "opened" in error.what
        text = place / "deletion.proof"
        text.write_text(proof.text)
        found = verify(Verify(str(text), key=str(node.audit.log.verifier)))
        assert not found.findings and found.record is not None
        assert found.record["of"]["keys"][0][0] == receipt.keys[0]
        listed = await perform(node, "audit.receipts", app="shop")
        (said,) = [each.said for each in listed if each.entry == receipt.entry]
        assert said == "shop was deleted: its data keys were destroyed"


async def everything_is_closed(node: Node, export: bytes, secrets: list[bytes]) -> None:
    await refused(node, "backup.restore", app="shop", as_branch="main")
    for under in ("shop", "other"):
        await deploy(node, {"skerry.toml": APP.replace("shop", under)})
    upload = await received(node, export)
    error = await refused(node, "resource.import", app="shop", upload=upload)
    assert error.problem is KEY_DESTROYED
    own = [each for each in secrets if node.vault.is_under_data_key(each)]
    assert own
    for each in own:
        with pytest.raises(SkerryError) as raised:
            node.vault.open_sealed("shop", "DOOR", each)
        assert raised.value.problem is KEY_DESTROYED
    error = await refused(node, "backup.restore", app="shop", as_branch="rescue")
    assert error.what


async def test_an_app_with_standbys_is_not_deleted(place: Path) -> None:
    async with node_at(place / "h") as node:
        await fill(node)
        standing = events.Replication(("a", "b"), "", 1)
        event = events.AppReplicated("shop", standing)
        await node.catalogue_log.append(events.encode(event))
        node.tenure.hold("shop", lambda: True)
        error = await refused(node, "app.delete", app="shop")
        assert error.problem is CONFLICT and "stand by" in error.what
        await node.catalogue_log.append(events.encode(events.AppReplicated("shop", None)))
        await perform(node, "app.delete", app="shop")


async def test_rotation_seals_anew_and_still_opens_what_is_older(place: Path) -> None:
    (place / "usb").mkdir()
    async with node_at(place / "h") as node:
        await fill(node)
        error = await refused(node, "keys.hold", name="in", file=str(node.home.root / "x"))
        assert "home" in error.what
        await perform(node, "keys.hold", name="usb", age=str(place / "usb"), default=True)
        before = node.catalogue.app("shop").secrets["DOOR"]
        export = await sealed_export(node)
        await perform(node, "keys.rotate", app="shop")
        after = node.catalogue.app("shop").secrets["DOOR"]
        assert before != after and node.vault.open("shop", "DOOR") == VALUE
        listed = await perform(node, "keys.list", app="shop")
        assert [each.state for each in listed] == ["opens what is older", "in use"]
        upload = await received(node, export)
        await perform(node, "resource.import", app="shop", upload=upload)
        assert await got(node) == VALUE
        await perform(node, "keys.wrap", app="shop", holder="usb")
        assert len(list((place / "usb").iterdir())) == 2
        holders = {each.name: each.keys for each in await perform(node, "keys.holders")}
        assert holders == {"node": 0, "usb": 2}
        await deploy(node, {"skerry.toml": APP.replace("shop", "other")})
        upload = await received(node, await sealed_export(node))
        error = await refused(node, "resource.import", app="other", upload=upload)
        assert "sealed for the app shop" in error.what
    (place / "usb").rename(place / "away")
    async with node_at(place / "h") as node:
        error = await refused(node, "secret.set", app="shop", name="DOOR", value="x")
        assert "cannot be opened now" in error.what
        (place / "away").rename(place / "usb")
        await perform(node, "keys.unlock")
        assert node.vault.open("shop", "DOOR") == VALUE
