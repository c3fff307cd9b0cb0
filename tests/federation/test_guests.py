"""One resource on another node: its functions use it from here, and its clients notice nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from skerry.kernel.errors import NODE_UNREACHABLE, SkerryError
from skerry.node.node import Node
from skerry.testing.nodes import deploy, perform

from .conftest import running
from .test_binding import bind
from .test_placing import APP, fetch, get, serve

AWAY = {"app": "shop/sessions", "to": "skerry"}
BACK = {"app": "shop/sessions", "to": "rock"}


@contextlib.asynccontextmanager
async def pair(top: Path) -> AsyncIterator[tuple[Node, Node]]:
    async with running(top / "a", "rock") as one, running(top / "b", "skerry") as other:
        await bind(one, other)
        await serve(one)
        yield one, other


async def refused(node: Node, command: str, match: str | None, **params: Any) -> SkerryError:
    with pytest.raises(SkerryError, match=match) as caught:
        await perform(node, command, **params)
    return caught.value


def rest(node: Node, fields: dict[str, str], path: str = "", **headers: str) -> tuple[int, Any]:
    """Ask as an outside client of the wire does: by the token alone."""
    place = f"/client/v4/accounts/shop/storage/kv/namespaces/{fields['namespace_id']}/keys{path}"
    headers = {"Authorization": f"Bearer {fields['token']}", **headers}
    status, text = get(node, place, **{"host": "127.0.0.1", **headers})
    return status, [each["name"] for each in json.loads(text)["result"]]


async def test_a_resource_moves_and_comes_back(top: Path) -> None:
    async with pair(top) as (one, other):
        await perform(one, "branch.create", app="shop", name="pr-1")
        assert (await fetch(one, "/put/second", "pr-1--shop.localhost"))[0] == 200
        before = await perform(one, "resource.connect", app="shop", name="sessions")

        placed = await perform(one, "federation.place", **AWAY)

        assert (placed.resource, placed.node, placed.branches) == ("sessions", "skerry", 2)
        main = one.catalogue.branch("shop", "main")
        assert not (one.volume.path(main.directory) / "sessions").exists()
        assert (one.volume.path(main.directory) / "db").exists()
        assert list(other.home.apps.rglob("*.py")) == [], "the code stays"
        assert other.catalogue.app("shop").secrets == {}
        assert await fetch(one, "/") == (200, '["first"]')
        assert await fetch(one, "/put/more") == (200, "ok")
        assert await fetch(one, "/colour") == (200, "teal")
        assert await fetch(one, "/", "pr-1--shop.localhost") == (200, '["first", "second"]')
        for node in (one, other):
            after = await perform(node, "resource.connect", app="shop", name="sessions")
            assert after.fields["token"] == before.fields["token"]
            assert await asyncio.to_thread(rest, node, before.fields) == (200, ["first", "more"])
            for host in ("sessions--main--shop.localhost", "127.0.0.1"):
                prefix = "" if "shop" in host else "/@shop/main/@sessions"
                path = f"{prefix}/client/v4/accounts/shop/storage/kv/namespaces"
                path += f"/{before.fields['namespace_id']}/values/more"
                bearer = f"Bearer {before.fields['token']}"
                found = await asyncio.to_thread(get, node, path, host, Authorization=bearer)
                assert found == (200, "1")
        await say_where(one, other)
        await leads_nowhere_else(one)

        back = await perform(one, "federation.place", **BACK)
        assert (back.resource, back.node) == ("sessions", "rock")
        for node in (one, other):
            assert await asyncio.to_thread(rest, node, before.fields) == (200, ["first", "more"])
        assert await fetch(one, "/") == (200, '["first", "more"]')
        assert "shop" not in other.catalogue.apps and other.volume.names() == []
        assert other.keyring.of("shop") == []
        assert one.catalogue.app("shop").keepers == set()
        assert one.catalogue.branch("shop", "main").resources.keys() == main.resources.keys() | {
            "sessions"
        }
        again = await perform(one, "federation.place", **AWAY)
        assert await fetch(one, "/") == (200, '["first", "more"]')
        receipt = await perform(one, "audit.show", entry=again.entry)
        assert (receipt.of["resource"], receipt.of["to"]) == ("sessions", "skerry")


async def leads_nowhere_else(one: Node) -> None:
    """What a function is given leads to its resource alone, and to no other of that node."""
    record = one.catalogue.branch("shop", "main").away["sessions"].record
    run = one.workshop.run(record)
    head = f"GET /v1/node.status HTTP/1.1\r\nAuthorization: Bearer {one.home.token()}\r\n"
    request = f"{head}Host: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
    assert b'"success":false' in await spoken(run / "away.sock", request)
    tunnels = one.services.handler("federation")._tunnels
    nobody = one.home.spool / "nobody"
    nobody.mkdir()
    path = await tunnels.open_resource("skerry", "0" * 16, nobody)
    assert await spoken(Path(path), request) == b""


async def spoken(path: Path, request: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(request)
    try:
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def say_where(one: Node, other: Node) -> None:
    """Both nodes say what lies where, in every place where somebody looks."""
    listed = await perform(one, "resource.list", app="shop")
    assert {each.name: each.node for each in listed} == {"web": "", "db": "", "sessions": "skerry"}
    own, peer = await perform(one, "federation.nodes")
    assert own.holds == ("shop (functions, sqlite)",)
    assert peer.holds == ("shop/sessions (kv)",)
    assert (
        "shop/sessions: on the node skerry, used from here"
        in (await perform(one, "node.status")).shared
    )
    assert "shop/sessions: here for the node rock" in (await perform(other, "node.status")).shared
    found = await perform(other, "resource.list", app="shop")
    assert [(each.name, each.node) for each in found] == [("sessions", "")]


async def test_what_needs_all_of_an_app_says_what_is_not_here(top: Path) -> None:
    async with pair(top) as (one, other):
        await perform(one, "branch.create", app="shop", name="pr-1")
        for at in ("/guest/offer", "/place/parcel"):
            with cut(one, at, reached=True):
                await refused(one, "federation.place", "cut", **AWAY)
            assert await fetch(one, "/") == (200, '["first"]')
        await perform(one, "federation.place", **AWAY)
        for at in ("/place/parcel", "/guest/still"):
            with cut(other, at, reached=True):
                await refused(one, "federation.place", "cut", **BACK)
            assert await fetch(one, "/") == (200, '["first"]')
        for name, params in (
            ("branch.create", {"name": "pr-2"}),
            ("branch.reset", {"name": "pr-1"}),
            ("branch.promote", {"name": "pr-1"}),
            ("branch.delete", {"name": "pr-1"}),
            ("resource.export", {}),
            ("federation.place", {"to": "skerry"}),
        ):
            error = await refused(one, name, "sessions on skerry", app="shop", **params)
            assert error.hint == "skerry place shop/sessions --to rock"
        for name in ("resource.export", "kv.list"):
            await refused(one, name, "on the node skerry now", app="shop", name="sessions")
        await refused(
            one, "federation.place", "skerry has shop/sessions", app="shop/db", to="skerry"
        )
        await refused(one, "federation.place", "cannot lie", app="shop/web", to="skerry")
        await refused(one, "federation.place", "no resource nope", app="shop/nope", to="skerry")
        wider = APP["skerry.toml"].replace('["EU"]', '["EU", "NO"]')
        for text in (
            wider,
            APP["skerry.toml"].replace("[kv.sessions]", '[kv.sessions]\nidle="9s"'),
        ):
            with pytest.raises(SkerryError, match="sessions, which is on the node skerry"):
                await deploy(one, {**APP, "skerry.toml": text})
        await deploy(one, {**APP, "web.py": APP["web.py"].replace('"ok"', '"fine"')})
        assert await fetch(one, "/put/more") == (200, "fine")
        assert await fetch(one, "/") == (200, '["first", "more"]')
        for name, params in (
            ("branch.create", {"name": "pr-2"}),
            ("branch.delete", {"name": "pr-1"}),
            ("app.delete", {}),
            ("keys.rotate", {}),
            ("federation.place", {"to": "rock"}),
            ("secret.set", {"name": "COLOUR", "value": "red"}),
        ):
            await refused(other, name, "done on the node rock", app="shop", **params)
        with pytest.raises(SkerryError, match="done on the node rock"):
            await deploy(other, APP)
        export = await perform(other, "resource.export", app="shop")
        assert export.resources == ("sessions",)


async def test_writers_lose_nothing_either_way(top: Path) -> None:
    async with pair(top) as (one, _):
        acknowledged: list[str] = []
        stop = asyncio.Event()

        async def write(writer: int) -> None:
            number = 0
            while not stop.is_set():
                name = f"w{writer}-{number}"
                assert await fetch(one, f"/put/{name}") == (200, "ok")
                acknowledged.append(name)
                number += 1
                await asyncio.sleep(0.02)

        writers = [asyncio.create_task(write(number)) for number in range(2)]
        await asyncio.sleep(0.3)
        await perform(one, "federation.place", **AWAY)
        await asyncio.sleep(0.3)
        await perform(one, "federation.place", **BACK)
        await asyncio.sleep(0.3)
        stop.set()
        await asyncio.gather(*writers)
        status, text = await fetch(one, "/")
        assert status == 200
        assert set(acknowledged) | {"first"} == set(json.loads(text))


@contextlib.contextmanager
def cut(node: Node, at: str, *, reached: bool) -> Iterator[None]:
    """Let the line of a node break at one question of its, before or after it was answered.

    From then on it reaches nobody, until the end.
    """
    calls = node.services.handler("federation").calls
    before, broken = (calls.ask, calls.send), False

    def wrapped(whole: Any) -> Any:
        async def ask(peer: Any, path: str, *rest: Any, **more: Any) -> Any:
            nonlocal broken
            if path == at and not broken:
                if reached:
                    await whole(peer, path, *rest, **more)
                broken = True
            if broken:
                raise NODE_UNREACHABLE("The line is cut.")
            return await whole(peer, path, *rest, **more)

        return ask

    calls.ask, calls.send = map(wrapped, before)
    yield
    calls.ask, calls.send = before


async def settled(one: Node, other: Node) -> None:
    """Let both ask what they do not know."""
    await perform(other, "federation.nodes")
    for node in (one, other):
        handler = node.services.handler("federation")
        for app in list(node.catalogue.apps.values()):
            await handler._lending.settle(app)
            if app.leaving is not None:
                await handler._placing.settle(app, handler.peers.find(app.leaving.to))


@pytest.mark.slow
@pytest.mark.parametrize("reached", [False, True])
async def test_a_move_that_breaks_leaves_one_that_has_it(top: Path, reached: bool) -> None:
    """The giving node breaks off at the commit, stops, and starts again: there, and on the way."""
    async with pair(top) as (one, other):
        with cut(one, "/place/commit", reached=reached):
            await refused(one, "federation.place", "cut", **AWAY)
            assert (await fetch(one, "/"))[0] == 503, "nobody knows where it is"
            assert (await fetch(one, "/colour"))[0] == 503
            one.services.handler("federation")._settling.cancel()
    async with running(top / "a", "rock") as one, running(top / "b", "skerry") as other:
        await settled(one, other)
        assert ("shop" in other.catalogue.apps) == reached
        main = one.catalogue.branch("shop", "main")
        assert ("sessions" in main.away) == reached
        assert (one.volume.path(main.directory) / "sessions").exists() != reached
        assert await fetch(one, "/put/second") == (200, "ok")
        if not reached:
            await perform(one, "federation.place", **AWAY)
        with cut(other, "/place/commit", reached=reached):
            await refused(one, "federation.place", "cut", **BACK)
        await settled(one, other)
        assert ("sessions" in one.catalogue.branch("shop", "main").away) != reached
        assert ("shop" in other.catalogue.apps) != reached
        assert (other.keyring.of("shop") == []) == reached
        assert await fetch(one, "/") == (200, '["first", "second"]')


async def test_keys_end_on_both_nodes_or_on_none(top: Path) -> None:
    async with pair(top) as (one, other):
        await perform(one, "federation.place", **AWAY)
        await perform(one, "keys.rotate", app="shop")
        keys = [each.id for each in one.keyring.of("shop")]
        assert len(keys) == 2 and {each.id for each in other.keyring.of("shop")} == set(keys)
    async with running(top / "a", "rock") as one:
        for name in ("keys.rotate", "app.delete"):
            error = await refused(one, name, None, app="shop")
            assert error.problem is NODE_UNREACHABLE
        _, peer = await perform(one, "federation.nodes")
        assert peer.health != "well" and peer.holds == ("shop/sessions (kv)",)
        assert "shop" in one.catalogue.apps
        assert [each.id for each in one.keyring.of("shop")] == keys
        async with running(top / "b", "skerry") as other:
            await perform(other, "federation.nodes")
            done = await perform(one, "app.delete", app="shop")
            assert "skerry: sessions is deleted" in done.message
            assert "shop" not in other.catalogue.apps and other.volume.names() == []
            assert other.keyring.of("shop") == []
            receipts = [each for node in (one, other) for each in await told(node)]
            assert ["skerry: " + each for each in receipts[1]["said"][:1]] == receipts[0]["said"][
                :1
            ]
            assert {key for key in keys if f"data key {key}" in str(receipts[1])} == set(keys)
            ended = await perform(one, "keys.destroy", app="shop")
            assert set(ended.keys) == set(keys) and "Not reached" not in ended.reach
            await serve(one)
            await perform(one, "federation.place", **AWAY)
            await perform(one, "federation.revoke", name="skerry")
            done = await perform(one, "app.delete", app="shop")
            assert "skerry is bound to this node no more, and was not told" in done.message
            ended = await perform(one, "keys.destroy", app="shop")
            assert "Not reached: skerry" in ended.reach


async def told(node: Node) -> list[dict[str, Any]]:
    await node.audit.settle()
    found = await perform(node, "audit.receipts")
    shown = [await perform(node, "audit.show", entry=each.entry) for each in found]
    return [each.of for each in shown if each.of.get("receipt") == "deletion"]
