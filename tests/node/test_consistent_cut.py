"""A branch holds every kind of resource as of one instant, under concurrent writers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from skerry.app import kinds
from skerry.node.node import Node
from skerry.node.volume import attach, create_image, detach
from skerry.node.volume.image import FILESYSTEMS
from skerry.testing.nodes import deploy, perform, running_node

KINDS = ("functions", "postgres", "sqlite", "kv", "bucket")
MIB = 1 << 20
SIZES = {"btrfs": 512 * MIB, "xfs": 640 * MIB}
BRANCHES = 3

TOML = """
[app]
name = "ledger"

[functions.web]
entry = "web:app"
bindings = ["pg", "lite", "cache", "media"]

[postgres.pg]
[sqlite.lite]
idle = "{idle}"
[kv.cache]
idle = "{idle}"
[bucket.media]
idle = "{idle}"
"""

CODE = """
import asyncio
import json

from skerry import env

state = {"running": False, "n": 0, "done": {}}
ORDER = ("pg", "lite", "cache", "media")


async def put(kind, n):
    if kind == "pg":
        await env.pg.execute("insert into numbers values ($1)", n)
    elif kind == "lite":
        await env.lite.aio.execute("insert into numbers values (?)", [n])
    elif kind == "cache":
        await env.cache.aio.put("n", str(n))
    else:
        await env.media.put("n", str(n).encode())


async def value(kind):
    if kind == "pg":
        return await env.pg.fetchval("select coalesce(max(n), 0) from numbers")
    if kind == "lite":
        return (await env.lite.aio.query("select coalesce(max(n), 0) from numbers"))[0][0]
    if kind == "cache":
        return int(await env.cache.aio.get("n") or 0)
    found = await env.media.get("n")
    return int(await found.read()) if found else 0


async def in_order():
    while state["running"]:
        state["n"] += 1
        for kind in ORDER:
            await put(kind, state["n"])
            state["done"][kind] = state["n"]


async def alone(kind):
    n = 0
    while state["running"]:
        n += 1
        await put(kind, n)
        state["done"][kind] = n


async def handle(path):
    if path == "/init":
        await env.pg.execute("create table if not exists numbers (n bigint)")
        await env.lite.aio.execute("create table if not exists numbers (n integer)")
    elif path in ("/in-order", "/alone"):
        state["running"] = True
        work = [in_order()] if path == "/in-order" else [alone(kind) for kind in ORDER]
        state["tasks"] = [asyncio.create_task(each) for each in work]
    elif path == "/stop":
        state["running"] = False
        await asyncio.gather(*state["tasks"])
    elif path == "/read":
        return {kind: await value(kind) for kind in ORDER}
    return state["done"]


async def app(scope, receive, send):
    body = json.dumps(await handle(scope["path"])).encode()
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})
"""


async def call(node: Node, path: str, branch: str = "main") -> dict[str, int]:
    reader, writer = await asyncio.open_connection("127.0.0.1", node.http_port)
    host = f"{branch}--ledger.localhost"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    try:
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    assert head.startswith(b"HTTP/1.1 200"), (head, body)
    return msgspec.json.decode(body, type=dict[str, int])


@contextlib.contextmanager
def home_on(driver: str) -> Iterator[Path]:
    """Yield a home whose volume is of a driver; unmount what was mounted for it."""
    made = Path(tempfile.mkdtemp(prefix="skr-"))
    made.chmod(0o711)
    mounted = made / "h" / "volume"
    filesystem = {"btrfs": "btrfs", "reflink": "xfs"}.get(driver)
    try:
        if filesystem:
            path = os.environ["PATH"] + ":/usr/sbin:/sbin"
            if os.geteuid() != 0 or not Path("/dev/loop-control").exists():
                pytest.skip("only root with loop devices can mount an image")
            if shutil.which(FILESYSTEMS[filesystem].make[0], path=path) is None:
                pytest.skip(f"{FILESYSTEMS[filesystem].package} is not installed")
            mounted.parent.mkdir()
            create_image(made / "image", SIZES[filesystem], filesystem)
            attach(made / "image", mounted)
        yield made / "h"
    finally:
        if filesystem and mounted.exists():
            detach(mounted)
        shutil.rmtree(made)


@pytest.fixture(params=["copy", "btrfs", "reflink"])
async def node(request: pytest.FixtureRequest) -> AsyncIterator[Node]:
    found = kinds()
    with home_on(request.param) as home:
        chosen = {name: found[name] for name in KINDS}
        async with running_node(chosen, home, request.param) as running:
            assert running.volume.driver == request.param
            yield running


async def cut(node: Node, name: str) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """Branch; return what was acknowledged before, what the branch holds, what was after."""
    before = await call(node, "/done")
    await perform(node, "branch.create", app="ledger", name=name)
    after = await call(node, "/done")
    return before, await call(node, "/read", name), after


async def test_writes_that_follow_each_other_over_all_kinds(node: Node) -> None:
    await deploy(node, {"skerry.toml": TOML.format(idle="5m"), "web.py": CODE})
    await call(node, "/init")
    await call(node, "/in-order")
    try:
        for number in range(BRANCHES):
            await asyncio.sleep(0.2)
            before, found, after = await cut(node, f"copy-{number}")
            pg, lite, cache, media = (found[k] for k in ("pg", "lite", "cache", "media"))
            assert pg >= lite >= cache >= media >= pg - 1, found
            assert before.get("media", 0) <= media
            assert all(found[kind] <= after[kind] + 1 for kind in found)
    finally:
        await call(node, "/stop")
    last = await call(node, "/read")
    assert len(set(last.values())) == 1
    assert last["media"] > found["media"], "writers went on"


async def test_a_writer_of_each_kind_and_engines_that_sleep(node: Node) -> None:
    """Functions write state without its engine, which may sleep: it must be held all the same."""
    await deploy(node, {"skerry.toml": TOML.format(idle="300ms"), "web.py": CODE})
    await call(node, "/init")
    await call(node, "/alone")
    try:
        for number in range(BRANCHES):
            await asyncio.sleep(0.4)
            before, found, after = await cut(node, f"copy-{number}")
            for kind, value in found.items():
                assert before.get(kind, 0) <= value <= after[kind] + 1, (kind, before, found, after)
    finally:
        await call(node, "/stop")
