"""Moving an app: nothing acknowledged is lost, its passwords stay, and it goes on answering."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import json
from pathlib import Path
from typing import Any

import pytest

from skerry.federation import messages as m
from skerry.federation import receiving
from skerry.kernel.errors import KEY_DESTROYED, NODE_UNREACHABLE, SkerryError
from skerry.kernel.policy import Fact
from skerry.node.keys.sealing import MAGIC, Reader
from skerry.node.node import Node
from skerry.testing.nodes import deploy, perform

from .conftest import running
from .test_binding import bind

APP = {
    "skerry.toml": """
[app]
name = "shop"

[policy]
jurisdiction = ["EU"]

[functions.web]
entry = "web:app"
bindings = ["sessions", "db"]
secrets = ["COLOUR"]

[kv.sessions]

[sqlite.db]
""",
    "web.py": """
import json
from skerry import env

async def app(scope, receive, send):
    path = scope["path"]
    if path.startswith("/put/"):
        await env.sessions.aio.put(path[5:], "1")
        found = "ok"
    elif path == "/colour":
        found = env.COLOUR
    else:
        page = env.sessions.list()
        names = [key.name for key in page.keys]
        while page.cursor:
            page = env.sessions.list(cursor=page.cursor)
            names += [key.name for key in page.keys]
        found = json.dumps(names)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": found.encode()})
