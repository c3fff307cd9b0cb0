"""Every kind that can lie elsewhere: placed, used by the function that stayed, brought back."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import tigerbeetle as tb

from skerry.node.node import Node
from skerry.testing.nodes import deploy, perform

from .conftest import running
from .test_binding import bind
from .test_placing import get

APP = {
    "skerry.toml": """
[app]
name = "shop"

[policy]
jurisdiction = ["EU"]

[functions.web]
entry = "web"
bindings = ["sessions", "db", "media", "pg", "books"]

[kv.sessions]

[sqlite.db]

[bucket.media]

[postgres.pg]

[ledger.books]
""",
    "web.py": """
async def fetch(request, env):
    name = request.url.path[1:]
    await env.sessions.aio.put(name, "v")
    await env.db.aio.execute("create table if not exists t (a)")
    with env.db.transaction() as transaction:
        transaction.execute("insert into t values (1)")
    await env.media.put(name, b"x" * 100_000)
    await env.pg.execute("create table if not exists t (a int)")
    await env.pg.execute("insert into t values (1)")
    await env.books.create_accounts([{"id": n, "ledger": 1, "code": 1} for n in (1, 2)])
    await env.books.create_transfers([{
        "id": env.books.id(), "debit_account_id": 1, "credit_account_id": 2,
        "amount": 1, "ledger": 1, "code": 1,
    }])
    return {
        "sessions": [key.name for key in (await env.sessions.aio.list()).keys],
        "db": (await env.db.aio.first("select count(*) as n from t"))["n"],
        "media": len(await (await env.media.get(name)).read()),
        "pg": await env.pg.fetchval("select count(*) from t"),
        "books": (await env.books.lookup_accounts([1]))[0].debits_posted,
    }
""",
}


def posted(node: Node, fields: dict[str, str]) -> int:
    """Ask at the old node's port, as a client that knows of no move."""
    where = f"127.0.0.1:{node.ports['tigerbeetle']}"
    with tb.ClientSync(cluster_id=int(fields["cluster_id"]), replica_addresses=where) as client:
        return int(client.lookup_accounts([1])[0].debits_posted)


@pytest.mark.slow
async def test_functions_use_what_lies_elsewhere(top: Path) -> None:
    async with running(top / "a", "rock") as one, running(top / "b", "skerry") as other:
        await bind(one, other)
        await deploy(one, APP)
        names: list[str] = []

        async def used(name: str) -> None:
            status, text = await asyncio.to_thread(get, one, f"/{name}")
            names.append(name)
            found = json.loads(text)
            assert status == 200, found
            count = len(names)
            counted = dict.fromkeys(("db", "pg", "books"), count)
            assert found == {"sessions": sorted(names), "media": 10**5, **counted}

        await used("a")
        books = (await perform(one, "resource.connect", app="shop", name="books")).fields
        for name in ("sessions", "db", "media", "pg", "books"):
            await perform(one, "federation.place", app=f"shop/{name}", to="skerry")
            listed = await perform(one, "resource.list", app="shop")
            assert [each.name for each in listed if each.node == "skerry"] == [name]
            await used(f"b-{name}")
            assert await asyncio.to_thread(posted, one, books) == len(names)
            await perform(one, "federation.place", app=f"shop/{name}", to="rock")
        await used("c")
