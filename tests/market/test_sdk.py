"""Akash's official SDK: it lists bids, makes a lease, and derives the same manifests as we do."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.market import files
from tests.market.clients import node_program, run_client
from tests.market.nodes import SDL, do, market_of, running

from skerry.market.sdl.parse import parse
from skerry.market.sdl.tree import read
from skerry.testing.nodes import open_directory

pytestmark = pytest.mark.slow


async def test_the_sdk_lists_bids_and_makes_a_lease() -> None:
    node_program()
    with open_directory() as made:
        async with running(made / "h") as node:
            await do(node, "provider.start", country="FI")
            await do(node, "fund", amount="20")
            deployed = await do(node, "deploy", file=SDL, clearing="manual")
            assert deployed.leases == ()
            handler = market_of(node)
            assert await handler.exchange.until(lambda: bool(handler.exchange.state.bids), 10)
            owner = handler.wallet.address
            said = await run_client(
                "market.mjs", node.url, owner, str(deployed.dseq), given=node.home.token().encode()
            )
            bid, lease = map(json.loads, said.splitlines())
            assert bid["bid"]["id"]["provider"] == handler.provider_wallet.address
            cpu = bid["bid"]["resourcesOffer"][0]["resources"]["cpu"]["units"]["val"]
            assert bytes(cpu.values()) == b"100"
            assert lease["lease"]["id"] == bid["bid"]["id"]
            (found,) = handler.exchange.state.leases.values()
            assert found.state.value == "active"
            (shown,) = await do(node, "bids")
            assert shown.why == "won: the tenant chose it"


async def test_the_sdk_derives_the_same_groups_and_manifest() -> None:
    texts = files.GOOD
    plain = [read(text).plain() for text in texts.values()]
    for each in plain:
        each.pop("reclamation", None)  # newer than this SDK, and no part of a manifest
    given = json.dumps(plain)
    said = (await run_client("sdl.mjs", given=given.encode())).splitlines()
    assert len(said) == len(texts)
    for (name, text), line in zip(texts.items(), said, strict=True):
        theirs = json.loads(line)
        assert theirs["ok"], (name, theirs)
        ours = parse(text, name)
        assert ours.manifest_hash == theirs["hash"], name
        assert [group.name for group in ours.groups] == [each["name"] for each in theirs["groups"]]
        for group, each in zip(ours.groups, theirs["groups"], strict=True):
            for unit, other in zip(group.resources, each["resources"], strict=True):
                resource = other["resource"]
                assert str(unit.resources.cpu_milli) == resource["cpu"]["units"]["val"]
                assert str(unit.resources.memory_bytes) == resource["memory"]["size"]["val"]
                assert unit.count == other["count"]
                kinds = [int(found.get("kind", 0)) for found in resource["endpoints"]]
                assert [found.kind for found in unit.resources.endpoints] == kinds, name
                keys = [found["key"] for found in resource["gpu"].get("attributes", [])]
                assert [found.key for found in unit.resources.gpu_attributes] == keys
            assert [found.key for found in group.attributes] == [
                found["key"] for found in each["requirements"].get("attributes", [])
            ]


async def test_the_sdk_refuses_what_we_refuse() -> None:
    given = json.dumps([read(text).plain() for text, _ in files.BAD.values()])
    said = (await run_client("sdl.mjs", given=given.encode())).splitlines()
    for name, line in zip(files.BAD, said, strict=True):
        assert json.loads(line)["ok"] is False, name


async def test_nothing_hangs_without_a_provider() -> None:
    with open_directory() as made:
        async with running(made / "h") as node:
            await do(node, "fund", amount="20")
            deployed = await asyncio.wait_for(do(node, "deploy", file=SDL, wait=0.2), 10)
            assert not deployed.feasible
            assert deployed.exit_code == 1
