"""A branch is one cut of everything, also where only functions write and the engines sleep."""

from __future__ import annotations

import asyncio
import json

from skerry.app import kinds
from skerry.kinds._shared.http.request import request
from skerry.node.node import Node
from skerry.testing.nodes import deploy, perform, running_node

TOML = """
[app]
name = "cut"

[functions.web]
entry = "web"
bindings = ["first", "second", "media", "search"]

[kv.first]
idle = "200ms"

[kv.second]
idle = "200ms"

[bucket.media]
idle = "200ms"

[sqlite.search]
idle = "200ms"
"""
CODE = """
import asyncio, threading

over = threading.Event()

def count_up(env, loop):
    env.search.execute("create table if not exists n (value int)")
    n = int(env.first.get("n") or 0)
    while not over.wait(0.002):
        n += 1
        env.first.put("n", str(n))
        asyncio.run_coroutine_threadsafe(env.media.put("n", str(n).encode()), loop).result()
        env.search.execute("insert into n values (?)", [n])
        env.second.put("n", str(n))

async def read(env):
    held = await env.media.get("n")
    return {
        "first": int(env.first.get("n") or 0),
        "media": int(await held.read()) if held else 0,
        "search": int(env.search.query("select coalesce(max(value), 0) from n")[0][0]),
        "second": int(env.second.get("n") or 0),
    }

async def fetch(request, env):
    if request.url.path.endswith("/start"):
        loop = asyncio.get_running_loop()
        threading.Thread(target=count_up, args=(env, loop), daemon=True).start()
        return "started"
    if request.url.path.endswith("/stop"):
        over.set()
        return "stopped"
    return await read(env)
"""
BRANCHES = 5


async def call(node: Node, branch: str, path: str) -> bytes:
    url = f"http://127.0.0.1:{node.http_port}/@cut/{branch}{path}"
    answer = await asyncio.to_thread(request, url)
    assert answer.status == 200, answer.body
    return answer.body


async def test_a_function_that_writes_to_four_kinds_in_order_is_cut_at_one_instant() -> None:
    async with running_node(kinds()) as node:
        await deploy(node, {"skerry.toml": TOML, "web.py": CODE})
        await call(node, "main", "/start")
        await asyncio.sleep(1.0)
        for number in range(BRANCHES):
            name = f"copy-{number}"
            await perform(node, "branch.create", app="cut", name=name)
            found = json.loads(await call(node, name, "/"))
            values = [found[each] for each in ("first", "media", "search", "second")]
            assert values == sorted(values, reverse=True), found
            assert values[0] - values[-1] <= 1, found
            assert values[0] > 0
        await call(node, "main", "/stop")
