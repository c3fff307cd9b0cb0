"""The model comparison example on a real node, with a tiny model; no hosted one was tried."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from skerry.app import kinds, services
from skerry.kernel.errors import SkerryError
from skerry.kinds._shared.http.request import request
from skerry.kinds.models.tests.tiny import write_gguf
from skerry.node.node import Node
from skerry.testing.nodes import deploy, open_directory, perform, running_node

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "model_comparison"
APP = "model-comparison"


def files(**replaced: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        path.relative_to(EXAMPLE).as_posix(): path.read_text()
        for path in EXAMPLE.rglob("*")
        if path.is_file() and path.suffix in (".py", ".toml")
    }
    return {**found, **replaced}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    weights = tmp_path_factory.mktemp("weights") / "small.gguf"
    await asyncio.to_thread(write_gguf, weights)
    with open_directory() as made:
        (made / "config.toml").write_text('country = "SE"\n')
        async with running_node(kinds(), home=made, services=services()) as node:
            await deploy(node, {**files(), "weights/small.gguf": weights.read_bytes()})
            yield node


async def test_the_function_asks_both(node: Node) -> None:
    url = f"http://{APP}.localhost:{node.http_port}/ask?q=Hello"
    answer = await asyncio.to_thread(request, url)
    assert answer.status == 200, answer.body
    large, small = json.loads(answer.body)["answers"]
    if "SAMBANOVA_API_KEY" not in os.environ:
        assert "SAMBANOVA_API_KEY is not set" in large["error"]
    assert small["answer"] and small["first_seconds"] <= small["seconds"]


async def test_the_words_compare_them(node: Node) -> None:
    found = await perform(node, "models.compare", prompt="Hello", models="large,small,chat")
    large, small, chat = found.rows
    assert "SAMBANOVA_API_KEY" in large.error
    assert (small.provider, small.euro) == ("local", "0.000000") and small.answer
    assert chat.provider == "local", "the alias falls back"
    assert "first token" in found.draw(80) and found.exit_code == 0


async def test_without_the_country_the_large_one_is_refused_by_policy(node: Node) -> None:
    toml = (EXAMPLE / "skerry.toml").read_text().replace('["EU", "US"]', '["EU"]')
    toml = toml.replace(APP, "eu-only").replace("weights/small.gguf", "/nowhere.gguf")
    await deploy(node, files(**{"skerry.toml": toml}))
    await perform(node, "secret.set", app="eu-only", name="SAMBANOVA_API_KEY", value="k" * 20)
    found = await perform(node, "models.compare", app="eu-only", prompt="x", models="large")
    assert "Policy does not allow" in found.rows[0].error


async def test_an_endpoint_without_an_app_of_ones_own(node: Node) -> None:
    made = await perform(node, "models.serve", alias=("chat=mistral/mistral-small-latest",))
    answer = await asyncio.to_thread(
        request,
        f"{made.base_url}/models",
        headers={"Authorization": f"Bearer {made.api_key}"},
    )
    assert [each["id"] for each in json.loads(answer.body)["data"]] == ["chat"]
    again = await perform(node, "models.serve", cache="1h")
    assert again.api_key == made.api_key
    with pytest.raises(SkerryError):
        await perform(node, "models.serve", app=APP)


async def test_the_console_shows_what_was_compared(node: Node) -> None:
    from skerry.kinds.models.page import view

    class Visit:
        async def ask(self, command: str, **params: Any) -> Any:
            return await perform(node, command, **params)

    await perform(node, "models.compare", app=APP, prompt="it's?", models="small", max_tokens=8)
    shown = await view(Visit())
    first = shown["comparisons"][0]
    assert first.prompt == "it's?" and first.rows[0].answer
    assert len(shown["facts"](first.rows[0])) == 5
    assert shown["cli"] == ["""skerry models compare 'it'"'"'s?' --models small"""]
