"""Prompts go where the policy in force lets them, through a whole node: engine, channel, router."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from skerry.app import kinds
from skerry.kinds._shared.http.message import Answer
from skerry.kinds._shared.http.request import request
from skerry.kinds.models.tests.fake import FakeProvider
from skerry.node.node import Node
from skerry.testing.hosts import served
from skerry.testing.nodes import deploy, open_directory, perform, running_node

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

SECRET = "sk-a-key-that-nobody-must-see"
TOML = """
[app]
name = "{name}"
[models.ai]
secrets = ["HOME_KEY"]
log = "full"
retries = 0
[models.ai.aliases]
chat = ["home/broken", "far/good"]
[models.ai.providers.home]
base_url = "http://127.0.0.1:{home}/v1"
country = "SE"
secret = "HOME_KEY"
prices = {{ good = {{ input = 1.0, output = 2.0 }} }}
[models.ai.providers.far]
base_url = "http://127.0.0.1:{far}/v1"
country = "US"
[policy]
jurisdiction = {where}
"""


@dataclass
class World:
    """A node in Sweden, a provider there and one in the United States."""

    node: Node
    home: FakeProvider
    far: FakeProvider
    ports: dict[str, int]

    async def app(self, name: str, where: str) -> None:
        text = TOML.format(name=name, where=where, **self.ports)
        await perform(self.node, "secret.set", app=name, name="HOME_KEY", value=SECRET)
        await deploy(self.node, {"skerry.toml": text})

    async def key(self, app: str, branch: str = "main") -> str:
        found = await perform(self.node, "resource.connect", name="ai", app=app, branch=branch)
        return str(found.fields["token"])

    async def ask(self, key: str, model: str, url: str = "", **more: Any) -> Answer:
        body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], **more}
        return await asyncio.to_thread(
            request,
            f"{url or self.node.url}/v1/chat/completions",
            "POST",
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    home, far = FakeProvider(), FakeProvider()
    with open_directory() as made:
        (made / "config.toml").write_text('country = "SE"\n')
        async with (
            served(home.application) as home_port,
            served(far.application) as far_port,
            running_node(kinds(), home=made) as node,
        ):
            yield World(node, home, far, {"home": home_port, "far": far_port})


async def test_an_eu_only_app_reaches_nothing_outside_even_as_fallback(world: World) -> None:
    await world.app("inside", '["EU"]')
    key = await world.key("inside")
    answer = await world.ask(key, "home/good")
    assert answer.status == 200
    told = {name.lower(): value for name, value in answer.headers.items()}
    assert (told["x-skerry-provider"], told["x-skerry-country"]) == ("home", "SE")
    assert told["x-skerry-evidence"] == "declared" and told["x-skerry-policy"]
    assert (await world.ask(key, "chat")).status == 500
    refused = await world.ask(key, "far/good", stream=True)
    assert refused.status == 403 and b"policy_denied" in refused.body
    assert not world.far.bodies, "not a byte of a prompt went there"


async def test_an_app_that_may_falls_back_there(world: World) -> None:
    await world.app("abroad", '["EU", "US"]')
    answer = await world.ask(await world.key("abroad"), "chat")
    assert answer.status == 200
    assert {k.lower(): v for k, v in answer.headers.items()}["x-skerry-country"] == "US"


async def test_a_resource_is_found_by_host_path_and_key(world: World) -> None:
    await world.app("inside", '["EU"]')
    key, port = await world.key("inside"), world.node.http_port
    for url in (
        f"http://ai--main--inside.localhost:{port}",
        f"http://127.0.0.1:{port}/@inside/main/@ai",
        f"http://127.0.0.1:{port}",
    ):
        assert (await world.ask(key, "home/good", url)).status == 200, url


async def test_a_branch_has_keys_of_its_own(world: World) -> None:
    await world.app("inside", '["EU"]')
    made = await perform(world.node, "models.key-create", name="ai", app="inside", key="team")
    await perform(world.node, "branch.create", app="inside", name="copy")
    url = f"http://ai--copy--inside.localhost:{world.node.http_port}"
    assert (await world.ask(made.api_key, "home/good", url)).status == 401
    assert (await world.ask(await world.key("inside", "copy"), "home/good")).status == 200
    listed = await perform(world.node, "models.key-list", name="ai", app="inside", branch="copy")
    assert "team" in [each.key for each in listed]
    await perform(world.node, "branch.delete", app="inside", name="copy")


async def test_keys_of_providers_are_in_no_log_and_no_export(world: World) -> None:
    await world.app("inside", '["EU"]')
    await world.ask(await world.key("inside"), "home/keyless")
    assert world.home.headers[-1]["authorization"] == f"Bearer {SECRET}"
    calls = await perform(world.node, "models.log", name="ai", app="inside", lines=100)
    lines = await world.node.logbook.tail("inside", "main", None, 1000)
    await perform(world.node, "branch.sleep", app="inside", branch="main")
    branch = world.node.catalogue.branch("inside", "main")
    state = world.node.workshop.state(branch, branch.resources["ai"])
    kept = b"".join([path.read_bytes() for path in sorted(state.rglob("*")) if path.is_file()])
    said = repr(calls) + repr([line.text for line in lines])
    assert SECRET not in said and SECRET.encode() not in kept


async def test_a_budget_holds_however_often_the_gateway_is_killed(world: World) -> None:
    await world.app("killed", '["EU"]')
    limits = {"budget": 0.02, "period": "ever"}
    made = await perform(
        world.node, "models.key-create", name="ai", app="killed", key="team", **limits
    )
    served_calls = 0
    for _ in range(6):
        answers = await asyncio.gather(
            *(world.ask(made.api_key, "home/good", max_tokens=50) for _ in range(20))
        )
        assert {answer.status for answer in answers} <= {200, 429}
        served_calls += sum(answer.status == 200 for answer in answers)
        running = world.node.supervisor.running("killed", "main", "ai")
        assert running is not None
        os.kill(running.child.pid, signal.SIGKILL)
        await running.child.ended
        await asyncio.sleep(0.1)
    (key,) = [
        each
        for each in await perform(world.node, "models.key-list", name="ai", app="killed")
        if each.key == "team"
    ]
    await perform(world.node, "branch.sleep", app="killed", branch="main")
    usage = await perform(world.node, "node.meter", app="killed")
    used = {each.unit: each.amount for each in usage}
    assert used["micro_eur"] == 17 * served_calls, "no count is lost either"
    assert 0 < used["micro_eur"] <= 20_000
    assert key.left is not None and key.left * 1e6 <= 20_000 - used["micro_eur"] + 0.5


async def test_what_it_cost_is_on_the_ledger_once(world: World) -> None:
    await world.app("inside", '["EU"]')
    await world.ask(await world.key("inside"), "home/good")
    await perform(world.node, "branch.sleep", app="inside", branch="main")
    used = {
        each.unit: each.amount for each in await perform(world.node, "node.meter", app="inside")
    }
    assert used["output_tokens"] == 5 * (used["calls"])
    assert world.node.ledger.balanced()
