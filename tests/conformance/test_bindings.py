"""A function is given what it is bound to, and nothing beside it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from skerry.app import kinds
from skerry.kernel.manifest import Verb
from skerry.kinds._shared.http.request import request
from skerry.node.node import Node
from skerry.testing.nodes import deploy, perform, running_node

pytestmark = pytest.mark.asyncio(loop_scope="module")
MANIFESTS = kinds()
BOUND = [name for name, each in MANIFESTS.items() if each.able(Verb.BIND) and not each.own_process]
KEPT_OUT = {"PermissionError", "FileNotFoundError"}
"""Landlock forbids it; a node without root hides it as well."""

CODE = """
import os

def attempt(work):
    try:
        work()
    except Exception as error:
        return type(error).__name__
    return "done"

async def fetch(request, env):
    place = request.headers["x-place"]
    return {
        "bound": type(env.thing).__name__,
        "unbound": attempt(lambda: env.other),
        "look": attempt(lambda: os.listdir(place)),
        "write": attempt(lambda: open(place + "/new", "w")),
    }
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncIterator[Node]:
    async with running_node(MANIFESTS) as running:
        yield running


def toml(app: str, kind: str) -> str:
    subject = MANIFESTS[kind].load(MANIFESTS[kind].subject)
    tables = "".join(f"[{kind}.{name}]\n{subject.settings}\n" for name in ("thing", "other"))
    function = '[functions.web]\nentry = "web"\nbindings = ["thing"]\n'
    return f'[app]\nname = "{app}"\n{function}{tables}'


async def call(node: Node, app: str, place: str, branch: str = "main") -> Any:
    url = f"http://127.0.0.1:{node.http_port}/@{app}/{branch}/"
    answer = await asyncio.to_thread(request, url, headers={"X-Place": place})
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


@pytest.mark.parametrize("kind", BOUND)
async def test_it_reaches_what_is_bound_and_nothing_else(node: Node, kind: str) -> None:
    app = f"bind-{kind}"
    await deploy(node, {"skerry.toml": toml(app, kind), "web.py": CODE})
    branch = node.catalogue.branch(app, "main")
    other = branch.resources["other"]
    node.workshop.make_directories(branch, other)
    found = await call(node, app, str(node.workshop.state(branch, other)))
    assert found.pop("bound") not in ("", "NoneType")
    assert found.pop("unbound") == "AttributeError"
    assert set(found.values()) <= KEPT_OUT
    await perform(node, "app.delete", app=app)


@pytest.mark.parametrize("kind", BOUND)
async def test_a_branchs_function_has_the_branchs_resource(node: Node, kind: str) -> None:
    app = f"apart-{kind}"
    await deploy(node, {"skerry.toml": toml(app, kind), "web.py": CODE})
    await perform(node, "branch.create", app=app, name="copy")
    main = node.catalogue.branch(app, "main")
    state = str(node.workshop.state(main, main.resources["thing"]))
    node.workshop.make_directories(main, main.resources["thing"])
    assert (await call(node, app, state, "copy"))["look"] in KEPT_OUT
    assert (await call(node, app, state, "main"))["look"] == "done"
    await perform(node, "app.delete", app=app)
