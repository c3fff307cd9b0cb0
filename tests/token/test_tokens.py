"""Delegated rights: a narrowed token does what it says and no more, on every path of the API."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from skerry.kernel.clock import NANOSECONDS
from skerry.kernel.manifest import read_manifests
from skerry.kernel.policy import Place, Request
from skerry.kernel.service import read_services
from skerry.node.dispatcher import Dispatcher
from skerry.node.node import Node, Options
from skerry.node.token import biscuit, rights
from skerry.node.token.limits import Limits
from skerry.node.token.offline import narrow
from skerry.node.token.registry import Registry
from skerry.node.token.rights import Deed, Rights
from skerry.node.token.service import Narrow
from skerry.surfaces.web import make_web
from skerry.testing.nodes import deploy, open_directory, pack, perform

SHOP = '[app]\nname = "shop"\n[hello.book]\n[policy]\njurisdiction = ["EU", "NO"]\n'
SERVICES = [f"skerry.node.{name}" for name in ("audit", "backup", "keys", "policy", "token")]
SEED = bytes(range(32))
pytestmark = pytest.mark.asyncio(loop_scope="module")
NOW = 1_795_000_000 * NANOSECONDS


@contextlib.asynccontextmanager
async def running(home: Path) -> AsyncIterator[Node]:
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text('country = "SE"\nowner = "Kust AB"\n')
    options = Options(home=home, http_port=0, name="test-node", volume_driver="copy")
    kinds = read_manifests(["skerry.kinds.hello"])
    services = read_services(SERVICES)
    node = Node(options, kinds, lambda made: make_web(Dispatcher(made)), services)
    await node.start()
    try:
        yield node
    finally:
        await node.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncIterator[Node]:
    with open_directory() as made:
        async with running(made / "h") as found:
            await deploy(found, {"skerry.toml": SHOP})
            await deploy(found, {"skerry.toml": SHOP.replace("shop", "other")})
            yield found


async def ask(
    node: Node, token: str, path: str, body: bytes = b"{}", method: str = "POST"
) -> tuple[int, Any]:
    def exchange() -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", node.http_port, timeout=20)
        connection.request(method, path, body, {"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, json.loads(data) if data[:1] in b"{[" else data

    return await asyncio.to_thread(exchange)


async def command(node: Node, token: str, of: str, /, **params: Any) -> tuple[int, Any]:
    return await ask(node, token, f"/v1/{of}", json.dumps(params).encode())


async def mint(node: Node, **limits: Any) -> str:
    return str((await perform(node, "token.mint", name="ci", **limits)).token)


def narrowed(token: str, **limits: Any) -> str:
    return narrow(Narrow(token=token, **limits)).token


SAMPLE: dict[str, dict[str, Any]] = {
    "app.list": {},
    "node.status": {},
    "resource.list": {"app": "shop"},
    "branch.list": {"app": "shop"},
    "branch.wake": {"app": "shop"},
    "branch.create": {"app": "shop", "name": "pr-1"},
    "resource.connect": {"app": "shop", "name": "book"},
    "secret.set": {"app": "shop", "name": "DOOR", "value": "x"},
    "resource.export": {"app": "shop", "name": "book"},
    "keys.list": {"app": "shop"},
    "policy.explain": {"app": "shop", "action": "backup:send"},
    "audit.entries": {},
    "token.revoked": {},
}
"""Commands of the node, of services and of kinds, that change something and that do not."""

TOKENS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "wide": ({}, set(SAMPLE)),
    "read": (
        {"verb": ("read",)},
        set(SAMPLE) - {"branch.wake", "branch.create", "resource.connect", "secret.set"},
    ),
    "one app": (
        {"app": ("shop",)},
        set(SAMPLE) - {"app.list", "node.status", "audit.entries", "token.revoked"},
    ),
    "another app": ({"app": ("other",)}, set()),
    "one noun": ({"verb": ("branch",)}, {"branch.list", "branch.wake", "branch.create"}),
    "one branch": (
        {"branch": ("main",)},
        {"resource.list", "branch.wake", "resource.connect", "resource.export", "policy.explain"},
    ),
    "two branches": (
        {"branch": ("main", "pr-1"), "verb": ("branch:create",)},
        {"branch.create"},
    ),
    "one resource": ({"resource": ("book",)}, {"resource.connect", "resource.export"}),
    "here": ({"country": ("SE",)}, set(SAMPLE)),
    "elsewhere": ({"country": ("FR",)}, set()),
    "for nothing": ({"price": "0"}, set(SAMPLE)),
}


async def test_every_path_allows_what_the_token_says_and_no_more(node: Node) -> None:
    wide = await mint(node)
    for name, (limits, allowed) in TOKENS.items():
        token = narrowed(wide, **limits) if limits else wide
        for each, params in SAMPLE.items():
            status, found = await command(node, token, each, **params)
            assert (status != 403) == (each in allowed), (name, each, found)
            if each in allowed:
                assert status in (200, 409), (name, each, found)
            else:
                assert found["code"] == "DENIED" and "narrowed" in found["why"]
    said = await perform(node, "audit.entries", what="decision", lines=1000)
    assert any("branch:create of shop" in each.said for each in said)


async def test_expired_revoked_foreign_and_broken_tokens_open_nothing(node: Node) -> None:
    wide = await mint(node)
    child = narrowed(wide, app=("shop",))
    grandchild = narrowed(child, verb=("read",))
    foreign = biscuit.mint(SEED, "ci", Limits())
    forged = foreign.replace(foreign.partition(".")[0], wide.partition(".")[0])
    broken = wide[:-12] + ("A" * 12)
    old = narrowed(wide, until="2020-01-01")
    for each, params in SAMPLE.items():
        status, found = await command(node, old, each, **params)
        assert status == 403 and "time" in found["why"], (each, found)
        for wrong in (foreign, forged, broken, "skb_", "skb_x.y", "skn_" + "0" * 48):
            status, found = await command(node, wrong, each, **params)
            assert status in (400, 401), (each, wrong, found)
    assert (await command(node, grandchild, "resource.list", app="shop"))[0] == 200
    await perform(node, "token.revoke", token=child)
    for token, status in ((child, 401), (grandchild, 401), (wide, 200)):
        assert (await command(node, token, "resource.list", app="shop"))[0] == status
    assert [each.name for each in await perform(node, "token.revoked")] == ["ci"]


async def test_the_doctor_tells_which_token_ends_next(node: Node) -> None:
    await perform(node, "token.mint", name="later", until="900h")
    soon = (await perform(node, "token.mint", name="soon", until="2h")).token
    (told,) = [each for each in await node.services.examine() if each.name == "tokens"]
    assert not told.ok and "next to end is soon" in told.detail
    await perform(node, "token.revoke", token=soon)
    (told,) = [each for each in await node.services.examine() if each.name == "tokens"]
    assert told.ok and "soon" not in told.detail
    again = Registry(bytes(32), node.home.service("token"))
    assert "later" in {each.name for each in again.minted.values()}, "a restart remembers them"


async def test_no_token_makes_rights_without_limits(node: Node) -> None:
    wide = await mint(node)
    for name, params in (("token.mint", {"name": "more"}), ("backup.key", {})):
        status, found = await command(node, wide, name, **params)
        assert status == 403 and "No token allows" in found["what"]
    assert (await ask(node, wide, "/v1/logins", b""))[0] == 403
    assert (await ask(node, wide, "/audit/log/checkpoint", b"", "GET"))[0] == 401
    assert (await ask(node, wide, "/login", f"token={wide}".encode()))[0] != 303
    status, _ = await ask(node, wide, "/v1/openapi.json", b"", "GET")
    assert status == 200


async def test_a_deploy_is_of_the_app_that_its_upload_declares(node: Node) -> None:
    wide = await mint(node)
    token = narrowed(wide, app=("shop",), verb=("app:deploy",))
    for app, wanted in (("shop", 200), ("other", 403)):
        archive = pack({"skerry.toml": SHOP.replace("shop", app)})
        status, found = await ask(node, token, "/v1/uploads", archive)
        assert status == 201
        status, said = await command(node, token, "app.deploy", upload=found["upload"])
        assert status == wanted, said
    reading = narrowed(wide, verb=("read",))
    assert (await ask(node, reading, "/v1/uploads", b"x"))[0] == 403
    assert (await ask(node, narrowed(token, until="2020-01-01"), "/v1/uploads", b"x"))[0] == 403
    exporting = narrowed(wide, app=("shop",), verb=("resource:export",))
    status, found = await command(node, exporting, "resource.export", app="shop", name="book")
    assert (await ask(node, exporting, f"/v1/downloads/{found['download']}", b"", "GET"))[0] == 200


async def test_places_are_asked_for_again_inside_a_command(node: Node) -> None:
    token = node.tokens.read(await mint(node, country=("SE", "NO")))
    deed = Deed(("backup:now",), node.clock.now() // NANOSECONDS, app="shop", country="SE")
    for country, allowed in (("NO", True), ("FR", False), ("US", False)):
        place = Place("somewhere", country)
        request = Request("operator", "backup:send", str(place), "shop", "main", place=place)
        own = node.policy.decide(request)
        assert own.allowed == (country != "US"), "the app's terms"
        with rights.under(Rights(token, deed)):
            decision = node.policy.decide(request)
        assert decision.allowed == allowed
        if country == "FR":
            assert decision.rule == "token" and "FR" in decision.reason
    assert rights.current() is None
