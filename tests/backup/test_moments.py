"""Moments: to the exact commit where a kind keeps its log, else to the last backup before."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from tests.backup.conftest import backup_of, node_at

from skerry.kernel.errors import SkerryError
from skerry.node.backup.plan import parse_moment
from skerry.node.backup.rebuild import rebuild
from skerry.node.node import Node
from skerry.testing.nodes import deploy, perform

pytestmark = pytest.mark.timeout(240)

APP = '[app]\nname = "shop"\n\n[postgres.db]\n[kv.cache]\n'
NOW = 1_795_773_600_000_000_000  # 2026-11-27T10:00:00Z


def test_moments_are_read_as_people_write_them() -> None:
    def text(moment: str) -> str:
        at = parse_moment(moment, NOW)
        return time.strftime("%m-%d %H:%M:%S", time.gmtime(at / 1e9))

    assert text("now") == "11-27 10:00:00"
    assert text("90m") == text("1h30m ago") == "11-27 08:30:00"
    assert text("yesterday 14:05") == "11-26 14:05:00"
    assert text("yesterday") == "11-26 00:00:00"
    assert text("9:05") == text("09:05") == text("today 09:05") == "11-27 09:05:00"
    assert text("2026-11-23T14:05:00Z") == text("2026-11-23 15:05+01:00") == "11-23 14:05:00"
    assert parse_moment("2026-11-23T14:05:00.000001Z", NOW) % 1_000_000_000 == 1000
    for wrong in ("", "tomorrowish", "25:99", "yesterday at noon", "-5m", "2026-13-01"):
        with pytest.raises(SkerryError, match="is no moment"):
            parse_moment(wrong, NOW)


async def sql(node: Node, statement: str, branch: str = "main") -> Any:
    return await perform(
        node, "postgres.sql", app="shop", name="db", branch=branch, statement=statement
    )


async def numbers(node: Node, branch: str) -> list[int]:
    found = await sql(node, "SELECT n FROM t ORDER BY n", branch)
    return [row[0] for row in found.rows]


async def base_taken(node: Node) -> None:
    branch = node.catalogue.branch("shop", "main")
    state = node.volume.path(branch.directory) / "db"
    async with asyncio.timeout(30):
        while not list(state.glob("base/[0-9]*/base.json")):
            await asyncio.sleep(0.05)


def written(moment: int) -> str:
    seconds, rest = divmod(moment, 10**9)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest // 1000:06d}Z"


@pytest.mark.slow
async def test_what_changed_since_a_backup_is_sent_and_comes_back(place: Path) -> None:
    async with node_at(place / "h") as node:
        await deploy(node, {"skerry.toml": APP})
        await perform(node, "backup.to", url=str(place / "store"))
        await sql(node, "CREATE TABLE t (n int)")
        await base_taken(node)
        await perform(node, "backup.now")
        moments = {}
        shipping = backup_of(node).shipping
        for number in range(4):
            await sql(node, f"INSERT INTO t VALUES ({number})")
            await perform(node, "kv.put", app="shop", name="cache", key="n", value=str(number))
            await asyncio.sleep(0.01)
            moments[number] = node.clock.now()
            await asyncio.sleep(0.01)
            if number in (1, 2):
                await shipping.ship(at_once="shop")
        await sql(node, "DROP TABLE t")
        found = await perform(
            node, "backup.restore", app="shop", as_branch="rescue", at=written(moments[0])
        )
        assert {each.resource: each.exact for each in found.sources} == {"db": True, "cache": False}
        assert await numbers(node, "rescue") == [0]
        found = await perform(
            node, "backup.restore", app="shop", as_branch="late", at=written(moments[3])
        )
        assert await numbers(node, "late") == [0, 1, 2, 3], "it was sent before the restore"
        kept = await perform(node, "kv.get", app="shop", name="cache", branch="late", key="n")
        assert kept.value == "2"
        await sql(node, "CREATE TABLE t AS SELECT 7 AS n")
        await perform(node, "kv.put", app="shop", name="cache", key="n", value="last")
        shipped = node.clock.now()
        await shipping.ship(at_once="shop")
        drills = await perform(node, "backup.drill", app="shop")
        assert drills.exit_code == 0, drills
        assert drills.drills[0].counts["db"] == drills.drills[0].living["db"]
        assert drills.drills[0].counts["db"]["rows"] == 1
        status = (await perform(node, "backup.status")).stores[0]
        assert status.last_backup < shipped
        assert status.at_risk_seconds <= round((node.clock.now() - shipped) / 1e9, 3)
        assert status.lag_seconds > 0
        key = (await perform(node, "backup.key")).key
        used = {
            (each.account, each.unit): each.amount for each in await perform(node, "node.meter")
        }
        assert used["@backup/primary", "backup_sent_bytes"] > 10_000
    await rebuild(place / "new", key, None, lambda *_: None)
    async with node_at(place / "new") as again:
        assert await numbers(again, "main") == [7]
        kept = await perform(again, "kv.get", app="shop", name="cache", key="n")
        assert kept.value == "last"


@pytest.mark.slow
async def test_a_database_comes_back_to_the_exact_commit(place: Path) -> None:
    async with node_at(place / "h") as node:
        await deploy(node, {"skerry.toml": APP})
        await perform(node, "backup.to", url=str(place / "store"))
        await sql(node, "CREATE TABLE t (n int)")
        await base_taken(node)
        moments = {}
        for number in range(3):
            await sql(node, f"INSERT INTO t VALUES ({number})")
            await perform(node, "kv.put", app="shop", name="cache", key="n", value=str(number))
            await asyncio.sleep(0.01)
            moments[number] = node.clock.now()
            await asyncio.sleep(0.01)
            if number == 0:
                await perform(node, "backup.now", app="shop")
        await perform(node, "backup.now")
        await sql(node, "DROP TABLE t")
        at = written(moments[1])
        found = await perform(node, "backup.restore", app="shop", as_branch="rescue", at=at)
        exact = {each.resource: each.exact for each in found.sources}
        assert exact == {"db": True, "cache": False}
        assert await numbers(node, "rescue") == [0, 1]
        kept = await perform(node, "kv.get", app="shop", name="cache", branch="rescue", key="n")
        assert kept.value == "0"
        with pytest.raises(SkerryError, match=r"no table|does not exist"):
            await numbers(node, "main")
        early = await perform(
            node, "backup.restore", app="shop", as_branch="one", resource="db", at=at
        )
        assert early.message.endswith("Empty are cache.")
        assert await numbers(node, "one") == [0, 1]
        with pytest.raises(SkerryError, match="is old enough") as caught:
            await perform(node, "backup.restore", app="shop", as_branch="old", at="2d")
        assert caught.value.code == "NOT_FOUND"
        assert set(node.catalogue.app("shop").branches) == {"main", "rescue", "one"}