""",
}


def get(node: Node, path: str, host: str = "shop.localhost", **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", node.http_port, timeout=60)
    connection.request("GET", path, headers={"Host": host, **headers})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


async def fetch(node: Node, path: str, host: str = "shop.localhost") -> tuple[int, str]:
    return await asyncio.to_thread(get, node, path, host)


async def serve(node: Node) -> None:
    await perform(node, "secret.set", app="shop", name="COLOUR", value="teal")
    await deploy(node, APP)
    assert await fetch(node, "/put/first") == (200, "ok")


async def test_an_app_moves_with_all_it_has(top: Path) -> None:
    async with running(top / "a", "rock") as one, running(top / "b", "skerry") as other:
        await bind(one, other)
        await serve(one)
        await perform(one, "branch.create", app="shop", name="pr-1")
        assert (await fetch(one, "/put/second", "pr-1--shop.localhost"))[0] == 200
        before = await perform(one, "resource.connect", app="shop", name="sessions")

        placed = await perform(one, "federation.place", app="shop", to="skerry")

        assert placed.branches == 2
        assert placed.first_bytes > placed.last_bytes
        assert "shop" not in one.catalogue.apps
        assert one.volume.names() == []
        assert not (one.home.apps / "shop").exists()
        after = await perform(other, "resource.connect", app="shop", name="sessions")
        assert after.fields["token"] == before.fields["token"]
        for node in (other, one):
            assert await fetch(node, "/") == (200, '["first"]')
            assert await fetch(node, "/colour") == (200, "teal")
            assert await fetch(node, "/", "pr-1--shop.localhost") == (200, '["first", "second"]')
            assert await fetch(node, "/@shop/main/", "127.0.0.1") == (200, '["first"]')
        with pytest.raises(SkerryError, match="node skerry now"):
            await perform(one, "branch.list", app="shop")
        branch = await perform(other, "branch.create", app="shop", name="pr-2")
        assert branch.name == "pr-2"
        assert await fetch(one, "/", "pr-2--shop.localhost") == (200, '["first"]')


async def test_parcels_are_sealed_and_end_with_the_key(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parcels: list[bytes] = []
    unpack = receiving._unpack

    def keep(file: Path, *rest: Any) -> None:
        parcels.append(file.read_bytes())
        unpack(file, *rest)

    monkeypatch.setattr(receiving, "_unpack", keep)
    async with running(top / "a", "rock") as one, running(top / "b", "skerry") as other:
        await bind(one, other)
        await perform(one, "secret.set", app="shop", name="COLOUR", value="teal")
        await deploy(one, APP)
        key = one.keyring.current("shop")
        await perform(one, "keys.rotate", app="shop")
        placed = await perform(one, "federation.place", app="shop", to="skerry")
        receipt = await perform(one, "audit.show", entry=placed.entry)
        assert (receipt.what, receipt.of["receipt"]) == ("receipt", "placement")
        assert (receipt.of["to"], receipt.of["residency"]) == ("skerry", "R0")
        assert one.keyring.of("shop") == [] and len(other.keyring.of("shop")) == 2
        assert key is not None and other.keyring.key(key.id) == key.key
        assert other.vault.open("shop", "COLOUR") == "teal"
        assert parcels and all(each.startswith(MAGIC) for each in parcels)
        assert not any(b"web.py" in each for each in parcels)

        def opened(parcel: bytes) -> bytes:
            return Reader(io.BytesIO(parcel), lambda head: other.keyring.key(head.key)).read()

        assert any(b"web.py" in opened(each) for each in parcels)
        await perform(other, "app.delete", app="shop")
        await perform(other, "keys.destroy", app="shop")
        for each in parcels:
            with pytest.raises(SkerryError) as raised:
                opened(each)
            assert raised.value.problem is KEY_DESTROYED


async def test_a_moved_app_is_found_after_restarts_and_can_move_back(top: Path) -> None:
    async with running(top / "a", "rock") as one, running(top / "b", "skerry") as other:
        await bind(one, other)
        await serve(one)
        await perform(one, "federation.place", app="shop", to="skerry")
    async with running(top / "a", "rock") as one:
        assert (await fetch(one, "/"))[0] == 502
        async with running(top / "b", "skerry") as other:
            await perform(other, "federation.nodes")
            assert await fetch(one, "/put/more") == (200, "ok")
            await perform(other, "federation.place", app="shop", to="rock")
            for node in (one, other):
                assert await fetch(node, "/") == (200, '["first", "more"]')
            assert one.catalogue.moved == {}


async def test_writers_meanwhile_lose_nothing_and_see_no_error(top: Path) -> None:
    async with running(top / "a", "rock") as one, running(top / "b", "skerry") as other:
        await bind(one, other)
        await serve(one)
        acknowledged: list[str] = []
        stop = asyncio.Event()

        async def write(writer: int) -> None:
            number = 0
            while not stop.is_set():
                name = f"w{writer}-{number}"
                assert await fetch(one, f"/put/{name}") == (200, "ok")
                acknowledged.append(name)
                number += 1

        writers = [asyncio.create_task(write(number)) for number in range(3)]
        await asyncio.sleep(0.5)
        await perform(one, "federation.place", app="shop", to="skerry")
        await asyncio.sleep(0.5)
        stop.set()
        await asyncio.gather(*writers)
        status, text = await fetch(other, "/")
        assert status == 200
        assert set(acknowledged) | {"first"} == set(json.loads(text))


async def test_policy_decides_before_a_byte_moves(top: Path) -> None:
    async with running(top / "a", "rock") as one, running(top / "b", "liberty", "US") as other:
        await bind(one, other)
        await serve(one)
        calls = one.services.handler("federation").calls
        whole, sent = calls.ask, []

        async def ask(peer: Any, path: str, *rest: Any, **more: Any) -> Any:
            sent.append(path)
            return await whole(peer, path, *rest, **more)

        calls.ask = ask
        with pytest.raises(SkerryError) as caught:
            await perform(one, "federation.place", app="shop", to="liberty")
        assert caught.value.code == "DENIED"
        assert "jurisdiction" in caught.value.why
        assert "US" in caught.value.why
        with pytest.raises(SkerryError, match="resource:place") as caught:
            await perform(one, "federation.place", app="shop/sessions", to="liberty")
        assert caught.value.code == "DENIED" and "US" in caught.value.why
        assert sent == []
        assert one.catalogue.app("shop").keepers == set()
        assert (await fetch(one, "/"))[0] == 200


async def test_the_other_node_decides_too(top: Path) -> None:
    """A node that lies about its country to its peer is still held to its own configuration."""
    async with running(top / "a", "rock") as one, running(top / "b", "liberty", "US") as other:
        await bind(one, other)
        await serve(one)
        claimed = Fact("node/liberty", "country", "FR")
        peer = one.services.handler("federation").peers.find("liberty")
        one.placement.learn(f"peer/{peer.card.id}", [claimed])
        with pytest.raises(SkerryError) as caught:
            await perform(one, "federation.place", app="shop", to="liberty")
        assert caught.value.code == "DENIED"
        assert "shop" in one.catalogue.apps
        assert "shop" not in other.catalogue.apps
        assert await fetch(one, "/") == (200, '["first"]')


async def test_an_app_without_a_policy_stays(top: Path) -> None:
    async with running(top / "a", "rock") as one, running(top / "b", "skerry") as other:
        await bind(one, other)
        text = APP["skerry.toml"].replace('[policy]\njurisdiction = ["EU"]\n', "")
        await perform(one, "secret.set", app="shop", name="COLOUR", value="teal")
        await deploy(one, {**APP, "skerry.toml": text})
        with pytest.raises(SkerryError) as caught:
            await perform(one, "federation.place", app="shop", to="skerry")
        assert caught.value.code == "DENIED"


@pytest.mark.parametrize("reached", [True, False])
async def test_a_move_that_is_cut_off_leaves_one_owner(top: Path, reached: bool) -> None:
    """The connection breaks at the commit, before or after the other node has carried it out."""
    async with running(top / "a", "rock") as one, running(top / "b", "skerry") as other:
        await bind(one, other)
        await serve(one)
        calls = one.services.handler("federation").calls
        whole = calls.ask

        async def cut(peer: Any, path: str, *rest: Any, **more: Any) -> Any:
            if path == "/place/commit":
                if reached:
                    await whole(peer, path, *rest, **more)
                raise NODE_UNREACHABLE("The line is cut.")
            if path == "/place/outcome":
                raise NODE_UNREACHABLE("The line is cut.")
            return await whole(peer, path, *rest, **more)

        calls.ask = cut
        with pytest.raises(SkerryError, match="cut"):
            await perform(one, "federation.place", app="shop", to="skerry")
        assert (await fetch(one, "/"))[0] == 503, "nobody knows whose it is"
    async with running(top / "a", "rock") as one:
        assert one.catalogue.apps["shop"].leaving is not None
        assert (await fetch(one, "/"))[0] == 503
        async with running(top / "b", "skerry") as other:
            assert ("shop" in other.catalogue.apps) == reached
            await perform(other, "federation.nodes")
            handler = one.services.handler("federation")
            with contextlib.suppress(KeyError):
                app = one.catalogue.apps["shop"]
                await handler._placing.settle(app, handler.peers.find("skerry"))
            assert ("shop" in one.catalogue.apps) != reached
            assert await fetch(one, "/") == (200, '["first"]')


async def test_what_does_not_fit_is_refused(top: Path) -> None:
    async with running(top / "a", "rock") as one, running(top / "b", "skerry") as other:
        await bind(one, other)
        await serve(one)
        with pytest.raises(SkerryError, match="is this node"):
            await perform(one, "federation.place", app="shop", to="rock")
        with pytest.raises(SkerryError, match="no node shoal"):
            await perform(one, "federation.place", app="shop", to="shoal")
        with pytest.raises(SkerryError, match="web cannot lie") as caught:
            await perform(one, "federation.place", app="shop/web", to="skerry")
        assert caught.value.hint == "skerry place shop --to skerry"
        with pytest.raises(SkerryError, match="place for leases") as caught:
            await perform(one, "federation.place", app="shop", replicas=1)
        assert "standbys.md" in caught.value.hint
        await serve(other)
        with pytest.raises(SkerryError, match="has an app shop already"):
            await perform(one, "federation.place", app="shop", to="skerry")
        peer = one.services.handler("federation").peers.find("skerry")
        calls = one.services.handler("federation").calls
        with pytest.raises(SkerryError, match="no such move"):
            await calls.send(peer, "/place/parcel", [b'{"transfer": "x"}\n'], 10, m.Received)
        with pytest.raises(SkerryError, match="not well-formed"):
            await calls.send(peer, "/place/parcel", [b"garbage\n"], 10, m.Received)
